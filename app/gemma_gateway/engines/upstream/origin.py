"""A server, and the connections that are kept open to it."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from math import inf
from urllib.parse import urlsplit

from gemma_gateway.core.trouble import unreached
from gemma_gateway.engines.upstream.http1 import Connection

# Below the 5 s after which uvicorn (vLLM) closes an idle connection, so that ours is closed first
# and a call seldom meets a connection that is just being closed by the other side.
KEEP_ALIVE_SECONDS = 4.0
PATH = re.compile("[!-~]*")  # nothing that could end the request line


class ConnectFailed(ConnectionError):
    """No connection could be made: refused, unresolved, timed out, or TLS failed."""


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
        """See ``http1.Owner``."""
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)

    def forget(self, connection: Connection) -> None:
        """See ``http1.Owner``."""
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
