"""What the operator takes away: usage by key and day, and everything as one document."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from gemma_gateway import __version__
from gemma_gateway.access.names import Names
from gemma_gateway.core.record import Record
from gemma_gateway.limits.ledger import KEPT_DAYS, DayUsage, Ledger
from gemma_gateway.monitoring import document
from gemma_gateway.monitoring.prices import Prices
from gemma_gateway.monitoring.records import RequestLog
from gemma_gateway.monitoring.rollups import MINUTE, SPANS, TEN_MINUTES
from gemma_gateway.monitoring.series import bucket_view
from gemma_gateway.monitoring.timestamps import iso
from gemma_gateway.monitoring.usage import COLUMNS, UsageSheet, as_numbers
from gemma_gateway.storage import StoreError

NAMES_AT_ONCE = 64
MOST_DAYS = KEPT_DAYS  # of usage

Source = Callable[[], AsyncIterator[Any]]


class Export:
    """Writes what is kept, a page of the store at a time: no size of it matters for the memory.

    While the store is unavailable this process's own part is written, and marked as ``degraded``.

    Args:
        request_log: records and sums.
        ledger: usage.
        names: of keys.
        prices: of tokens.

    Attributes:
        sections: further parts of the document: by name, what makes their rows.
    """

    def __init__(
        self, request_log: RequestLog, ledger: Ledger, names: Names, prices: Prices
    ) -> None:
        self._request_log = request_log
        self._ledger = ledger
        self._names = names
        self._prices = prices
        self.sections: dict[str, Source] = {}

    async def usage_json(self, days: int) -> AsyncIterator[bytes]:
        """A :class:`monitoring.views.Usage`, in pieces."""
        sheet, writer, seen = UsageSheet(self._prices), document.JsonObject(), _Seen()
        yield writer.member("currency", self._prices.currency)
        rows = seen.all_of(self._usage(sheet, days), self._unwritten(sheet, days))
        async for piece in writer.array("data", as_numbers(rows)):
            yield piece
        yield writer.member("totals", sheet.totals())
        yield writer.member("unpriced_models", sorted(sheet.unpriced))
        yield writer.member("degraded", seen.degraded)
        yield writer.end()

    async def usage_csv(self, days: int) -> tuple[AsyncIterator[bytes], bool]:
        """The same rows as a table, and whether they are only this process's own.

        Where the store goes away in the middle the pieces end with StoreError: half a table must
        not look like a whole one.
        """
        pieces = document.table(COLUMNS, self._usage(UsageSheet(self._prices), days))
        try:
            first = await anext(pieces)
        except StoreError:
            rows = self._unwritten(UsageSheet(self._prices), days)
            return document.table(COLUMNS, rows), True
        return _chain(first, pieces), False

    async def everything(self) -> AsyncIterator[bytes]:
        """All that is kept, as one JSON object in pieces."""
        sheet, writer, seen = UsageSheet(self._prices), document.JsonObject(), _Seen()
        now = time.time()
        yield writer.member("exported_at", iso(now))
        yield writer.member("version", __version__)
        records = seen.all_of(self._records(), self._own_records())
        async for piece in writer.array("records", records):
            yield piece
        for name, step in (("minutes", MINUTE), ("ten_minutes", TEN_MINUTES)):
            async for piece in writer.array(name, self._sums(step, now, seen)):
                yield piece
        yield writer.member("currency", self._prices.currency)
        rows = seen.all_of(self._usage(sheet, MOST_DAYS), self._unwritten(sheet, MOST_DAYS))
        async for piece in writer.array("usage", as_numbers(rows)):
            yield piece
        yield writer.member("usage_totals", sheet.totals())
        for name, source in self.sections.items():
            async for piece in writer.array(name, seen.all_of(source(), _nothing())):
                yield piece
        yield writer.member("degraded", seen.degraded)
        yield writer.end()

    # ---- rows

    async def _records(self) -> AsyncIterator[dict[str, Any]]:
        async for page in self._request_log.pages():
            for record in page:
                yield _row(record)

    async def _own_records(self) -> AsyncIterator[dict[str, Any]]:
        for record in self._request_log.own():
            yield _row(record)

    async def _sums(self, step: int, now: float, seen: _Seen) -> AsyncIterator[dict[str, object]]:
        start = now - SPANS[step]
        async for bucket, degraded in self._request_log.rollups.scan(step, start, now):
            seen.degraded |= degraded
            if bucket.sums.rows:
                yield bucket_view(bucket)

    async def _usage(self, sheet: UsageSheet, days: int) -> AsyncIterator[dict[str, Any]]:
        waiting: list[DayUsage] = []
        async for day in self._ledger.days(days):
            waiting.append(day)
            if len(waiting) >= NAMES_AT_ONCE:
                for row in await self._priced(sheet, waiting):
                    yield row
                waiting = []
        for row in await self._priced(sheet, waiting):
            yield row

    async def _unwritten(self, sheet: UsageSheet, days: int) -> AsyncIterator[dict[str, Any]]:
        for day in self._ledger.unwritten(days):
            for row in _rows(sheet, day, ""):
                yield row

    async def _priced(self, sheet: UsageSheet, days: list[DayUsage]) -> list[dict[str, Any]]:
        names = await self._names.of(sorted({day.key_id for day in days}))
        return [row for day in days for row in _rows(sheet, day, names.get(day.key_id, ""))]


class _Seen:
    """Whether the store went away while something was written."""

    def __init__(self) -> None:
        self.degraded = False

    async def all_of(
        self, rows: AsyncIterator[Any], instead: AsyncIterator[Any]
    ) -> AsyncIterator[Any]:
        """The rows, as far as they come; ``instead`` where the store is unavailable from the
        start."""
        begun = False
        try:
            async for row in rows:
                begun = True
                yield row
        except StoreError:
            self.degraded = True
        if self.degraded and not begun:
            async for row in instead:
                yield row


async def _nothing() -> AsyncIterator[Any]:
    return
    yield


def _rows(sheet: UsageSheet, day: DayUsage, name: str) -> list[dict[str, Any]]:
    return [
        sheet.row(
            day.key_id,
            name,
            model,
            day.day,
            used.calls,
            (used.prompt_tokens, used.completion_tokens, used.cached_tokens),
        )
        for model, used in day.models.items()
    ]


def _row(record: Record) -> dict[str, Any]:
    return {**msgspec.structs.asdict(record), "time": iso(record.time)}


async def _chain(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in pieces:
        yield piece
