"""Token buckets: how often something may happen, by name, in bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable


class Buckets:
    """One bucket for each name, kept as one number: when it is full again.

    Args:
        burst: how often it may happen at once.
        per_second: how often in the long run.
        most: names that are kept; the least recently used go first, with full buckets.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        burst: int,
        per_second: float,
        most: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = 1 / per_second
        self._slack = (burst - 1) * self._interval
        self._most = most
        self._clock = clock
        self._full: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full)

    def wait(self, name: str) -> float:
        """Seconds until it may happen again; 0: it may now."""
        now = self._clock()
        return max(0.0, self._full.get(name, now) - now - self._slack)

    def take(self, name: str) -> float:
        """Let it happen, if it may.

        Returns:
            See :meth:`wait`; when that isn't 0, nothing was taken.
        """
        if wait := self.wait(name):
            self._full.move_to_end(name)
            return wait
        now = self._clock()
        self._full[name] = max(self._full.get(name, now), now) + self._interval
        self._full.move_to_end(name)
        if len(self._full) > self._most:
            self._full.popitem(last=False)
        return 0.0
