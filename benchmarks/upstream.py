"""A model server that costs next to nothing: raw asyncio, bytes made beforehand.

Each token is a write of its own, as vLLM does, and streams take turns. ``seed`` is the pace in
microseconds a token (0: as fast as it goes), ``max_tokens`` the length. It runs on asyncio's own
loop, whose transports send at once; uvloop would gather the writes of one turn into one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections.abc import Iterator
from typing import cast

from benchmarks import wire

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
STREAM = re.compile(rb'"stream": *true')
USAGE = re.compile(rb'"include_usage": *true')
NUMBER = {name: re.compile(rb'"%s": *(\d+)' % name.encode()) for name in ("seed", "max_tokens")}
SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def whole(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


MODELS = whole(json.dumps({"object": "list", "data": [{"id": wire.MODEL}]}).encode())
ANSWER = whole(wire.answer())


class Server(asyncio.Protocol):
    """One connection; requests one after the other."""

    def __init__(self) -> None:
        self.data = b""
        self.transport: asyncio.Transport
        self.chunks: dict[int, list[bytes]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.data += data
        end = self.data.find(b"\r\n\r\n")
        if end < 0:
            return
        if self.data.startswith(b"GET"):
            self.data = b""
            self.transport.write(MODELS)
            return
        length = LENGTH.search(self.data, 0, end)
        if length is None:
            raise ValueError("no content-length")
        if len(self.data) < end + 4 + int(length[1]):
            return
        body, self.data = self.data[end + 4 :], b""
        self.answer(body)

    def answer(self, body: bytes) -> None:
        if not STREAM.search(body):
            self.transport.write(ANSWER)
            return
        pace, tokens = (int(NUMBER[name].search(body)[1]) for name in ("seed", "max_tokens"))  # type: ignore[index]
        if tokens not in self.chunks:
            self.chunks[tokens] = [chunk(event) for event in wire.events(tokens)]
        tail = chunk(wire.DONE) + b"0\r\n\r\n"
        if USAGE.search(body):
            tail = chunk(wire.usage_event(tokens)) + tail
        self.transport.write(SSE_HEAD + self.chunks[tokens][0])
        loop = asyncio.get_running_loop()
        self.stream(loop, loop.time(), pace / 1e6, iter([*self.chunks[tokens][1:], tail]))

    def stream(
        self, loop: asyncio.AbstractEventLoop, due: float, pace: float, chunks: Iterator[bytes]
    ) -> None:
        """Write one token, and the next one in the next turn of the loop or when it is due."""
        if self.transport.is_closing() or (data := next(chunks, None)) is None:
            return
        self.transport.write(data)
        if pace:
            due += pace
            loop.call_at(due, self.stream, loop, due, pace, chunks)
        else:
            loop.call_soon(self.stream, loop, due, pace, chunks)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(main(parser.parse_args().port))
