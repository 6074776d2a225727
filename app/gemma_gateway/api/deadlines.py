"""Watching calls in flight: clients that leave, calls that take too long, and the last moment."""

from __future__ import annotations

import asyncio
from typing import Protocol

from gemma_gateway.core.errors import Code

TICK = 0.05  # seconds; a departure before it is noticed at it


class Watched(Protocol):
    """A call in flight.

    Attributes:
        patience: longest time that it may have taken by now, in seconds.
    """

    patience: float

    def listen(self) -> None:
        """Wait for the client's departure, and cancel the call then. Idempotent."""
        ...

    def stop(self, reason: Code) -> None:
        """Cancel the call, whose client is told the reason. Idempotent."""
        ...


class Deadlines:
    """Looks after all open connections with one timer.

    Timers and tasks cost more than a short call's whole policy. So there is none per call: a
    connection is only listened to once its call has lived for a tick, and then its task waits for
    the client's departure without any polling.
    """

    def __init__(self) -> None:
        self._open: dict[Watched, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Watched) -> None:
        """Begin to look after a connection."""
        loop = asyncio.get_running_loop()
        self._open[connection] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(TICK, self._tick, loop)

    def discard(self, connection: Watched) -> None:
        """Its call is over."""
        self._open.pop(connection, None)

    def stop(self, reason: Code) -> None:
        """Stop all calls that are here now."""
        for connection in list(self._open):
            connection.stop(reason)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection, since in list(self._open.items()):
            connection.listen()
            if now - since > connection.patience:
                self.discard(connection)
                connection.stop(Code.ENGINE_TIMEOUT)
        self._timer = loop.call_later(TICK, self._tick, loop) if self._open else None
