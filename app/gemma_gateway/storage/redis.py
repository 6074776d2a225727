"""The store: Redis or Valkey, that may be away without anybody waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from redis.crc import key_slot

from gemma_gateway.storage.address import Address
from gemma_gateway.storage.cluster import Cluster
from gemma_gateway.storage.connection import Argument, Prepared, ReplyError, StoreError, pack
from gemma_gateway.storage.reconnecting import ReconnectingConnection
from gemma_gateway.storage.sentinel import Sentinels
from gemma_gateway.storage.vigil import ABSENT_SECONDS, Vigil

PING = pack("PING")
Trial = Callable[[int], Prepared]  # a call for each number from 0 on, with keys all over the slots


class Servers(Protocol):
    """What stands behind the URL: :class:`storage.reconnecting.ReconnectingConnection` or
    :class:`storage.cluster.Cluster`, where the attributes and methods are described."""

    losses: int

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def slot(self, command: tuple[Argument, ...]) -> int: ...

    def probes(self, make: Trial) -> list[tuple[str, Prepared]]: ...

    async def send(self, packed: bytes, slot: int) -> Any: ...


class Store:
    """A client that never makes a caller's request wait longer than ``timeout``.

    After a failure the store (of a Redis Cluster: the slots of the node that failed) counts as
    away: calls fail at once, while a background task brings it back (pauses of at most a quarter
    of a second).

    There are two connections to each server: what a caller's request waits for has one of its own
    (:meth:`promptly`), so that a large page, or ten thousand sums to write, make no call wait. All
    else has time: it waits for ``ABSENT_SECONDS``, also for a connection that was just lost.

    Args:
        url: one of these; user, password and redis-py's ``ssl_*`` query parameters go with each,
            and ``rediss`` instead of ``redis`` means TLS:

            - ``redis://host:port/db``, ``unix:///path?db=0``: one server
            - ``redis+cluster://host:port,host:port``: a Redis Cluster, found through any of these
            - ``redis+sentinel://host:port,host:port/name/db``: the master that Redis Sentinel
              watches under this name; ``sentinel_username`` and ``sentinel_password`` as query
              parameters if sentinels have their own
        timeout: longest wait of a caller's request for an answer, in seconds.

    Attributes:
        timeout: the same.
        trial: makes the calls that show whether it works; by default only PING.
        failures: commands that the store did not answer or refused, since the start.

    Raises:
        ValueError: the URL can't be used.
    """

    def __init__(self, url: str, timeout: float = 0.05) -> None:
        self._road = _servers(url, timeout, 0.0)
        self._rest = _servers(url, max(timeout, ABSENT_SECONDS), ABSENT_SECONDS)
        self._vigil = Vigil(self._try)
        self.timeout = timeout
        self._some = False  # the last trial worked on a server
        self.trial: Trial = _ping
        self.failures = 0

    @property
    def available(self) -> bool:
        """Whether the trial works; of a cluster: on every master. It follows within two seconds."""
        return self._vigil.available

    @property
    def serves_any(self) -> bool:
        """Whether it works for some keys at least; only a Redis Cluster may serve but some."""
        return self.available or self._some

    @property
    def outages(self) -> int:
        """How often it stopped to be available, since the start."""
        return self._vigil.outages

    @property
    def losses(self) -> int:
        """Connections lost since the start; a server behind a new one may have forgotten all."""
        return self._rest.losses

    @property
    def last_error(self) -> str:
        """Why the trial last failed; for operators, never for clients."""
        return self._vigil.last_error

    async def start(self) -> None:
        """Connect; where that fails, keep trying in the background. Never raises StoreError."""
        await asyncio.gather(self._road.start(), self._rest.start())
        await self._vigil.start()

    async def stop(self) -> None:
        """Close all connections. Idempotent."""
        await self._vigil.stop()
        await asyncio.gather(self._road.stop(), self._rest.stop())

    async def promptly(self, call: Prepared) -> Any:
        """Run a script that a caller's request waits for; see :meth:`run`."""
        try:
            return await _run(self._road, call)
        except StoreError as error:
            self.failures += 1
            if isinstance(error, ReplyError):
                self._vigil.refused(str(error))
            raise

    async def run(self, call: Prepared) -> Any:
        """Run a script, loading it where the server doesn't have it yet.

        Returns:
            Its reply: int, bytes, None or a list of these.

        Raises:
            StoreError: no answer in time, or an error answer.
        """
        try:
            return await _run(self._rest, call)
        except StoreError:
            self.failures += 1
            raise

    async def call(self, *command: Argument) -> Any:
        """Run one command. In a cluster its key decides which node gets it, and one about the
        whole server (SCAN, DBSIZE) sees a single node.

        Raises:
            StoreError: no answer in time, or an error answer.
        """
        try:
            return await self._rest.send(pack(*command), self._rest.slot(command))
        except StoreError:
            self.failures += 1
            raise

    async def _try(self) -> None:
        errors: list[StoreError | None]
        try:
            calls = (self._probe(*probe) for probe in self._road.probes(self.trial))
            errors = await asyncio.gather(*calls)
        except StoreError as error:
            errors = [error]
        self._some = None in errors
        for found in filter(None, errors):
            raise found

    async def _probe(self, where: str, call: Prepared) -> StoreError | None:
        try:
            await _run(self._road, call)
        except StoreError as error:
            return type(error)(f"{where}{error}")
        return None


async def _run(servers: Servers, call: Prepared) -> Any:
    try:
        return await servers.send(call.by_sha, call.slot)
    except ReplyError as error:
        if not str(error).startswith("NOSCRIPT"):
            raise
    return await servers.send(call.by_text, call.slot)


def _ping(number: int) -> Prepared:
    return Prepared(PING, PING, key_slot(str(number).encode()))


def _servers(url: str, timeout: float, patience: float) -> Servers:
    scheme, _, kind = url.partition("://")[0].lower().partition("+")
    match scheme, kind:
        case ("redis" | "rediss" | "unix", ""):
            return ReconnectingConnection(Address.parse(url).open, timeout, patience)
        case ("redis" | "rediss", "cluster"):
            return Cluster.parse(url, scheme, timeout, patience)
        case ("redis" | "rediss", "sentinel"):
            return ReconnectingConnection(Sentinels.parse(url, scheme).open, timeout, patience)
    raise ValueError(
        "store URL: it must begin with redis://, rediss://, unix://, or with redis or rediss and "
        "+cluster:// or +sentinel://"
    )
