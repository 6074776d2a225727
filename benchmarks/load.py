"""The load: so many connections, each with one call after the other, every byte checked.

A client of its own beside that of ``gemma-gateway bench``: it shares a core with the upstream and
the store, and a JSON call costs it 35 us of CPU, where bench's (aiohttp) takes 210 us.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import cast

import orjson

from benchmarks import wire

HEAD_END = b"\r\n\r\n"
STREAM_END = b"0\r\n\r\n"


class WrongAnswer(Exception):
    """A status other than 200, or bytes other than the upstream wrote: the figures mean nothing."""


@dataclass(frozen=True)
class Load:
    """What to send.

    Args:
        name: for the table.
        connections: kept-alive connections, each busy all the time.
        stream: streamed answers of ``tokens`` tokens; otherwise whole ones.
        pace_us: microseconds from token to token at the upstream; 0: as fast as it can.
    """

    name: str
    connections: int
    stream: bool = False
    tokens: int = 256
    pace_us: int = 0


@dataclass
class Result:
    """What came: calls finished, seconds they took each, seconds to their first byte."""

    calls: int = 0
    seconds: float = 0.0
    latency: list[float] = field(default_factory=list)
    first_byte: list[float] = field(default_factory=list)


def body_of(head: bytes, data: bytes) -> bytes:
    """The body, out of chunked encoding if it is in it."""
    if b"transfer-encoding: chunked" not in head.lower():
        return data
    parts = []
    at = 0
    while True:
        end = data.index(b"\r\n", at)
        size = int(data[at:end], 16)
        if not size:
            return b"".join(parts)
        parts.append(data[end + 2 : end + 2 + size])
        at = end + 4 + size


def streamed(body: bytes) -> tuple[str, str]:
    """Text and finish reason of a stream that has come to its proper end."""
    *events, last, rest = body.split(b"\n\n")
    if last != b"data: [DONE]" or rest:
        raise WrongAnswer(f"no proper end: {body[-300:]!r}")
    choices = [orjson.loads(event.removeprefix(b"data: "))["choices"][0] for event in events]
    return "".join(c["delta"]["content"] for c in choices), choices[-1]["finish_reason"]


class Connection(asyncio.Protocol):
    """Sends its request again and again until the deadline."""

    def __init__(self, load: Load, request: bytes, deadline: float, result: Result) -> None:
        self.load = load
        self.request = request
        self.deadline = deadline
        self.result = result
        self.expected = wire.stream(load.tokens) if load.stream else wire.answer()
        self.parts: list[bytes] = []
        self.length = -1  # bytes of the whole answer, where its head tells
        self.got = 0
        self.began = 0.0
        self.first = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.begin()

    def begin(self) -> None:
        self.parts.clear()
        self.got, self.length, self.first = 0, -1, 0.0
        self.began = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if not self.parts:
            self.first = time.perf_counter()
        self.parts.append(data)
        self.got += len(data)
        if self.length < 0 and len(self.parts) < 3:
            self.read_head()
        if self.length > 0:
            if self.got >= self.length:
                self.finish()
        elif data.endswith(STREAM_END) or (len(data) < 5 and self.tail().endswith(STREAM_END)):
            self.finish()

    def tail(self) -> bytes:
        return b"".join(self.parts[-5:])

    def read_head(self) -> None:
        head, found, _ = b"".join(self.parts).partition(HEAD_END)
        name = b"content-length: "
        if found and (at := head.lower().find(name)) >= 0:
            self.length = len(head) + 4 + int(head[at + len(name) :].split(b"\r\n", 1)[0])

    def finish(self) -> None:
        now = time.perf_counter()
        result = self.result
        result.calls += 1
        result.latency.append(now - self.began)
        result.first_byte.append(self.first - self.began)
        head, _, data = b"".join(self.parts).partition(HEAD_END)
        try:
            self.check(head, data)
        except (WrongAnswer, ValueError) as error:
            self.fail(WrongAnswer(str(error)))
            return
        if now < self.deadline:
            self.begin()
        else:
            self.end()

    def check(self, head: bytes, data: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 200 "):
            raise WrongAnswer(f"{head.splitlines()[0]!r} {data[:300]!r}")
        body = body_of(head, data)
        if body == self.expected:
            return
        # Text may be held back for a while, and an answer written anew: it must say the same.
        said = streamed if self.load.stream else orjson.loads
        if said(body) != said(self.expected):
            raise WrongAnswer(f"{len(body)} bytes, {len(self.expected)} expected: {body[-300:]!r}")

    def connection_lost(self, error: Exception | None) -> None:
        self.fail(WrongAnswer(f"connection lost: {error!r}"))

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self.transport.abort()

    def end(self) -> None:
        self.done.set_result(None)
        self.transport.close()


async def run(load: Load, port: int, keys: list[str], seconds: float) -> Result:
    """Put ``load`` on the server at ``port`` for that long (calls begun by then are finished).

    Raises:
        WrongAnswer: at the first answer that isn't right.
    """
    loop = asyncio.get_running_loop()
    result = Result()
    began = time.perf_counter()
    connections: list[Connection] = []
    for number in range(load.connections):
        key = keys[number % len(keys)]
        request = wire.request(
            port, key, stream=load.stream, tokens=load.tokens, pace_us=load.pace_us
        )
        connection = Connection(load, request, began + seconds, result)
        await loop.create_connection(lambda c=connection: c, "127.0.0.1", port)
        connections.append(connection)
    await asyncio.gather(*(c.done for c in connections))
    result.seconds = time.perf_counter() - began
    return result
