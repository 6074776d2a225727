"""An HTTP/1.1 connection to a server, kept alive; bodies are handed on as they are read.

aiohttp's client costs twice the CPU of this one per call, and half as much again per streamed token
(``python -m benchmarks.client``): the difference is a third of what the whole gateway may cost. The
protocol itself is parsed by httptools (llhttp, Node's parser); sockets and TLS are asyncio's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Protocol, cast

import httptools

# A server that was just closing a connection answers the next request on it with a reset, one way
# there and back. A connection that lasts longer was read from: its server may have died of that.
STALE_SECONDS = 0.05
MAX_BUFFERED = 256 * 1024  # bytes that wait for the reader before the socket is left alone
NO_BODY = frozenset({204, 304})


class Broken(ConnectionError):
    """The connection failed in the middle of an exchange.

    Args:
        stale: it had been kept alive and closed as soon as the request was written, without a byte
            of an answer: most likely the server was just closing it and has not seen the request.
        late: no answer began within the time that the caller gave.
    """

    def __init__(self, detail: str, *, stale: bool = False, late: bool = False) -> None:
        super().__init__(detail)
        self.stale = stale
        self.late = late


class Owner(Protocol):
    """Who holds the connections to a server."""

    def keep(self, connection: Connection) -> None:
        """The exchange is over; the next one may use the connection."""

    def forget(self, connection: Connection) -> None:
        """The connection is closed."""


class Connection(asyncio.Protocol):
    """One connection; one exchange at a time.

    Args:
        owner: learns when it is free, and when it is closed.

    Attributes:
        status: of the answer, once ``exchange`` has returned.
        content_type: of the answer.
        retry_after: of the answer, as it stands there; empty where it doesn't.
    """

    def __init__(self, owner: Owner) -> None:
        self.status = 0
        self.content_type = ""
        self.retry_after = ""
        self.idle_since = 0.0  # loop time
        self.deadline = inf  # loop time by which the head of an answer must have come
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._parts: list[bytes] = []
        self._buffered = 0
        self._paused = False
        self._busy = False  # an exchange has begun and its end was not read yet
        self._reused = False
        self._written = 0.0  # loop time at which the request was
        self._answered = False  # a byte of the answer has come
        self._headed = False
        self._framed = False  # the head tells where the body ends; else the connection's end does
        self._complete = False
        self._keep = False
        self._error: Callable[[], Broken] | None = None  # kept itself, it would keep its frames

    # ---- for the caller

    async def exchange(self, request: bytes, deadline: float) -> None:
        """Send a whole request and wait for the head of the answer.

        Args:
            deadline: loop time until which to wait; whoever owns it calls ``expire`` then.

        Raises:
            Broken: the connection failed before it.
        """
        self.deadline = deadline
        self._written = self._loop.time()
        self._reused, self._busy = self._keep, True
        self._answered = self._headed = self._framed = self._complete = self._keep = False
        self.status, self.content_type, self.retry_after = 0, "", ""
        if self._transport is not None:
            self._transport.write(request)
        while not self._headed:
            if self._error:
                raise self._error()
            await self._news()
        self.deadline = inf

    async def read(self) -> bytes:
        """The bytes of the body that have come since the last read; empty at its end.

        Raises:
            Broken: the body was cut short, after all that had come was read.
        """
        while not self._parts:
            if self._complete:
                self._release()
                return b""
            if self._error:
                raise self._error()
            await self._news()
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._buffered = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    def abort(self, detail: str = "aborted") -> None:
        """Close at once, also under a reader that waits. What the server hasn't read is dropped:
        an orderly close would wait for it, for ever if it is frozen."""
        self._fail(detail)

    def expire(self) -> None:
        """Close, because no answer began in time."""
        self._fail("no answer in time", late=True)

    def _news(self) -> asyncio.Future[None]:
        self._waiter = self._loop.create_future()
        return self._waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _release(self) -> None:
        if self._busy:
            self._busy = False
            if self._keep and not self._error:
                self._owner.keep(self)
            else:
                self.abort("not kept alive")

    def _fail(self, detail: str, *, late: bool = False) -> None:
        if self._error is None:
            at_once = self._loop.time() - self._written < STALE_SECONDS
            stale = self._reused and not self._answered and not late and at_once
            self._error = partial(Broken, detail, stale=stale, late=late)
            self._owner.forget(self)
            if self._transport is not None:
                self._transport.abort()
        self._wake()

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self._busy or self._complete:
            self._fail("data that nobody asked for")
            return
        self._answered = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"not HTTP: {error}")
            return
        if self._buffered > MAX_BUFFERED and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        if self._headed and not self._framed and error is None and self._error is None:
            self._complete = True
        self._fail(f"connection closed: {error or 'by the server'}")

    # ---- httptools

    def on_message_begin(self) -> None:
        if self._complete:
            raise ValueError("a second answer to one request")
        self._framed, self.content_type = False, ""

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._headed:
            return  # a trailer
        name = name.lower()
        if name == b"content-type":
            self.content_type = value.decode("latin-1")
        elif name == b"retry-after":
            self.retry_after = value.decode("latin-1")
        elif name == b"content-length":
            self._framed = True
        elif name == b"transfer-encoding":  # RFC 9112 6.3: any other one lasts until the end
            self._framed = value.lower().rstrip().endswith(b"chunked")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._framed = self._framed or self.status in NO_BODY
        self._keep = self._framed and self._parser.should_keep_alive()
        self._headed = self.status >= 200  # before it: interim answers such as 100 Continue

    def on_body(self, data: bytes) -> None:
        self._parts.append(data)
        self._buffered += len(data)

    def on_message_complete(self) -> None:
        self._complete = self._headed
