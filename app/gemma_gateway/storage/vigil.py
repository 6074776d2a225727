"""Is the store available? It is when what the limiter does with it works."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from gemma_gateway.core.periodic import Periodic
from gemma_gateway.storage.connection import ReplyError, StoreError

LOOK_SECONDS = 0.5  # between two looks
ABSENT_SECONDS = (
    2.0  # a shorter absence is no outage (calls are decided without the store meanwhile)
)
REFUSED_SECONDS = 0.4  # a store that refuses does so at two looks in a row

log = logging.getLogger(__name__)


class Vigil:
    """Tries the store out twice a second, and tells of changes.

    Nothing but a trial that works makes the store available again; a caller's request that is
    refused makes the trial that follows a failure.

    Args:
        trial: does what a call does, or raises StoreError.

    Attributes:
        available: what is told of the store.
        outages: how often it became unavailable, since the start.
        last_error: why the last trial that failed did so.
    """

    def __init__(self, trial: Callable[[], Awaitable[None]]) -> None:
        self._trial = trial
        self._looking = Periodic(self._look, self._pause, "the store can't be tried out")
        self._refusal = ""  # that a call met with since the last trial
        self._failing: float | None = None  # since when, loop time
        self._refusing: float | None = None  # the same, of a store that answers
        self.available = False
        self.outages = 0
        self.last_error = ""

    async def start(self) -> None:
        """Look once, and go on in the background."""
        await self._look()
        if not self.available:
            self._away()
        await self._looking.start()

    async def stop(self) -> None:
        """End. Idempotent."""
        await self._looking.stop()

    def refused(self, error: str) -> None:
        """A caller's request was answered with an error."""
        self._refusal = error

    def _pause(self) -> float:
        """Seconds until the next look: one is due when an absence becomes an outage."""
        if not self.available or self._failing is None:
            return LOOK_SECONDS
        left = self._failing + ABSENT_SECONDS - asyncio.get_running_loop().time()
        return min(LOOK_SECONDS, max(left, 0.01))

    async def _look(self) -> None:
        began = asyncio.get_running_loop().time()
        refusal, self._refusal = self._refusal, ""
        try:
            async with asyncio.timeout(ABSENT_SECONDS):
                await self._trial()
            if refusal:
                raise ReplyError(refusal)
        except TimeoutError:
            self._failed(StoreError(f"no answer within {ABSENT_SECONDS:g} s"), began)
        except StoreError as error:
            self._failed(error, began)
        else:
            self._worked()

    def _failed(self, error: StoreError, began: float) -> None:
        now = asyncio.get_running_loop().time()
        self.last_error = str(error)
        first = self._failing is None
        if self._failing is None:
            self._failing = began
        if not isinstance(error, ReplyError) or "LOADING" in str(error):  # it is on its way
            self._refusing = None
        elif self._refusing is None:
            self._refusing = began
        refuses = self._refusing is not None and now - self._refusing >= REFUSED_SECONDS
        if first:  # a busy event loop may have been late itself: look again
            return
        if self.available and (refuses or now - self._failing >= ABSENT_SECONDS):
            self.available = False
            self._away()

    def _worked(self) -> None:
        self._failing = self._refusing = None
        if not self.available:
            self.available = True
            if self.outages:
                log.warning("store back")

    def _away(self) -> None:
        self.outages += 1
        what = "unavailable" if self._refusing is None else "refuses"
        log.warning("store %s: %s", what, self.last_error)
