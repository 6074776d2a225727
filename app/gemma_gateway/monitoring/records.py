"""The request log: one record for each finished call, shared by all gateway processes."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import msgspec

from gemma_gateway.core.record import Record
from gemma_gateway.monitoring.rollups import Rollups
from gemma_gateway.storage import Batch, Script, Store, StoreError, WriteBehind, lua, prepare

SCRIPT = Script(lua("gemma_gateway.monitoring", "records"))
BATCH = 256  # records in one script call: well under a millisecond of the store's time
BATCH_SUMS = 16  # minutes of rollups in one script call; more than one only after an outage
BATCH_LIFE = 2 * 86_400  # seconds that the store remembers which batches it has written
PAGE = 200  # records that are read at once, so that callers' requests get in between
OWN = 1000  # of this process's records, for answers while the store is unavailable
SKEW = 5.0  # seconds by which clocks of gateways and store may differ
CURSOR = re.compile(r"[0-9]{1,15}-[0-9]{1,19}")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Page:
    """Records as they were found.

    Args:
        records: newest first.
        cursor: for ``after``; empty while the store is unavailable.
        degraded: the store is unavailable: only this process's own records.
        complete: nothing of the range that was asked for has left the window, nor was cut off by
            the limit; without a start: nothing had to go for want of room.
    """

    records: list[Record]
    cursor: str
    degraded: bool
    complete: bool


class RequestLog(WriteBehind[list[Record]]):
    """Gathers records and sums in this process and writes them to the store, twice a second.

    Nothing of it waits for the store on a call's way. While the store is unavailable records are
    kept here, ``records_max`` of them, and written when it is back; those that had to go are
    counted. A batch whose answer got lost is sent again and counts once. What has not been written
    when the process is killed is lost: at most half a second.

    Args:
        store: where the records are kept.
        prefix: first part of the store's key names.
        records_max: records kept, of all processes together.
        records_seconds: age at which a record goes.
        clock: seconds since the epoch.

    Attributes:
        rollups: the sums, fed by ``add``.
        lost: records dropped, since the start.
    """

    what = "records"

    def __init__(
        self,
        store: Store,
        prefix: str,
        *,
        records_max: int = 10_000,
        records_seconds: float = 7 * 86_400,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(store)
        self._max = records_max
        self._seconds = int(records_seconds)
        self._clock = clock
        self.rollups = Rollups(store, prefix, clock)
        self._stream = f"{prefix}:{{journal}}:records"
        self._marker = f"{prefix}:{{journal}}:batch:{secrets.token_hex(8)}"
        self._packed = 0  # batches, since the start
        self._pending: deque[Record] = deque()
        self._own: deque[Record] = deque(maxlen=OWN)
        self.lost = 0

    async def stop(self) -> None:
        """Write what is left. Idempotent; returns at once when the store is unavailable, and what
        is left is lost then."""
        await super().stop()
        if left := len(self._unwritten()):
            log.warning("%d records of calls are lost: the store is unavailable", left)

    # ---- writing

    def add(self, record: Record) -> None:
        """Take one finished call in. No I/O.

        A call without a known caller (``key_id`` empty) counts in the sums alone: a stranger's
        knocking must not push the callers' records out of the window.
        """
        self.rollups.add(record)
        if not record.key_id:
            return
        self._own.append(record)
        if len(self._pending) >= self._max:
            self._pending.popleft()
            self.lost += 1
        self._pending.append(record)

    def _batches(self) -> Iterator[Batch[list[Record]]]:
        while (sums := self.rollups.take(BATCH_SUMS)) or self._pending:
            count = min(BATCH, len(self._pending))
            records = [self._pending.popleft() for _ in range(count)]
            self._packed += 1
            names = [self._marker, self._stream]
            args: list[str | bytes | int] = [self._packed, BATCH_LIFE, self._max, self._seconds]
            args += [count, *map(_encode, records)]
            for bucket in sums:
                pairs = [part for pair in bucket.sums.fields() for part in pair]
                for name, expires in self.rollups.targets(bucket):
                    names.append(name)
                    args += [expires, len(pairs) // 2, *pairs]
            yield Batch(records, prepare(SCRIPT, names, args))

    async def _written(self, batch: Batch[list[Record]], again: bool) -> None:
        self.rollups.written()

    def _unwritten(self) -> list[Record]:
        sent = [record for batch in self._unanswered for record in batch.content]
        return [*sent, *self._pending]

    # ---- reading

    async def recent(
        self, limit: int, *, start: float | None = None, end: float | None = None
    ) -> list[Record]:
        """The newest records, newest first; of this process alone while the store is unavailable.

        Args:
            limit: most records to return.
            start: earliest end of a call, seconds since the epoch, inclusive.
            end: the same for the latest, exclusive.
        """
        return (await self.look(limit, start=start, end=end)).records

    async def look(
        self, limit: int, *, start: float | None = None, end: float | None = None
    ) -> Page:
        """The same, with what is to be known about them."""
        await self.flush()
        horizon = self._clock() - self._seconds
        low, high = max(start or 0.0, horizon), float("inf") if end is None else end
        records: list[Record] = []
        cursor, reached = "", False
        try:
            async for entry, record in self._newest_first(min(limit, PAGE)):
                cursor = cursor or entry
                # A record reaches the store after its call's end, never before it.
                reached = int(entry.partition("-")[0]) / 1000 < low - SKEW
                if reached or len(records) >= limit:
                    break
                if record is not None and low <= record.time < high:
                    records.append(record)
            full = await self._store.call("XLEN", self._stream) >= self._max
        except StoreError:
            return Page(self._kept(limit, low, high), "", degraded=True, complete=False)
        whole = len(records) < limit and (start is None or start >= horizon)
        return Page(
            sorted(records, key=lambda r: r.time, reverse=True),
            cursor or "0-0",
            degraded=False,
            complete=whole and (reached or not full),
        )

    async def back(self) -> AsyncIterator[list[Record]]:
        """Everything that is in the window, newest first, at most ``PAGE`` records at once.

        Raises:
            StoreError: the store is unavailable.
        """
        horizon = self._clock() - self._seconds
        last, full = "+", True
        while full:
            page = await self._store.call("XREVRANGE", self._stream, last, "-", "COUNT", PAGE)
            found = (_read(fields) for _, fields in page)
            yield [r for r in found if r is not None and r.time >= horizon]
            full = len(page) == PAGE
            last = _before(page[-1][0].decode()) if full else last

    async def newest(self) -> str:
        """The cursor of the newest record, for :meth:`after`.

        Raises:
            StoreError: the store is unavailable.
        """
        await self.flush()
        found = await self._store.call("XREVRANGE", self._stream, "+", "-", "COUNT", 1)
        return found[0][0].decode() if found else "0-0"

    async def after(self, cursor: str, limit: int) -> tuple[list[Record], str]:
        """Records in the order in which they reached the store, oldest first.

        Args:
            cursor: where the last call of this method ended; empty: from now on.
            limit: most records to return.

        Returns:
            The records, and the cursor for the next call. While the store is unavailable: none, and
            the same cursor.

        Raises:
            ValueError: this is no cursor.
        """
        if cursor and not CURSOR.fullmatch(cursor):
            raise ValueError("no cursor of this request log")
        records: list[Record] = []
        try:
            if not cursor:
                return [], await self.newest()
            await self.flush()
            while (room := limit - len(records)) > 0:
                count = min(room, PAGE)
                entries = await self._store.call(
                    "XRANGE", self._stream, f"({cursor}", "+", "COUNT", count
                )
                for entry, fields in entries:
                    cursor = entry.decode()
                    if (record := _read(fields)) is not None:
                        records.append(record)
                if len(entries) < count:
                    break
        except StoreError:
            pass  # what was read so far is true, and the cursor stands behind it
        return records, cursor

    async def pages(self) -> AsyncIterator[list[Record]]:
        """Everything that is in the window now, in the order in which it reached the store.

        Raises:
            StoreError: the store went away.
        """
        last, start = await self.newest(), "-"
        while True:
            page = await self._store.call("XRANGE", self._stream, start, last, "COUNT", PAGE)
            yield [record for _, fields in page if (record := _read(fields)) is not None]
            if len(page) < PAGE:
                return
            start = f"({page[-1][0].decode()}"

    def own(self) -> list[Record]:
        """This process's own newest records, oldest first: all that is left while the store is
        unavailable."""
        unwritten = self._unwritten()
        # Both lists end with the newest record: the longer one holds the other.
        return list(self._own) if len(self._own) >= len(unwritten) else unwritten

    async def _newest_first(self, count: int) -> AsyncIterator[tuple[str, Record | None]]:
        """Every entry of the stream and its record, ``count`` with one question to the store;
        None: a newer version's, unreadable here."""
        last = "+"
        while True:
            page = await self._store.call("XREVRANGE", self._stream, last, "-", "COUNT", count)
            for entry, fields in page:
                yield entry.decode(), _read(fields)
            if len(page) < count:
                return
            last = _before(page[-1][0].decode())

    def _kept(self, limit: int, low: float, high: float) -> list[Record]:
        found = [record for record in self.own() if low <= record.time < high]
        return found[::-1][:limit]


def _read(fields: list[bytes]) -> Record | None:
    try:
        return _decode(fields[1])
    except (msgspec.DecodeError, IndexError):
        return None


def _before(entry: str) -> str:
    """The largest id of a stream entry below ``entry`` (Redis' ids are milliseconds-number)."""
    milliseconds, _, number = entry.partition("-")
    if int(number):
        return f"{milliseconds}-{int(number) - 1}"
    return f"{max(0, int(milliseconds) - 1)}-{2**64 - 1}"
