"""``gemma-gateway chat``, in a pipe and in a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.integration.redis_groups import eventually
from tests.process import KEY, ROOT, Engine, Gateway

CHAT = [sys.executable, "-m", "gemma_gateway", "chat", "--url"]
ENVIRONMENT = {**os.environ, "GATEWAY_API_KEY": KEY, "PYTHONPATH": str(ROOT / "app")}


def chat(*words: str, said: str = "", key: str = KEY) -> subprocess.CompletedProcess[str]:
    """``gemma-gateway chat --url WORDS`` with standard input."""
    return subprocess.run(
        [*CHAT, *words],
        env={**ENVIRONMENT, "GATEWAY_API_KEY": key},
        input=said,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "said"), [(["echo:", '"salt"'], ""), ([], 'echo: "salt"\n')], ids=["words", "pipe"]
)
def test_one_message_gets_its_answer_alone(gateway: Gateway, words: list[str], said: str) -> None:
    done = chat(gateway.url, *words, said=said)
    assert (done.returncode, done.stderr) == (0, "")
    assert "salt" in done.stdout
    assert done.stdout.endswith("\n")


def test_what_is_wrong_is_said_in_a_line(gateway: Gateway) -> None:
    for words, said, key, why in (
        ([gateway.url], "", KEY, "standard input holds no message"),
        ([gateway.url, "hi"], "", "wrong", "no key, or the wrong one"),
        ([gateway.url, "--model", "nobody", "hi"], "", KEY, "model"),
        (["http://127.0.0.1:9", "hi"], "", KEY, "Is the gateway running there?"),
    ):
        done = chat(*words, said=said, key=key)
        assert done.returncode in (1, 2)
        assert why in done.stderr
        assert "Traceback" not in done.stderr


class Terminal:
    """A conversation at a terminal: all that was shown so far, and its keyboard."""

    def __init__(self, process: subprocess.Popen[bytes], screen: int) -> None:
        self.process = process
        self._screen = screen
        self.shown = ""
        os.set_blocking(screen, False)

    def write(self, text: str) -> None:
        """Press keys."""
        os.write(self._screen, text.encode())

    def await_text(self, text: str, times: int = 1) -> None:
        """Wait until it was shown so often."""

        def found() -> bool:
            with suppress(OSError):  # nothing new
                self.shown += os.read(self._screen, 65536).decode()
            return self.shown.count(text) >= times

        eventually(found, f"{text!r} was not shown {times} times: {self.shown!r}")


@contextmanager
def terminal(*words: str) -> Iterator[Terminal]:
    """``gemma-gateway chat --url WORDS`` there."""
    screen, keyboard = pty.openpty()
    process = subprocess.Popen(
        [*CHAT, *words],
        env={**ENVIRONMENT, "TERM": "dumb"},
        stdin=keyboard,
        stdout=keyboard,
        stderr=keyboard,
        start_new_session=True,
    )
    os.close(keyboard)
    try:
        yield Terminal(process, screen)
    finally:
        process.kill()
        process.wait()
        os.close(screen)


def test_a_conversation_remembers_and_ends(gateway: Gateway) -> None:
    with terminal(gateway.url) as seen:
        seen.await_text("> ")
        seen.write('echo: "salt"\r')
        seen.await_text("> ", 2)
        seen.write('echo: "water"\r')
        seen.await_text("> ", 3)
        assert "salt" in seen.shown
        seen.write("\x04")
        eventually(lambda: seen.process.poll() == 0, "it goes on")


def test_ctrl_c_stops_an_answer_and_no_more(tmp_path: Path) -> None:
    stalled = {"pieces": ["word "] * 9, "stall": 5}
    with (
        Engine(tmp_path) as engine,
        Gateway(tmp_path, upstreams=f"{engine.url}/v1") as gateway,
        terminal(gateway.url) as seen,
    ):
        with engine.scripted(stalled):
            seen.await_text("> ")
            seen.write("talk\r")
            seen.await_text("word ", 4)
            os.kill(seen.process.pid, signal.SIGINT)
            seen.await_text("> ", 2)
        seen.write('echo: "again"\r')
        seen.await_text("> ", 3)
    assert "Traceback" not in seen.shown
