"""A steady load on a gateway, every answer checked: ``python -m tests.network.load URL FILE``.

Calls start at a fixed pace, whatever became of those before. Each finished one is a line of JSON in
FILE. SIGTERM ends it: calls in flight are waited for, none is begun.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from tests.process import AUTH

LONGEST = 240.0  # seconds of load, at most
PATIENCE = aiohttp.ClientTimeout(total=90)
Json = dict[str, Any]


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


def judge(status: int, raw: bytes, stream: bool, text: str) -> tuple[str, str]:
    """Outcome and detail of an answer that should say ``text``."""
    if status != 200:
        try:
            return "error", json.loads(raw)["error"]["code"]
        except (ValueError, KeyError, TypeError):
            return "broken", f"{status} {raw[:80]!r}"
    if not stream:
        same = json.loads(raw)["choices"][0]["message"]["content"] == text
        return ("ok", "") if same else ("broken", "another text")
    events = [line[6:] for line in raw.split(b"\n") if line.startswith(b"data: ")]
    if not events or not raw.endswith(b"\n\n"):
        return "broken", "cut short"
    last = events[-1] if events[-1] != b"[DONE]" or len(events) == 1 else events[-2]
    if last.startswith(b'{"error"'):
        return "error", json.loads(last)["error"]["code"]
    if events[-1] != b"[DONE]":
        return "broken", "no end"
    choices = [choice for e in events[:-1] for choice in json.loads(e)["choices"]]
    same = "".join(c["delta"].get("content") or "" for c in choices) == text
    return ("ok", "") if same else ("broken", "another text")


class Load:
    """Calls to ``url`` until ``stop``; each finished one goes to ``report``."""

    def __init__(self, url: str, report: Callable[[Done], None]) -> None:
        self.url = url
        self.report = report
        self.stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._number = random.randrange(10**6) * 1000

    async def pace(self, rate: float, call: Callable[[], Awaitable[None]], most: int) -> None:
        """Begin ``most`` calls, ``rate`` in a second."""
        begun = time.monotonic()
        for number in range(most):
            wait = begun + number / rate - time.monotonic()
            try:
                await asyncio.wait_for(self.stopping.wait(), max(0.0, wait))
                break
            except TimeoutError:
                task = asyncio.ensure_future(call())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def call(self, session: aiohttp.ClientSession, kind: str, **script: object) -> None:
        """One call; ``words`` of it come back."""
        self._number += 1
        text = " ".join([f"call{self._number}", *(f"w{n}" for n in range(script.pop("words", 3)))])
        body: Json = {"messages": [{"role": "user", "content": f"echo: {text}"}]}
        stream = kind != "short"
        body |= {"stream": stream, "loopback": script}
        began = time.monotonic()
        try:
            async with session.post(self.url + "/v1/chat/completions", json=body) as reply:
                outcome = judge(reply.status, await reply.read(), stream, text)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            outcome = "broken", repr(error)
        self.report(Done(kind, began, time.monotonic() - began, *outcome))

    async def loris(self, url: str) -> None:
        """A head that never ends, until the other side closes."""
        target = urlsplit(url)
        began, outcome = time.monotonic(), "broken"
        reader, writer = await asyncio.open_connection(target.hostname, target.port)
        closed = asyncio.ensure_future(reader.read())
        try:
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
            while time.monotonic() - began < 40 and not closed.done():
                writer.write(b"a: b\r\n")
                await asyncio.wait([closed], timeout=1)
            outcome = "ok" if closed.done() else "broken"
        finally:
            closed.cancel()
            writer.close()
        self.report(Done("loris", began, time.monotonic() - began, outcome))


async def run(options: argparse.Namespace) -> None:
    """Everything that the options ask for."""
    with options.file.open("w", buffering=1) as file:
        load = Load(options.url, lambda done: print(json.dumps(asdict(done)), file=file))
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, load.stopping.set)
        loop.call_later(LONGEST, load.stopping.set)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            headers=AUTH, timeout=PATIENCE, connector=connector
        ) as session:
            jobs = []
            if options.short:
                jobs.append(load.pace(options.short, lambda: load.call(session, "short"), 10**6))
            if options.streams:

                def stream() -> Awaitable[None]:
                    words = random.randint(28, 45)  # 3 to 5 seconds
                    return load.call(session, "stream", words=words, delay=0.1)

                jobs.append(load.pace(options.streams, stream, 10**6))
            if options.idle:

                def idle() -> Awaitable[None]:
                    return load.call(session, "idle", words=0, delay=options.silence)

                jobs.append(load.pace(250, idle, options.idle))
            jobs += [
                load.pace(100, lambda url=url: load.loris(url), options.lorises)
                for url in options.loris
            ]
            await asyncio.gather(*jobs)


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
