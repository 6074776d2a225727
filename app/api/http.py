"""The HTTP/1.1 protocol of the server: uvicorn's, with a bound on a request's head."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class BoundedHttp(HttpToolsProtocol):
    """Closes a connection whose request line and headers don't end.

    llhttp has no such bound of its own: a client could fill the memory before it is known at all.
    """

    _head = 0  # bytes received since the head began, chunk by chunk
    _inside = True  # a head is being received

    def data_received(self, data: bytes) -> None:
        """Parse; what is still no whole head afterwards may only be so long."""
        self._head += len(data)
        super().data_received(data)
        if self._inside and self._head > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(REFUSAL)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._inside = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next thing to come is another head; what of it came already is not counted."""
        self._inside, self._head = True, 0
        super().on_message_complete()
