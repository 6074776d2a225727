"""One server's connection, that comes back by itself."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

from gemma_gateway.storage.address import OnLost
from gemma_gateway.storage.connection import Argument, Connection, Prepared, ReplyError, StoreError

FIRST_PAUSE = 0.05  # seconds between two attempts, doubled up to LAST_PAUSE
LAST_PAUSE = 0.25
REDIAL_SECONDS = 1.0  # at most one new connection in so many, while servers say ELSEWHERE
# What a server says that isn't the one to ask, or not any more, though the connection works: the
# address may lead to another one by now. Redis 6.2 wraps it where a script hears it.
ELSEWHERE = re.compile(r"\b(READONLY|MASTERDOWN|CLUSTERDOWN|NOREPLICAS|LOADING)\b")
REDIRECTIONS = ("MOVED", "ASK", "TRYAGAIN")  # by a node of a Redis Cluster

Open = Callable[
    [float, OnLost], Awaitable[Connection]
]  # see gemma_gateway.storage.address.Address.open


class ReconnectingConnection:
    """Commands for one server at a time. None waits longer than ``timeout`` for its answer.

    After a failure calls fail at once, while one background task reconnects (pauses of at most a
    quarter of a second).

    Args:
        way: opens a link to the right server, or raises StoreError.
        timeout: longest wait for an answer, in seconds.
        patience: for how long after a loss commands wait for the new connection, in seconds.
        on_lost: told when a connection is lost.

    Attributes:
        link: the open connection, if there is one.
        tried: set once the first attempt to connect has ended, well or not.
        losses: connections lost, since the start.
    """

    def __init__(
        self,
        way: Open,
        timeout: float,
        patience: float = 0.0,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._way = way
        self._timeout = timeout
        self._patience = patience
        self._on_lost = on_lost
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._opened = 0.0  # when the link was, loop time
        self._waiting_ends = 0.0  # of commands that wait for a new one, loop time
        self._settled = asyncio.Event()  # there is a link, or nobody is to wait for one
        self._trouble = StoreError("no connection")  # why there is no link
        self.link: Connection | None = None
        self.tried = asyncio.Event()
        self.losses = 0

    async def start(self) -> None:
        """Connect; where that fails, go on trying in the background. Never raises StoreError."""
        self.begin()
        await self.tried.wait()

    def begin(self) -> None:
        """Start, without waiting for it."""
        self._closed = False
        self.tried.clear()
        self._seek_soon(0.0)

    async def stop(self) -> None:
        """Close the connection. Idempotent."""
        self.close()
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def close(self) -> None:
        """The same, without waiting for the background task's end."""
        self._closed = True
        self._settled.set()
        if self._task is not None:
            self._task.cancel()
        link, self.link = self.link, None
        if link is not None:
            link.close()

    def slot(self, command: tuple[Argument, ...]) -> int:
        """The hash slot of a command: one server has all of them."""
        return 0

    def probes(self, make: Callable[[int], Prepared]) -> list[tuple[str, Prepared]]:
        """One call for each server that has to work, and the server's name for error texts.

        Args:
            make: makes a call for each number from 0 on, with keys all over the slots.

        Raises:
            StoreError: a server is missing.
        """
        return [("", make(0))]

    async def send(self, packed: bytes, slot: int = 0) -> Any:
        """Send one packed command.

        Raises:
            ReplyError: an error answer, perhaps to the greeting of a new connection.
            StoreError: no answer in time.
        """
        link = self.link or await self._next_link()
        try:
            return await link.send(packed)
        except ReplyError as error:
            long_ago = asyncio.get_running_loop().time() - self._opened > REDIAL_SECONDS
            if long_ago and ELSEWHERE.search(str(error)):
                link.close(str(error))
            raise

    async def _next_link(self) -> Connection:
        left = self._waiting_ends - asyncio.get_running_loop().time()
        if left > 0 and not self._closed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._settled.wait(), left)
        if self.link is None:
            raise type(self._trouble)(str(self._trouble))
        return self.link

    def _lost(self, link: Connection, reason: str) -> None:
        if link is self.link and not self._closed:
            self.link = None
            self.losses += 1
            self._trouble = StoreError(reason)
            self._waiting_ends = asyncio.get_running_loop().time() + self._patience
            self._settled.clear()
            self._on_lost()
            self._seek_soon(FIRST_PAUSE)

    def _seek_soon(self, pause: float) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._seek(pause))

    async def _seek(self, pause: float) -> None:
        """Connect, again and again. The link counts only once the server has answered."""
        while True:
            await asyncio.sleep(pause)
            try:
                link = await self._way(self._timeout, self._lost)
            except StoreError as error:
                self._trouble = error.with_traceback(None)
                self.tried.set()
                pause = min(max(2 * pause, FIRST_PAUSE), LAST_PAUSE)
            else:
                break
        self.link = link
        self._opened = asyncio.get_running_loop().time()
        self._settled.set()
        self.tried.set()
