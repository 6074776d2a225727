"""A request on a connection of its own, byte by byte."""

from __future__ import annotations

import asyncio
import http.client
import io
from dataclasses import dataclass, field

from gemma_gateway.settings import Settings
from tests.calls import PATHS
from tests.process import KEY, Gateway
from tests.waiting import PATIENCE


@dataclass
class Exchange:
    """One request on a connection of its own, and what has come back so far."""

    name: str
    dialect: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    raw: bytearray = field(default_factory=bytearray)

    @classmethod
    async def begin(
        cls,
        gateway: Gateway | Settings,
        name: str,
        dialect: str,
        body: bytes,
        length: int = 0,
        key: str = KEY,
    ) -> Exchange:
        """Send a request, of whose body only the beginning may be given (``length``: of all)."""
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        head = (
            f"{'POST' if body else 'GET'} {PATHS.get(dialect, dialect)} HTTP/1.1\r\nhost: x\r\n"
            f"authorization: Bearer {key}\r\ncontent-type: application/json\r\n"
            f"content-length: {length or len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        return cls(name, dialect, reader, writer)

    async def hear(self, text: bytes) -> None:
        """Wait until ``text`` has come."""
        async with asyncio.timeout(PATIENCE):
            while text not in self.raw:
                data = await self.reader.read(65536)
                assert data, f"{self.name}: closed after {bytes(self.raw)!r}"
                self.raw += data

    async def rest(self) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers and body, once the gateway has closed the connection."""
        async with asyncio.timeout(PATIENCE):
            self.raw += await self.reader.read()
        self.writer.close()
        reply = http.client.HTTPResponse(_Heard(bytes(self.raw)))  # type: ignore[arg-type]
        reply.begin()
        return reply.status, reply.headers, reply.read()


class _Heard:
    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._raw)
