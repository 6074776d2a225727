"""What an answer writes to: the server's transport, less some system calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Outlet:
    """The transport as an answer sees it.

    uvicorn writes an answer's head before its body, and uvloop (0.23) sends each write at once:
    two system calls, and two segments, for every whole answer. So a head waits for what is
    written in the same turn of the event loop, and no longer.

    Args:
        transport: the connection's.
        close: what closes it for an answer: that is the protocol's to do.
    """

    __slots__ = ("_head", "_loop", "_transport", "close", "is_closing", "write")

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        close: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self.write: Callable[[bytes], None] = transport.write
        self.is_closing = transport.is_closing
        self.close = close

    def begin(self) -> None:
        """The next thing to come is an answer's head."""
        self.write = self._first

    def flush(self) -> None:
        """Send a head that waits."""
        if self._head:
            head, self._head = self._head, b""
            self.write = self._transport.write
            if not self._transport.is_closing():
                self._transport.write(head)

    def shut(self) -> None:
        """Whatever else an answer says (or ``100 Continue``) doesn't leave."""
        self._head, self.write = b"", _drop

    def part(self) -> None:
        """The connection is over: nothing leaves, and there is nothing to close."""
        self.shut()
        self.close = _nothing

    def _first(self, data: bytes) -> None:
        self._head, self.write = data, self._second
        self._loop.call_soon(self.flush)

    def _second(self, data: bytes) -> None:
        head, self._head = self._head, b""
        self.write = self._transport.write
        self._transport.writelines((head, data))


def _drop(data: bytes) -> None:
    """Write nothing."""


def _nothing() -> None:
    """Close nothing."""
