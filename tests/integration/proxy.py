"""A road to the store that loses answers, or holds what was sent, as networks do."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import hiredis


class Proxy:
    """Forwards connections to a server; to be used with ``async with``.

    Args:
        port: of the server.

    Attributes:
        server: port that new connections lead to; old ones stay where they are.
        most: commands that were in flight at once, on one connection.
        deaf: answers are thrown away.
        holding: what clients send is kept back, until :meth:`release`, even when they are gone.
    """

    def __init__(self, port: int) -> None:
        self.server = port
        self.most = 0
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: list[bytes] = []
        self.deaf = False
        self.holding = False

    @property
    def url(self) -> str:
        """Of the store, as seen through here."""
        assert self._listener is not None
        return f"redis://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Proxy:
        self._listener = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._listener is not None
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def release(self) -> None:
        """Deliver what was held, on a connection of its own, and wait for its last answer."""
        held, self._held, self.holding = b"".join(self._held), [], False
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server)
        writer.write(held + b"PING\r\n")
        data = b""
        while not data.endswith(b"+PONG\r\n"):
            data += await reader.read(65536)
        writer.close()

    async def _connected(self, near: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        far, to_server = await asyncio.open_connection("127.0.0.1", self.server)
        flying = _Flying()
        tasks = [
            asyncio.create_task(self._pump(near, to_server, flying, answers=False)),
            asyncio.create_task(self._pump(far, out, flying, answers=True)),
        ]
        self._tasks.update(tasks)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for writer in (out, to_server):
            writer.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        flying: _Flying,
        *,
        answers: bool,
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                self.most = max(self.most, flying.count(data, answers=answers))
                if answers and self.deaf:
                    continue
                if not answers and self.holding:
                    self._held.append(data)
                    continue
                writer.write(data)
                await writer.drain()


class _Flying:
    """Counts commands that wait for their answer on one connection."""

    def __init__(self) -> None:
        self._readers = {answers: hiredis.Reader() for answers in (False, True)}
        self._now = 0

    def count(self, data: bytes, *, answers: bool) -> int:
        """Take in what passed; how many are in flight after it."""
        reader = self._readers[answers]
        reader.feed(data)
        while reader.gets() is not False:
            self._now += -1 if answers else 1
        return self._now
