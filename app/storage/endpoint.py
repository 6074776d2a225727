"""One server's connection, that comes back by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from app.storage.batch import Argument, Link, ReplyError, StoreError
from app.storage.target import OnLost

FIRST_PAUSE = 0.05  # seconds between two attempts, doubled up to LAST_PAUSE
LAST_PAUSE = 0.5
TELL_SECONDS = 60.0  # a server that goes on refusing is logged once in so many
# The server is there but doesn't serve us: starting, a replica, out of memory or disk, no rights.
REFUSALS = (
    *("LOADING", "BUSY", "READONLY", "MASTERDOWN", "NOREPLICAS", "MISCONF", "OOM"),
    *("NOAUTH", "NOPERM", "CLUSTERDOWN"),
)
REDIRECTIONS = ("MOVED", "ASK", "TRYAGAIN")  # by a node of a Redis Cluster

Open = Callable[[float, OnLost], Awaitable[Link]]  # see app.storage.target.Target.open

log = logging.getLogger(__name__)


class Endpoint:
    """Commands for one server at a time. None waits longer than ``timeout``.

    After a failure calls fail at once, while one background task reconnects (pauses of at most
    half a second).

    Args:
        way: opens a link to the right server, or raises StoreError.
        timeout: longest wait for an answer, in seconds.
        name: what the log calls it.
        refusals: beginnings of error replies by which a server says that it doesn't serve us.
        wrong: the same for a server that isn't the right one any more: find the way anew.
        on_away: told when it goes away, with the reason.

    Attributes:
        link: the open connection, if there is one.
        tried: set once the first attempt to connect has ended, well or not.
        outages: how often it went away, since the start.
        last_error: why it last failed.
    """

    def __init__(
        self,
        way: Open,
        timeout: float,
        *,
        name: str = "store",
        refusals: tuple[str, ...] = REFUSALS + REDIRECTIONS,
        wrong: tuple[str, ...] = (),
        on_away: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._way = way
        self._timeout = timeout
        self._name = name
        self._refusals = refusals
        self._wrong = wrong
        self._on_away = on_away
        self._task: asyncio.Task[None] | None = None
        self._down = False
        self._closed = False
        self._refusing = False
        self._told = float("-inf")  # when the log last heard of a refusal
        self.link: Link | None = None
        self.tried = asyncio.Event()
        self.outages = 0
        self.last_error = ""

    @property
    def available(self) -> bool:
        """Whether commands are being answered."""
        return self.link is not None and not self._refusing

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
        if self._task is not None:
            self._task.cancel()
        link, self.link = self.link, None
        if link is not None:
            link.close()

    def slot(self, command: tuple[Argument, ...]) -> int:
        """The hash slot of a command: one server has all of them."""
        return 0

    async def send(self, packed: bytes, slot: int = 0) -> Any:
        """Send one packed command.

        Raises:
            ReplyError: an error answer.
            StoreError: no answer in time.
        """
        link = self.link
        if link is None:
            raise StoreError("away")
        try:
            reply = await link.send(packed)
        except ReplyError as error:
            self._judge(link, str(error))
            raise
        self._refusing = False
        return reply

    def _judge(self, link: Link, error: str) -> None:
        self._refusing = error.startswith(self._refusals)
        if self._refusing:
            self.last_error = error
            now = asyncio.get_running_loop().time()
            if now - self._told > TELL_SECONDS:
                self._told = now
                log.warning("%s refuses: %s", self._name, error)
        if error.startswith(self._wrong):
            link.close(error)

    def _lost(self, link: Link, reason: str) -> None:
        if link is self.link and not self._closed:
            self.link = None
            self._away(reason)
            self._seek_soon(FIRST_PAUSE)

    def _away(self, reason: str) -> None:
        self.last_error = reason
        if self._down:
            return
        self._down = True
        self.outages += 1
        log.warning("%s away: %s", self._name, reason)
        self._on_away(reason)

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
                self._away(str(error))
                self.tried.set()
                pause = min(max(2 * pause, FIRST_PAUSE), LAST_PAUSE)
            else:
                break
        self.link = link
        self._refusing = False
        self.tried.set()
        if self._down:
            self._down = False
            log.warning("%s back", self._name)
