"""Sums of all calls by minute and by ten minutes: what plots and long ranges are drawn from.

Sums outlive the records, and count calls that leave no record, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from gemma_gateway.core.record import Record
from gemma_gateway.monitoring.histogram import bucket as slot_of
from gemma_gateway.storage import Store, StoreError

MINUTE, TEN_MINUTES = 60, 600  # seconds
LIFE = {MINUTE: 3 * 3600 + TEN_MINUTES, TEN_MINUTES: 8 * 86_400}  # seconds after a bucket's start
SPANS = {MINUTE: 3 * 3600, TEN_MINUTES: 8 * 86_400 - TEN_MINUTES}  # seconds that can be read back
PAGE = 8  # buckets that are read at once, 2 ms of CPU: callers' requests get in between
_COLUMNS = ("calls", "input", "output", "cached", "reasoning")
_SHORT = "niocr"  # the columns as they stand in the store


class Sums:
    """Calls of one stretch of time.

    Attributes:
        rows: by (route, model, outcome): calls, then input, output, cached and reasoning tokens.
        response: times of successful calls by bucket of ``monitoring.histogram``.
        first_token: their times to the first token.
    """

    __slots__ = ("first_token", "response", "rows")

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, str], list[int]] = {}
        self.response: dict[int, int] = {}
        self.first_token: dict[int, int] = {}

    def add(self, record: Record) -> None:
        """Count one call."""
        key = (record.route, record.model, record.outcome)
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = [0, 0, 0, 0, 0]
        row[0] += 1
        row[1] += record.input_tokens
        row[2] += record.output_tokens
        row[3] += record.cached_tokens
        row[4] += record.reasoning_tokens
        if record.outcome == "ok":
            slot = slot_of(record.response_time)
            self.response[slot] = self.response.get(slot, 0) + 1
            if record.time_to_first_token is not None:
                slot = slot_of(record.time_to_first_token)
                self.first_token[slot] = self.first_token.get(slot, 0) + 1

    def merge(self, other: Sums) -> None:
        """Add another stretch's sums."""
        for key, row in other.rows.items():
            mine = self.rows.setdefault(key, [0, 0, 0, 0, 0])
            for column, amount in enumerate(row):
                mine[column] += amount
        for mine_, theirs in (
            (self.response, other.response),
            (self.first_token, other.first_token),
        ):
            for slot, amount in theirs.items():
                mine_[slot] = mine_.get(slot, 0) + amount

    def fields(self) -> Iterator[tuple[str, int]]:
        """As a hash in the store: field and amount."""
        for (route, model, outcome), row in self.rows.items():
            for short, amount in zip(_SHORT, row, strict=True):
                if amount:  # the model stands last: its name may hold anything
                    yield f"{short}|{route}|{outcome}|{model}", amount
        for name, counts in (("l", self.response), ("t", self.first_token)):
            for slot, amount in counts.items():
                yield f"{name}|{slot}", amount

    @classmethod
    def from_fields(cls, flat: Sequence[bytes]) -> Sums:
        """From the reply to HGETALL; fields that a newer version wrote are passed over."""
        sums = cls()
        for name, amount in zip(flat[::2], flat[1::2], strict=True):
            kind, _, rest = name.decode("utf-8", "replace").partition("|")
            if kind in ("l", "t") and rest.isdigit():
                (sums.response if kind == "l" else sums.first_token)[int(rest)] = int(amount)
            elif len(kind) == 1 and kind in _SHORT and rest.count("|") >= 2:
                route, outcome, model = rest.split("|", 2)
                row = sums.rows.setdefault((route, model, outcome), [0, 0, 0, 0, 0])
                row[_SHORT.index(kind)] = int(amount)
        return sums


class Bucket(NamedTuple):
    """Sums with where they belong: ``step`` seconds from ``start`` on (seconds since the epoch)."""

    step: int
    start: int
    sums: Sums


class Rollups:
    """Counts in this process until the request log writes it, and reads what all processes wrote.

    Args:
        store: where the sums are kept.
        prefix: first part of the store's key names.
        clock: seconds since the epoch.
    """

    def __init__(self, store: Store, prefix: str, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._prefix = prefix
        self._clock = clock
        self._open: dict[tuple[int, int], Sums] = {}
        self._taken: list[Bucket] = []
        self._minute = -1
        self._current = Sums()

    # ---- writing

    def add(self, record: Record) -> None:
        """Count one call in the minute of its end."""
        minute = int(record.time) // MINUTE
        if minute != self._minute:
            self._minute = minute
            self._current = self._open.setdefault((MINUTE, minute * MINUTE), Sums())
        self._current.add(record)

    def take(self, limit: int) -> list[Bucket]:
        """Up to ``limit`` stretches that are not written yet, oldest first. They count as not
        written until ``written`` is called, and no more are given out before."""
        if not self._taken:
            self._fold()
            keys = sorted(self._open, key=lambda key: key[1])[:limit]
            self._taken = [Bucket(*key, self._open.pop(key)) for key in keys]
            self._minute = -1
        return self._taken

    def written(self) -> None:
        """What ``take`` gave is in the store."""
        self._taken = []

    def targets(self, bucket: Bucket) -> list[tuple[str, int]]:
        """The hashes that a stretch's sums are added to: (key, when it expires)."""
        steps = [step for step in (MINUTE, TEN_MINUTES) if step >= bucket.step]
        starts = [(step, bucket.start // step * step) for step in steps]
        return [(self._key(step, start), start + LIFE[step]) for step, start in starts]

    def _fold(self) -> None:
        """Forget what the store would forget at once (it was away for that long)."""
        now = self._clock()
        for step, start in [key for key in self._open if key[1] + LIFE[key[0]] <= now]:
            sums = self._open.pop((step, start))
            ten = start // TEN_MINUTES * TEN_MINUTES
            if step == MINUTE and ten + LIFE[TEN_MINUTES] > now:
                self._open.setdefault((TEN_MINUTES, ten), Sums()).merge(sums)

    # ---- reading

    async def scan(self, step: int, start: float, end: float) -> AsyncIterator[tuple[Bucket, bool]]:
        """What all processes counted, stretch by stretch, empty ones too, oldest first.

        Args:
            step: ``MINUTE`` or ``TEN_MINUTES``.
            start: seconds since the epoch; the stretch that holds it is the first one.
            end: seconds since the epoch; the stretch that holds it is the last one.

        Returns:
            With each stretch, whether the store was unavailable, so that only what this process has
            not written yet is in it.
        """
        starts = range(int(start) // step * step, int(end) + 1, step)
        for at in range(0, len(starts), PAGE):
            page = starts[at : at + PAGE]
            calls = (self._store.call("HGETALL", self._key(step, first)) for first in page)
            try:
                replies = await asyncio.gather(*calls)
            except StoreError:
                for bucket in self._unwritten(step, page):
                    yield bucket, True
                continue
            for first, flat in zip(page, replies, strict=True):
                yield Bucket(step, first, Sums.from_fields(flat)), False

    def _unwritten(self, step: int, starts: Iterable[int]) -> list[Bucket]:
        found = {first: Bucket(step, first, Sums()) for first in starts}
        kept = [Bucket(*key, sums) for key, sums in self._open.items()]
        for bucket in (*self._taken, *kept):
            target = found.get(bucket.start // step * step)
            if target is not None and bucket.step <= step:
                target.sums.merge(bucket.sums)
        return list(found.values())

    def _key(self, step: int, start: int) -> str:
        return f"{self._prefix}:{{journal}}:sums:{step}:{start}"
