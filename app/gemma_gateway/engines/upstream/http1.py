"""An HTTP/1.1 client for one server: kept-alive connections, bodies handed on as they are read.

aiohttp's client costs twice the CPU of this one per call, and half as much again per streamed token
(``python -m benchmarks.client``): the difference is a third of what the whole gateway may cost. The
protocol itself is parsed by httptools (llhttp, Node's parser); sockets and TLS are asyncio's.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from typing import cast
from urllib.parse import urlsplit

import httptools

from gemma_gateway.core.trouble import unreached

# Below the 5 s after which uvicorn (vLLM) closes an idle connection, so that ours is closed first
# and a call seldom meets a connection that is just being closed by the other side.
KEEP_ALIVE_SECONDS = 4.0
# A server that was just closing a connection answers the next request on it with a reset, one way
# there and back. A connection that lasts longer was read from: its server may have died of that.
STALE_SECONDS = 0.05
MAX_BUFFERED = 256 * 1024  # bytes that wait for the reader before the socket is left alone
NO_BODY = frozenset({204, 304})
PATH = re.compile("[!-~]*")  # nothing that could end the request line


class ConnectFailed(ConnectionError):
    """No connection could be made: refused, unresolved, timed out, or TLS failed."""


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


class Connection(asyncio.Protocol):
    """One connection; one exchange at a time. Made by ``Origin``.

    Attributes:
        status: of the answer, once ``exchange`` has returned.
        content_type: of the answer.
        retry_after: of the answer, as it stands there; empty where it doesn't.
    """

    def __init__(self, origin: Origin) -> None:
        self.status = 0
        self.content_type = ""
        self.retry_after = ""
        self.idle_since = 0.0  # loop time
        self.deadline = inf  # loop time by which the head of an answer must have come
        self._origin = origin
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
            deadline: loop time until which to wait, to the next ``Origin.prune``.

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
                self._origin.keep(self)
            else:
                self.abort("not kept alive")

    def _fail(self, detail: str, *, late: bool = False) -> None:
        if self._error is None:
            at_once = self._loop.time() - self._written < STALE_SECONDS
            stale = self._reused and not self._answered and not late and at_once
            self._error = partial(Broken, detail, stale=stale, late=late)
            self._origin.forget(self)
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


class Origin:
    """A server and the connections to it. No cookies, no redirects, no proxies, no decompression.

    Args:
        root: URL that request paths are appended to, such as https://host/prefix.
        headers: sent with every request.
        connect_timeout: seconds, for name, TCP and TLS together.
        address: where to connect to instead of looking the URL's host up.
    """

    def __init__(
        self, root: str, headers: Mapping[str, str], connect_timeout: float, address: str = ""
    ) -> None:
        url = urlsplit(root)
        secure = url.scheme == "https"
        self._host = url.hostname or ""
        self._port = url.port or (443 if secure else 80)
        self._prefix = url.path
        self._address = address or self._host
        self._tls = ssl.create_default_context() if secure else None
        self._fixed = _lines({"host": url.netloc.rpartition("@")[2], **headers})
        self._connect_timeout = connect_timeout
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        deadline: float = inf,
        *,
        fresh: bool = False,
    ) -> Connection:
        """Send a request and wait for the head of its answer; cancelled, the connection is closed.

        Args:
            deadline: loop time by which the answer must have begun.
            fresh: take no kept-alive connection.

        Returns:
            The connection, whose ``read`` is to be called until the end, or ``abort``.

        Raises:
            ConnectFailed: nothing was sent.
            Broken: the connection failed before the answer.
        """
        if not PATH.fullmatch(path):
            raise ValueError("path")
        length = f"content-length: {len(body)}\r\n" if body or method != "GET" else ""
        head = (
            f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._fixed}{_lines(headers)}{length}\r\n"
        )
        data = head.encode("latin-1") + body
        connection = None if fresh else self._take()
        if connection is None:
            connection = await self._connect()
        try:
            await connection.exchange(data, deadline)
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout):
                _, connection = await loop.create_connection(
                    lambda: Connection(self),
                    self._address,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
        except (OSError, UnicodeError) as error:  # time-outs, TLS, names that are none
            raise ConnectFailed(unreached(error)) from None
        self._open.add(connection)
        return connection

    def _take(self) -> Connection | None:
        """The connection that was used last, if it is young enough."""
        oldest = asyncio.get_running_loop().time() - KEEP_ALIVE_SECONDS
        if self._idle and self._idle[-1].idle_since > oldest:
            return self._idle.pop()
        return None

    def keep(self, connection: Connection) -> None:
        """The exchange is over; the next one may use the connection."""
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)

    def forget(self, connection: Connection) -> None:
        """The connection is closed."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def prune(self, *, frozen: bool = False) -> None:
        """Close connections that were idle for too long, and those whose answer doesn't begin. To
        be called every second or so: one timer for all is cheaper than one for each.

        Args:
            frozen: the server gives no sign of life: no answer is waited for any longer.
        """
        now = asyncio.get_running_loop().time()
        oldest = now - KEEP_ALIVE_SECONDS
        for connection in [c for c in self._idle if c.idle_since <= oldest]:
            connection.abort()
        for connection in [c for c in self._open if c.deadline < (inf if frozen else now)]:
            connection.expire()

    def close(self) -> None:
        """Close all connections, those in use too."""
        for connection in tuple(self._open):
            connection.abort()


def _lines(headers: Mapping[str, str]) -> str:
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if text.count("\n") != len(headers) or text.count("\r") != len(headers):
        raise ValueError("a header holds a line break")
    return text
