"""How late the event loop is: one timer that looks at the clock."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

INTERVAL = 0.1  # seconds; a look costs a few microseconds
KEPT = 50  # looks: the last 5 s


class LoopLag:
    """Measures by how much a timer fires late: everything else in the loop waits as long.

    The timer is its own, and no task's: what is measured is that timer and nothing besides.

    Args:
        observe: takes each measure, in seconds.
    """

    def __init__(self, observe: Callable[[float], None]) -> None:
        self._observe = observe
        self._recent: deque[float] = deque(maxlen=KEPT)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def seconds(self) -> float:
        """The longest of the last five seconds."""
        return max(self._recent, default=0.0)

    async def start(self) -> None:
        """Begin to look, in the running loop."""
        self._plan(asyncio.get_running_loop())

    async def stop(self) -> None:
        """Look no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not loop.time(): uvloop's has whole milliseconds, and stands still during a callback.
        due = time.perf_counter() + INTERVAL
        self._timer = loop.call_later(INTERVAL, self._look, loop, due)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        late = max(0.0, time.perf_counter() - due)
        self._recent.append(late)
        self._observe(late)
        self._plan(loop)
