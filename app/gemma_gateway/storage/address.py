"""Where a server is, how to get there, and what to say first: the store's URL, read."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from redis.asyncio.connection import SSLConnection, parse_url

from gemma_gateway.storage.connection import Connection, StoreError, pack

CONNECT_TIMEOUT = 1.0  # seconds, greeting included; only background tasks wait for it
PORT = 6379
OnLost = Callable[[Connection, str], None]


@dataclass(frozen=True, slots=True)
class Address:
    """One server.

    Args:
        host: name or address; empty for a Unix socket.
        port: TCP port.
        path: of the Unix socket; empty for TCP.
        tls: how to verify it; None: in the clear.
        greeting: the packed commands that open a connection.
    """

    host: str
    port: int
    path: str
    tls: ssl.SSLContext | None
    greeting: tuple[bytes, ...]

    @classmethod
    def parse(cls, url: str, port: int = PORT) -> Address:
        """Read a URL of redis-py: ``redis://``, ``rediss://`` or ``unix://``, with user, password,
        ``/db`` and ``ssl_*`` query parameters.

        Args:
            url: the URL.
            port: where it names none.

        Raises:
            ValueError: it can't be used. The text shows nothing of it that could be secret.
        """
        try:
            known: dict[str, Any] = dict(parse_url(url))
        except ValueError:
            raise ValueError(
                "store URL: its port is not a number, or its password has characters that must be "
                "percent-encoded"
            ) from None
        greeting = []
        if password := known.get("password"):
            user = [known["username"]] if known.get("username") else []
            greeting.append(pack("AUTH", *user, password))
        if database := known.get("db"):
            greeting.append(pack("SELECT", int(database)))
        greeting.append(pack("PING"))
        path = known.get("path", "")
        return cls(
            "" if path else known.get("host", "localhost"),
            int(known.get("port", port)),
            path,
            _tls(known) if known.get("connection_class") is SSLConnection else None,
            tuple(greeting),
        )

    def at(self, host: str, port: int) -> Address:
        """Another server that is spoken to in the same way."""
        return replace(self, host=host, port=port)

    async def open(self, timeout: float, on_lost: OnLost) -> Connection:
        """Connect, and greet.

        Args:
            timeout: longest wait of the link for a reply, in seconds.
            on_lost: told when the link fails, see :class:`storage.connection.Connection`.

        Raises:
            ReplyError: the server refused the greeting.
            StoreError: no connection.
        """
        link: Connection | None = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                link = await self._connect(lambda: Connection(2 * CONNECT_TIMEOUT, on_lost))
                for command in self.greeting:
                    await link.send(command)
            if link.lost:  # between the last answer and now
                raise StoreError(link.lost)
        except BaseException as error:
            if link is not None:
                link.close()
            if isinstance(error, TimeoutError):
                what = "connection" if link is None else "answer"
                raise StoreError(f"no {what} within {CONNECT_TIMEOUT:g} s") from None
            if isinstance(error, OSError | ValueError):  # ValueError: not a host name
                raise StoreError(str(error)) from error
            raise
        link.within(timeout)
        return link

    async def _connect(self, link: Callable[[], Connection]) -> Connection:
        loop = asyncio.get_running_loop()
        if self.path:
            return (await loop.create_unix_connection(link, self.path))[1]
        return (await loop.create_connection(link, self.host, self.port, ssl=self.tls))[1]


@dataclass(frozen=True, slots=True)
class Several:
    """The parts of ``scheme://user:password@host:port,host:port/path?query``.

    Args:
        login: ``user:password@`` or empty, percent-encoded.
        hosts: ``host`` or ``host:port`` of each server.
        path: without its first slash.
        query: without its question mark.
    """

    login: str
    hosts: tuple[str, ...]
    path: str
    query: str

    @classmethod
    def parse(cls, url: str) -> Several:
        """Take a URL of several servers apart.

        Raises:
            ValueError: it names none.
        """
        rest, _, query = url.partition("://")[2].partition("?")
        place, _, path = rest.partition("/")
        login, at, names = place.rpartition("@")
        hosts = tuple(host.strip() for host in names.split(",") if host.strip())
        if not hosts:
            raise ValueError("store URL: no host in it")
        return cls(login + at, hosts, path.strip("/"), query)


def _tls(known: dict[str, Any]) -> ssl.SSLContext:
    """TLS as redis-py's ``ssl_*`` URL parameters ask for; verified by default."""
    authority = known.get("ssl_ca_certs")
    certificate, key = known.get("ssl_certfile"), known.get("ssl_keyfile")
    try:
        context = ssl.create_default_context(cafile=authority, capath=known.get("ssl_ca_path"))
        if certificate:
            context.load_cert_chain(certificate, key)
    except OSError as error:
        files = ", ".join(name for name in (authority, certificate, key) if name)
        raise ValueError(f"store URL: {files}: {error.strerror or error}") from error
    if known.get("ssl_cert_reqs") in {"none", "CERT_NONE"}:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif str(known.get("ssl_check_hostname", "true")).lower() in {"false", "0", "no"}:
        context.check_hostname = False
    return context
