"""The store: Redis or Valkey, that may be away without anybody waiting for it."""

from __future__ import annotations

from typing import Any, Protocol

from app.storage.batch import Argument, Prepared, ReplyError, StoreError, pack
from app.storage.cluster import Cluster
from app.storage.endpoint import Endpoint
from app.storage.sentinel import REPLICA, Sentinels
from app.storage.target import Target


class Servers(Protocol):
    """What stands behind the URL: :class:`app.storage.endpoint.Endpoint` or
    :class:`app.storage.cluster.Cluster`, where the attributes and methods are described."""

    outages: int
    last_error: str

    @property
    def available(self) -> bool: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def slot(self, command: tuple[Argument, ...]) -> int: ...

    async def send(self, packed: bytes, slot: int) -> Any: ...


class Store:
    """A client that never makes a caller wait longer than ``timeout``.

    After a failure the store (of a Redis Cluster: the slots of the node that failed) counts as
    away: calls fail at once, while a background task brings it back (pauses of at most half a
    second).

    Args:
        url: one of these; user, password and redis-py's ``ssl_*`` query parameters go with each,
            and ``rediss`` instead of ``redis`` means TLS:

            - ``redis://host:port/db``, ``unix:///path?db=0``: one server
            - ``redis+cluster://host:port,host:port``: a Redis Cluster, found through any of these
            - ``redis+sentinel://host:port,host:port/name/db``: the master that Redis Sentinel
              watches under this name; ``sentinel_username`` and ``sentinel_password`` as query
              parameters if sentinels have their own
        timeout: longest wait for an answer, in seconds.

    Attributes:
        failures: commands that the store did not answer or refused, since the start.

    Raises:
        ValueError: the URL can't be used.
    """

    def __init__(self, url: str, timeout: float = 0.05) -> None:
        self._servers = _servers(url, timeout)
        self.failures = 0

    @property
    def available(self) -> bool:
        """Whether commands are being answered; of a cluster: those for every key."""
        return self._servers.available

    @property
    def outages(self) -> int:
        """How often it (or a node of it) went away, since the start."""
        return self._servers.outages

    @property
    def last_error(self) -> str:
        """Why it last failed; for operators, never for clients."""
        return self._servers.last_error

    async def start(self) -> None:
        """Connect; where that fails, keep trying in the background. Never raises StoreError."""
        await self._servers.start()

    async def stop(self) -> None:
        """Close all connections. Idempotent."""
        await self._servers.stop()

    async def run(self, call: Prepared) -> Any:
        """Run a script, loading it where the server doesn't have it yet.

        Returns:
            Its reply: int, bytes, None or a list of these.

        Raises:
            StoreError: no answer in time, or an error answer.
        """
        try:
            return await self._servers.send(call.by_sha, call.slot)
        except ReplyError as error:
            if not str(error).startswith("NOSCRIPT"):
                self.failures += 1
                raise
        except StoreError:
            self.failures += 1
            raise
        return await self._command(call.by_text, call.slot)

    async def call(self, *command: Argument) -> Any:
        """Run one command. In a cluster its key decides which node gets it, and one about the
        whole server (SCAN, DBSIZE) sees a single node.

        Raises:
            StoreError: no answer in time, or an error answer.
        """
        return await self._command(pack(*command), self._servers.slot(command))

    async def _command(self, packed: bytes, slot: int) -> Any:
        try:
            return await self._servers.send(packed, slot)
        except StoreError:
            self.failures += 1
            raise


def _servers(url: str, timeout: float) -> Servers:
    scheme, _, kind = url.partition("://")[0].lower().partition("+")
    match scheme, kind:
        case ("redis" | "rediss" | "unix", ""):
            return Endpoint(Target.parse(url).open, timeout)
        case ("redis" | "rediss", "cluster"):
            return Cluster.parse(url, scheme, timeout)
        case ("redis" | "rediss", "sentinel"):
            sentinels = Sentinels.parse(url, scheme)
            return Endpoint(sentinels.open, timeout, wrong=REPLICA)
    raise ValueError(
        "store URL: it begins with redis://, rediss://, unix://, or with redis or rediss and "
        "+cluster:// or +sentinel://"
    )
