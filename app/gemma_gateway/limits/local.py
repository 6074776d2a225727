"""The same sliding windows in this process, for when the store is unavailable."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable

from gemma_gateway.limits.admission import Admission, WindowState
from gemma_gateway.limits.script import HOUR, entries
from gemma_gateway.settings import Window

MAX_KEYS = 10_000  # callers remembered; the one not seen for longest goes first


class LocalWindows:
    """Exact sliding windows of one process, on its monotonic clock.

    Requests that the store admitted are noted here, too, so a gateway that loses its store goes on
    where it was. Each process knows only its own: while the store is unavailable, N processes may
    let through up to N times the limit. What is admitted here is not added to the store when it is
    back: from then on only the store's counts rule.

    Args:
        clock: seconds that never go back.
        max_keys: callers remembered. A log holds at most as many times as the store's would
            (:func:`limits.script.entries`), 8 bytes each, and twice that before trimming.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, max_keys: int = MAX_KEYS
    ) -> None:
        self._clock = clock
        self._max_keys = max_keys
        self._logs: OrderedDict[str, _Log] = OrderedDict()

    def __len__(self) -> int:
        return len(self._logs)

    def note(self, key_id: str, capacity: int, count: int = 1) -> float:
        """Record a request that was admitted elsewhere.

        Args:
            capacity: ``entries`` of the caller's windows.
            count: requests that it counts as.

        Returns:
            Its time.
        """
        now = self._clock()
        self._log(key_id).add(now, capacity, count)
        return now

    def admit(self, key_id: str, windows: tuple[Window, ...], count: int = 1) -> Admission:
        """Record a request, or one that counts as several, if every window has room; decide as the
        script does."""
        now = self._clock()
        log = self._log(key_id)
        if all(log.count(now, w.seconds) + count <= w.limit for w in windows):
            log.add(now, entries(windows), count)
            return Admission(True, log.states(now, windows), degraded=True)
        retry = max(log.room_in(now, w, count) for w in windows)
        return Admission(False, log.states(now, windows), retry, degraded=True)

    def newest(self, key_id: str) -> float:
        """Time of the caller's last request; it has one."""
        return self._logs[key_id].times[-1]

    def give_back(self, key_id: str, noted_at: float, count: int = 1) -> None:
        """Forget the request of that time, which counted as ``count``; nothing where it has gone
        already."""
        if (log := self._logs.get(key_id)) is not None:
            log.remove(noted_at, count)

    def look(self, key_id: str, windows: tuple[Window, ...]) -> tuple[Admission, int]:
        """The state without a request, and the requests of the last hour."""
        now = self._clock()
        log = self._logs.get(key_id) or _Log()
        retry = max(log.room_in(now, w) for w in windows)
        admission = Admission(retry == 0, log.states(now, windows), retry, degraded=True)
        return admission, log.count(now, HOUR)

    def _log(self, key_id: str) -> _Log:
        log = self._logs.get(key_id)
        if log is None:
            log = self._logs[key_id] = _Log()
            if len(self._logs) > self._max_keys:
                self._logs.popitem(last=False)
        else:
            self._logs.move_to_end(key_id)
        return log


class _Log:
    """Times of admitted requests, oldest first; ``begin`` is the first that still matters."""

    __slots__ = ("begin", "times")

    def __init__(self) -> None:
        self.times = array("d")
        self.begin = 0

    def add(self, now: float, capacity: int, count: int) -> None:
        if count == 1:
            self.times.append(now)
        else:
            self.times.extend(array("d", (now,)) * count)
        size = len(self.times)
        self.begin = max(self.begin, size - capacity)
        if 2 * self.begin >= size + 16:  # at least half is old: moving the rest is paid for
            del self.times[: self.begin]
            self.begin = 0

    def remove(self, time: float, count: int) -> None:
        end = self.oldest(time)
        index = end - count
        if index >= self.begin and self.times[index] == time:
            del self.times[index:end]

    def oldest(self, cutoff: float) -> int:
        """Index of the first request after ``cutoff``."""
        return bisect_right(self.times, cutoff, self.begin)

    def count(self, now: float, seconds: float) -> int:
        return len(self.times) - self.oldest(now - seconds)

    def room_in(self, now: float, window: Window, count: int = 1) -> float:
        """Seconds until the window has room for so many; 0 where it has."""
        if self.count(now, window.seconds) + count <= window.limit:
            return 0.0
        return self.times[count - 1 - window.limit] + window.seconds - now

    def states(self, now: float, windows: tuple[Window, ...]) -> tuple[WindowState, ...]:
        found = []
        for w in windows:
            index = self.oldest(now - w.seconds)
            count = len(self.times) - index
            reset = self.times[index] + w.seconds - now if count else 0.0
            found.append(WindowState(w.limit, max(0, w.limit - count), reset, w.seconds))
        return tuple(found)
