"""What other libraries log: where and what kind, never what a caller or a model said."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gemma_gateway.engines.local import vllm_app
from gemma_gateway.telemetry import foreign, log

MARK = "xkanariex"
library = logging.getLogger("some.library")


def fail(text: str) -> None:
    raise ValueError(text)


def with_traceback() -> None:
    try:
        fail(f"bad input {MARK}")
    except ValueError:
        library.exception("It failed.")


def with_a_chain() -> None:
    try:
        try:
            fail(MARK)
        except ValueError as error:
            raise KeyError(MARK) from error
    except KeyError:
        library.error("It failed.", exc_info=True)


def in_a_task() -> None:
    async def run() -> None:
        async def lost() -> None:
            fail(MARK)

        task = asyncio.create_task(lost(), name=MARK)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task

    asyncio.run(run())


def in_a_callback() -> None:
    async def run() -> None:
        asyncio.get_running_loop().call_soon(fail, MARK)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(run())


def in_a_thread() -> None:
    thread = threading.Thread(target=fail, args=(MARK,), name=MARK)
    thread.start()
    thread.join()


def compiled() -> None:
    """As parsers do with a model's answer: the syntax error quotes the line."""
    try:
        compile(f"[{MARK}(x=1 b)]", MARK, "exec")
    except SyntaxError:
        library.exception("Error in extracting tool call from response.")


SAYINGS: dict[str, Callable[[], None]] = {
    "argument": lambda: library.warning("Tool call %r is odd", MARK),
    "dict argument": lambda: library.warning("%(a)s", {"a": MARK}),
    "f-string": lambda: library.error(f"Error in {MARK}"),
    "sum": lambda: library.error("Error in " + MARK),
    "percent": lambda: library.error("Error in %s" % MARK),  # noqa: UP031
    "exception": lambda: library.error(ValueError(MARK)),
    "object": lambda: library.error({"prompt": MARK}),
    "wrong arguments": lambda: library.error("%d %s", MARK),
    "extra": lambda: library.error("x", extra={"prompt": MARK}),
    "child": lambda: logging.getLogger("some.library." + "deep").error(f"{MARK}"),
    "root": lambda: logging.getLogger().error(f"{MARK}"),
    "like ours": lambda: logging.getLogger("apple").error(f"{MARK}"),
    "warning": lambda: warnings.warn(f"odd {MARK}", stacklevel=1),
    "traceback": with_traceback,
    "chain": with_a_chain,
    "task": in_a_task,
    "callback": in_a_callback,
    "thread": in_a_thread,
    "compiled": compiled,
}


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The process's log from now on."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    root, hook = logging.getLogger(), threading.excepthook
    kept, level = root.handlers[:], root.level
    log.configure("info")

    def read() -> list[dict[str, Any]]:
        return [json.loads(line) for line in out.getvalue().splitlines()]

    yield read
    root.handlers[:] = kept
    root.setLevel(level)
    threading.excepthook = hook
    logging.captureWarnings(False)
    logging.raiseExceptions = True


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("how", SAYINGS)
def test_no_content(how: str, lines: Callable[[], list[dict[str, Any]]]) -> None:
    root = logging.getLogger()  # pytest's own handlers would format the message
    root.handlers[:] = [h for h in root.handlers if isinstance(h.formatter, log.JsonFormatter)]
    SAYINGS[how]()
    (line,) = lines()
    assert MARK not in json.dumps(line)
    assert line["level"] in ("warning", "error")


def test_what_stands_in_the_source_is_said(lines: Callable[[], list[dict[str, Any]]]) -> None:
    compiled()
    library.warning("Tool call %r is odd", MARK)
    first, second = lines()
    assert first["message"] == "Error in extracting tool call from response."
    assert first["error"] == "SyntaxError"
    assert first["place"].startswith("test_foreign_logs.py:")
    assert first["place"].endswith(" compiled")
    assert second["message"] == "Tool call %r is odd"


def test_our_own_messages_are_whole(lines: Callable[[], list[dict[str, Any]]]) -> None:
    log.logger.warning("%s is not a known setting", "GATEWAY_X")
    logging.getLogger("gemma_gateway.engines.local.engine").error("engine: %s", "died")
    assert [line["message"] for line in lines()] == [
        "GATEWAY_X is not a known setting",
        "engine: died",
    ]


def test_an_engines_start_is_told_in_full(
    lines: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "STARTS", ((Path(__file__).name, "start"),))

    def start(text: str) -> None:
        library.warning("no memory for %s", text)
        fail(text)

    try:
        start("the cache")
    except ValueError:
        library.exception("It failed.")
    first, second = lines()
    assert first["message"] == "no memory for the cache"
    assert second["message"].startswith("It failed.\nTraceback")
    assert second["message"].endswith("ValueError: the cache\n")


CHILD = """
import json, logging, logging.config, multiprocessing, sys, warnings
from pathlib import Path

def work(path, mark):
    logging.config.dictConfig(json.loads(Path(path).read_text()))
    logging.getLogger("vllm.worker").error(f"odd {mark}")
    logging.getLogger("vllm.worker").warning("Known.")
    logging.getLogger("vllm.worker").info("quiet")
    logging.getLogger("torch").error(f"odd {mark}")
    warnings.warn(mark)
    print(mark)
    print(mark, file=sys.stderr)
    raise ValueError(mark)

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=work, args=sys.argv[1:3])
    child.start()
    child.join()
    sys.exit(child.exitcode != 1)
"""


def test_an_engines_own_processes_say_no_more(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(CHILD, "utf-8")
    config = Path(vllm_app.__file__).with_name("vllm_logging.json")
    root = str(Path(__file__).parents[2] / "app")
    done = subprocess.run(
        [sys.executable, str(script), str(config), MARK],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": root, "VLLM_LOGGING_LEVEL": "WARNING"},
        check=True,
    )
    assert done.stdout == ""
    assert MARK not in done.stderr
    said = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["message"] for line in said[:2]] == [foreign.LEFT_OUT, "Known."]
    assert {line["logger"] for line in said} == {"vllm.worker", "torch", "py.warnings", "stderr"}
