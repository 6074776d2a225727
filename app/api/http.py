"""The HTTP/1.1 protocol of the server: uvicorn's, with bounds on a request's head."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 10.0
REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class BoundedHttp(HttpToolsProtocol):
    """Closes a connection whose request line and headers don't end.

    llhttp has no such bound of its own: a client could fill the memory before it is known at all,
    or hold a connection for ever by sending a byte now and then (or none).

    Attributes:
        leaving: the process is about to stop: connections end with their next answer, so that
            clients that keep theirs find another process.
    """

    leaving: ClassVar[bool] = False
    _head = 0  # bytes received since the head began, chunk by chunk
    _inside = True  # a head is being received
    _deadline: asyncio.TimerHandle | None = None  # only for a head that didn't come in one piece

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody connects, and has to say something."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; what is still no whole head afterwards may only be so long, and take so long."""
        self._head += len(data)
        super().data_received(data)
        if not self._inside or self.transport.is_closing():
            return
        if self._head > MAX_HEAD_BYTES:
            self.transport.write(REFUSAL)
            self.transport.close()
        elif self._head and self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._late)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._inside = False
        self._in_time()
        super().on_headers_complete()
        if self.leaving:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """The next thing to come is another head; what of it came already is not counted."""
        self._inside, self._head = True, 0
        super().on_message_complete()

    def _in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        if self.cycle is None or self.cycle.response_complete:  # else it is early: pipelined
            self.transport.close()
