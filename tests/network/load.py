"""A steady load on a gateway, every answer checked: ``python -m tests.network.load URL FILE``.

The calls are those of ``gemma-gateway bench``: so many a second, at random times, whatever became
of those before. Each finished one is a line of JSON in FILE. SIGTERM ends it: calls in flight are
waited for, and of each kind at most the one that is next in line is still begun.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from gemma_gateway.cli.bench.call import BROKEN, GARBLED, LOST, REFUSED, TIMEOUT, Call, Caller, Json
from gemma_gateway.cli.bench.load import Level, Run, connections, put
from gemma_gateway.cli.bench.prompts import Messages
from tests.process import KEY

LONGEST = 240.0  # seconds of load, at most
PATIENCE = 90.0  # seconds of a call, at most
LORIS_PATIENCE = 40.0  # seconds that a head may go on
UNSTATED = {REFUSED, LOST, TIMEOUT, BROKEN, GARBLED}  # failures that no server told of


@dataclass
class Done:
    """One finished call.

    Args:
        kind: short (JSON), stream, idle (a stream with long silences) or loris.
        began: seconds of the machine's monotonic clock.
        outcome: ok: all of the answer came, and its end; error: an error was stated, by status and
            body or by an event; broken: anything else.
        detail: the error's code, or what is broken.
    """

    kind: str
    began: float
    seconds: float
    outcome: str
    detail: str = ""

    @property
    def ended(self) -> float:
        return self.began + self.seconds


Report = Callable[[Done], None]


class Echo(Caller):
    """Calls of one kind, each answered with the text that it asks for.

    Args:
        kind: see ``Done``.
        report: gets each finished call.
        script: of ``tests.loopback``.
    """

    def __init__(
        self, session: aiohttp.ClientSession, url: str, kind: str, report: Report, script: Json
    ) -> None:
        super().__init__(session, url, KEY, {"stream": kind != "short", "loopback": script})
        self._kind = kind
        self._report = report
        self._said: dict[int, str] = {}  # by the id of a call in flight

    def note(self, call: Call, doc: Json) -> bool:
        for choice in doc.get("choices") or ():
            part = choice.get("delta") or choice.get("message") or {}
            self._said[id(call)] = self._said.get(id(call), "") + (part.get("content") or "")
        return super().note(call, doc)

    async def call(self, messages: Messages, due: float | None = None) -> Call:
        call = await super().call(messages, due)
        said = self._said.pop(id(call), "")
        outcome, detail = "error", call.outcome
        if call.ok:
            same = said == messages[-1]["content"].removeprefix("echo: ")
            outcome, detail = ("ok", "") if same else ("broken", "another text")
        elif call.outcome in UNSTATED or call.outcome.startswith("HTTP "):
            outcome, detail = "broken", f"{call.outcome} {call.detail}"
        # Both clocks are the machine's monotonic one.
        self._report(Done(self._kind, call.sent, call.ended - call.sent, outcome, detail))
        return call


class Drill(Run):
    """A run that failures don't end, and that keeps no calls: they are reported."""

    def add(self, call: Call) -> None:
        pass


def echoes(words: Callable[[], int]) -> Iterator[Messages]:
    """Prompts that ask for so many words, each for other ones."""
    for number in itertools.count(random.randrange(10**6) * 1000):
        text = " ".join([f"call{number}", *(f"w{n}" for n in range(words()))])
        yield [{"role": "user", "content": f"echo: {text}"}]


async def loris(url: str, report: Report) -> None:
    """A head that never ends, until the other side closes."""
    target = urlsplit(url)
    began, outcome = time.monotonic(), "broken"
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(target.hostname, target.port)
        closed = asyncio.ensure_future(reader.read())
        try:
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
            while time.monotonic() - began < LORIS_PATIENCE and not closed.done():
                writer.write(b"a: b\r\n")
                await asyncio.wait([closed], timeout=1)
            outcome = "ok" if closed.done() else "broken"
        finally:
            closed.cancel()
            writer.close()
    report(Done("loris", began, time.monotonic() - began, outcome))


async def lorises(url: str, count: int, report: Report) -> None:
    """So many of them, a hundred more each second."""
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(loris(url, report))
            await asyncio.sleep(0.01)


async def run(options: argparse.Namespace) -> None:
    """Everything that the options ask for."""
    with options.file.open("w", buffering=1) as file:
        runs: list[Run] = []

        def report(done: Done) -> None:
            print(json.dumps(asdict(done)), file=file)

        def stop() -> None:
            for run in runs:
                run.given_up = "stopped"

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
        async with connections(PATIENCE) as session, asyncio.TaskGroup() as group:

            def load(kind: str, level: Level, words: Callable[[], int], script: Json) -> None:
                runs.append(Drill(level))
                caller = Echo(session, options.url, kind, report, script)
                group.create_task(put(caller, runs[-1], echoes(words), 0, lambda call: None))

            if options.short:
                load("short", Level(rate=options.short, seconds=LONGEST), lambda: 3, {})
            if options.streams:
                level = Level(rate=options.streams, seconds=LONGEST)  # of 3 to 5 seconds each
                load("stream", level, lambda: random.randint(28, 45), {"delay": 0.1})
            if options.idle:
                level = Level(rate=250, requests=options.idle)
                load("idle", level, lambda: 0, {"delay": options.silence})
            for url in options.loris:
                group.create_task(lorises(url, options.lorises, report))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("file", type=Path)
    parser.add_argument("--short", type=float, default=0, help="JSON calls in a second")
    parser.add_argument("--streams", type=float, default=0, help="streams of 3-5 s in a second")
    parser.add_argument(
        "--idle", type=int, default=0, help="streams that are mostly silent, in all"
    )
    parser.add_argument("--silence", type=float, default=5, help="seconds between their events")
    parser.add_argument("--loris", nargs="*", default=[], help="URLs that get heads without end")
    parser.add_argument("--lorises", type=int, default=0, help="how many of them each, in all")
    asyncio.run(run(parser.parse_args()))
