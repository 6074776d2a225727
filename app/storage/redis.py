"""The store: Redis or Valkey, that may be away without anybody waiting for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from typing import Any

from redis.asyncio.connection import SSLConnection, parse_url

from app.storage.batch import Argument, Link, Prepared, ReplyError, StoreError, pack

CONNECT_TIMEOUT = 1.0  # seconds; only the background probe waits for it
FIRST_PAUSE = 0.05  # seconds between two probes, doubled up to LAST_PAUSE
LAST_PAUSE = 0.5
# The server is there but doesn't serve us: starting, a replica, out of memory or disk, no rights,
# one node of a cluster (the URL must name an endpoint that serves every key).
REFUSALS = (
    *("LOADING", "BUSY", "READONLY", "MASTERDOWN", "NOREPLICAS", "MISCONF", "OOM"),
    *("NOAUTH", "NOPERM", "CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN"),
)

log = logging.getLogger(__name__)


class Store:
    """A client that never makes a caller wait longer than ``timeout``.

    After a failure the store counts as away: calls fail at once, while one background probe
    reconnects (pauses of at most half a second) and brings it back by itself.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, with user, password, ``/db`` and redis-py's
            ``ssl_*`` query parameters.
        timeout: longest wait for an answer, in seconds.

    Attributes:
        failures: commands that the store did not answer or refused, since the start.
        outages: how often it went away, since the start.
        last_error: why it last failed; for operators, never for clients.
    """

    def __init__(self, url: str, timeout: float = 0.05) -> None:
        self._target = _Target(url)
        self._timeout = timeout
        self._link: Link | None = None
        self._probe: asyncio.Task[None] | None = None
        self._refusing = False
        self._closed = False
        self.failures = 0
        self.outages = 0
        self.last_error = ""

    @property
    def available(self) -> bool:
        """Whether commands are being answered."""
        return self._link is not None and not self._refusing

    async def start(self) -> None:
        """Connect; where that fails, keep trying in the background. Never raises StoreError."""
        self._closed = False
        try:
            await self._connect()
        except StoreError as error:
            self.outages += 1
            self._away(str(error))

    async def stop(self) -> None:
        """Close the connection. Idempotent."""
        self._closed = True
        if self._probe is not None:
            self._probe.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._probe
            self._probe = None
        if self._link is not None:
            self._link.close()
            self._link = None

    async def run(self, call: Prepared) -> Any:
        """Run a script, loading it where the server doesn't have it yet.

        Returns:
            Its reply: int, bytes, None or a list of these.

        Raises:
            StoreError: no answer in time, or an error answer.
        """
        try:
            return await self._send(call.by_sha)
        except ReplyError as error:
            if not str(error).startswith("NOSCRIPT"):
                self._refused(error)
                raise
        return await self._command(call.by_text)

    async def call(self, *command: Argument) -> Any:
        """Run one command.

        Raises:
            StoreError: no answer in time, or an error answer.
        """
        return await self._command(pack(*command))

    async def _command(self, packed: bytes) -> Any:
        try:
            return await self._send(packed)
        except ReplyError as error:
            self._refused(error)
            raise

    async def _send(self, packed: bytes) -> Any:
        link = self._link
        if link is None:
            self.failures += 1
            raise StoreError("away")
        try:
            reply = await link.send(packed)
        except ReplyError:
            raise
        except StoreError:
            self.failures += 1
            raise
        self._refusing = False
        return reply

    def _refused(self, error: ReplyError) -> None:
        self.failures += 1
        self.last_error = str(error)
        self._refusing = str(error).startswith(REFUSALS)

    def _lost(self, link: Link, reason: str) -> None:
        if link is self._link and not self._closed:
            self._link = None
            self.outages += 1
            self._away(reason)

    def _away(self, reason: str) -> None:
        self.last_error = reason
        log.warning("store away: %s", reason)
        if self._probe is None or self._probe.done():
            self._probe = asyncio.get_running_loop().create_task(self._reconnect())

    async def _reconnect(self) -> None:
        pause = FIRST_PAUSE
        while True:
            await asyncio.sleep(pause)
            try:
                await self._connect()
            except StoreError as error:
                self.last_error = str(error)
                pause = min(2 * pause, LAST_PAUSE)
            else:
                log.warning("store back")
                return

    async def _connect(self) -> None:
        """One attempt; the link counts only once the server has answered a PING."""
        link: Link | None = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                link = await self._target.open(self._timeout, self._lost)
                for command in self._target.greeting:
                    await link.send(command)
            if link.lost:  # between the last answer and now
                raise StoreError(link.lost)
        except (OSError, ValueError, StoreError) as error:  # ValueError: not a host name
            if link is not None:
                link.close()
            raise StoreError(str(error) or "no connection in time") from error
        except BaseException:
            if link is not None:
                link.close()
            raise
        self._refusing = False
        self._link = link


class _Target:
    """Where the store is, and what to say first."""

    def __init__(self, url: str) -> None:
        known: dict[str, Any] = dict(parse_url(url))
        self._path: str | None = known.get("path") if url.startswith("unix:") else None
        self._host = known.get("host", "localhost")
        self._port = int(known.get("port", 6379))
        self._tls = _tls(known) if known.get("connection_class") is SSLConnection else None
        self.greeting: list[bytes] = []
        if password := known.get("password"):
            user = [known["username"]] if known.get("username") else []
            self.greeting.append(pack("AUTH", *user, password))
        if database := known.get("db"):
            self.greeting.append(pack("SELECT", int(database)))
        self.greeting.append(pack("PING"))

    async def open(self, timeout: float, on_lost: Any) -> Link:
        loop = asyncio.get_running_loop()

        def link() -> Link:
            return Link(timeout, on_lost)

        if self._path is not None:
            return (await loop.create_unix_connection(link, self._path))[1]
        return (await loop.create_connection(link, self._host, self._port, ssl=self._tls))[1]


def _tls(known: dict[str, Any]) -> ssl.SSLContext:
    """TLS as redis-py's ``ssl_*`` URL parameters ask for; verified by default."""
    context = ssl.create_default_context(
        cafile=known.get("ssl_ca_certs"), capath=known.get("ssl_ca_path")
    )
    if known.get("ssl_cert_reqs") in {"none", "CERT_NONE"}:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif str(known.get("ssl_check_hostname", "true")).lower() in {"false", "0", "no"}:
        context.check_hostname = False
    if certificate := known.get("ssl_certfile"):
        context.load_cert_chain(certificate, known.get("ssl_keyfile"))
    return context
