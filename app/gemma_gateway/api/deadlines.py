"""Watching calls in flight: clients that leave, calls that take too long, streams that are silent,
and the last moment."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from math import inf
from typing import Protocol

from gemma_gateway.core.errors import Code

TICK = 0.05  # seconds; a departure is noticed after two of them at the latest
# How clients say how long they wait for an answer to begin, and how many seconds one of it is: the
# SDKs that Stainless generates (OpenAI's and Anthropic's), and Envoy for the clients behind it.
WAITS = {
    b"x-stainless-timeout": 1.0,
    b"x-stainless-read-timeout": 1.0,
    b"x-envoy-expected-rq-timeout-ms": 0.001,
}
ROUNDED = 1.0  # seconds: the SDKs for Node leave fractions out
NUMBER = re.compile(rb"[0-9]{1,12}(?:\.[0-9]{1,12})?")


def client_patience(fields: Mapping[bytes, bytes]) -> float:
    """How long a client waits for an answer to begin, in seconds; infinite where it doesn't say so.
    What is no number above zero means nothing (``None``, ``NOT_GIVEN``).

    Args:
        fields: of the request's head, names in lower case.
    """
    shortest = inf
    for name, unit in WAITS.items():
        value = fields.get(name)
        if value is not None and NUMBER.fullmatch(value) and 0 < float(value) * unit < shortest:
            shortest = float(value) * unit
    return shortest + ROUNDED


class Watched(Protocol):
    """A call in flight.

    Attributes:
        patience: longest time that it may have taken by now, in seconds.
        late: why it is ended after that.
        silent_since: loop time of its last sign of life, or one up to a tick earlier; infinite
            while it needs none.
    """

    patience: float
    late: Code
    silent_since: float

    def listen(self) -> None:
        """Wait for the client's departure, and cancel the call then. Idempotent."""
        ...

    def show_life(self) -> None:
        """Send the client something that means nothing; it needs none until this has left."""
        ...

    def stop(self, reason: Code) -> None:
        """Cancel the call, whose client is told the reason. Idempotent."""
        ...


class Deadlines:
    """Looks after all open connections with one timer.

    Timers and tasks cost more than a short call's whole policy. So there is none per call: a
    connection is only listened to once its call has lived for a tick, and then its task waits for
    the client's departure without any polling.

    Args:
        heartbeat: longest silence of a stream, seconds.

    Attributes:
        now: loop time at the last look: no token has to ask for it.
    """

    def __init__(self, heartbeat: float = inf) -> None:
        self._heartbeat = heartbeat
        self.now = 0.0
        self._open: dict[Watched, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Watched) -> None:
        """Begin to look after a connection."""
        loop = asyncio.get_running_loop()
        self._open[connection] = self.now = loop.time()
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
        self.now = now = loop.time()
        for connection, since in list(self._open.items()):
            if now - since < TICK:
                continue
            connection.listen()
            if now - since > connection.patience:
                self.discard(connection)
                connection.stop(connection.late)
            elif now - connection.silent_since > self._heartbeat:
                connection.show_life()
        self._timer = loop.call_later(TICK, self._tick, loop) if self._open else None
