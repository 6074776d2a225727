"""Turns: who may work now, when only so many may at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class Turns:
    """So many at a time, first come, first served, with only so many of each caller in the queue:
    nobody waits behind all of another's.

    Args:
        most: that work at a time.
        each: of one caller that work or wait in the queue.
    """

    def __init__(self, most: int, each: int = 1) -> None:
        self._each = each
        self._free = asyncio.Semaphore(most)
        self._callers: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it.

        Args:
            caller: whose work it is, such as the id of a key.
        """
        own = self._callers.get(caller)
        if own is None:
            own = self._callers[caller] = asyncio.Semaphore(self._each)
        async with own, self._free:
            yield

    @property
    def callers(self) -> int:
        """Callers that work or wait."""
        return len(self._callers)
