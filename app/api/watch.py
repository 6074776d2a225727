"""Watching calls in flight: clients that leave, and calls that take too long."""

from __future__ import annotations

import asyncio
from typing import Protocol

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

    def expire(self) -> None:
        """Cancel the call: its time is up."""
        ...


class Watch:
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

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection, since in list(self._open.items()):
            connection.listen()
            if now - since > connection.patience:
                self.discard(connection)
                connection.expire()
        self._timer = loop.call_later(TICK, self._tick, loop) if self._open else None
