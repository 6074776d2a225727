"""One answer on its way from an upstream server."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from gemma_gateway.core.engine import EngineFailed
from gemma_gateway.engines.upstream.http1 import Connection
from gemma_gateway.engines.upstream.pool import Pool, Upstream

NO_CAPACITY = frozenset({502, 503, 504})  # the server, or a proxy before it, couldn't take the call


class UpstreamReply:
    """An answer that is being read from an upstream.

    Its watchdog is the engine's one sweep over all replies, for which a read only notes the time: a
    timer set per read would cost more than the read.

    Args:
        started: when the call was sent, monotonic seconds.
        patience: longest silence before its text, seconds.
    """

    __slots__ = (
        "_connection",
        "_live",
        "_pool",
        "_read",
        "_upstream",
        "content_type",
        "ended",
        "expired",
        "patience",
        "retry_after",
        "since",
        "speaking",
        "started",
        "status",
        "waiting",
    )

    def __init__(
        self,
        pool: Pool,
        live: set[UpstreamReply],
        upstream: Upstream,
        connection: Connection,
        started: float,
        patience: float,
    ) -> None:
        self.status = connection.status
        self.content_type = connection.content_type or "application/octet-stream"
        self.retry_after = connection.retry_after
        self.started = started
        self.patience = patience
        self.speaking = False  # its reader has had text
        self.waiting = False  # for the upstream; False while the reader is busy elsewhere
        self.since = time.monotonic()  # since when, if so
        self.expired = ""  # which time-out closed it
        self.ended = False
        self._read = False  # to its end
        self._pool = pool
        self._live = live
        live.add(self)
        self._upstream = upstream
        self._connection = connection

    def chunks(self) -> AsyncIterator[bytes]:
        """Body bytes as they are read, once. The iterator is the reply itself: a generator would
        cost a short call more than all that is read.

        Raises:
            EngineFailed: ``timeout`` after too long a silence or ``request_timeout`` in all;
                ``died`` when the body was cut short, or after ``abort``.
        """
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._read:
            raise StopAsyncIteration
        self.since = time.monotonic()
        self.waiting = True
        try:
            data = await self._connection.read()
        except ConnectionError as error:
            aborted = self.ended
            self._end(complete=False)
            if self.expired:
                raise EngineFailed("timeout", self.expired) from None
            raise EngineFailed("died", "aborted" if aborted else str(error)) from None
        except BaseException:
            self.close()  # the reader left before the end
            raise
        self.waiting = False
        if not data:
            self._read = True
            self._end(complete=True)
            raise StopAsyncIteration
        return data

    def speaks(self) -> None:
        """See ``EngineReply``."""
        self.speaking = True

    async def abort(self) -> None:
        """Close the connection: the upstream sees the client leave and stops generating."""
        self.close()

    def close(self) -> None:
        if not self.ended:
            self._leave()
            self._connection.abort()

    def expire(self, why: str, *, silent: bool = False) -> None:
        """Time is up: the reader gets EngineFailed('timeout').

        Args:
            why: for the log.
            silent: the upstream said nothing. Only that is its failure: a call may also be long
                because its client reads slowly.
        """
        self.expired = why
        if silent:
            self._pool.failed(self._upstream, why)
        self.close()

    def generated(self) -> int | None:
        """Unknown: the server counts, and tells at the end of the answer."""
        return None

    def prompt_tokens(self) -> int | None:
        """Unknown, as ``generated``."""
        return None

    def comes_from(self, upstream: Upstream) -> bool:
        return self._upstream is upstream

    def limit(self, idle: float) -> float:
        """How long it may be silent now, seconds. Nobody waits longer than between tokens for a
        server that no longer answers its checks.

        Args:
            idle: longest pause between tokens, seconds.
        """
        return self.patience if not self.speaking and self._upstream.reachable else idle

    def _end(self, *, complete: bool) -> None:
        if self.ended:
            return
        self._leave()
        if complete:
            if self.status not in NO_CAPACITY:
                self._pool.completed(self._upstream)
        else:
            self._pool.failed(self._upstream, "an answer was cut short")
            self._connection.abort()

    def _leave(self) -> None:
        self.ended = True
        self._live.discard(self)
        self._pool.release(self._upstream)
