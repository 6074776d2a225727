"""What each caller has used: tokens by model and day, and the report of ``/v1/usage``."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from gemma_gateway.core.call import Call, Principal
from gemma_gateway.core.stage import End
from gemma_gateway.core.usage import Usage
from gemma_gateway.core.usage_report import Period, Tokens, UsageReport, WindowUsage, period
from gemma_gateway.limits.admission import UNCOUNTED, Admission
from gemma_gateway.limits.callers import Callers
from gemma_gateway.limits.limiter import AUDIO, Group, Limiter
from gemma_gateway.limits.script import key_name
from gemma_gateway.storage import (
    Batch,
    Prepared,
    Script,
    Store,
    StoreError,
    WriteBehind,
    lua,
    prepare,
)

SCRIPT = Script(lua("gemma_gateway.limits", "ledger"))
READ = Script("local r = {} for n = 1, #KEYS do r[n] = redis.call('HGETALL', KEYS[n]) end return r")
KEPT_DAYS = 40  # that a day's counts are kept
DAY_LIFE = KEPT_DAYS * 86_400  # seconds
MARKER_LIFE = 2 * 86_400  # seconds that the store remembers a batch whose answer got lost
STRAY_LIFE = 600  # seconds in which the first copy of a batch that was sent twice may still arrive
READ_AT_ONCE = 16  # callers, so that callers' requests get in between
WRITTEN_AT_ONCE = 64  # callers: about two milliseconds of the store's time


class DayUsage(NamedTuple):
    """What one caller used on one day, by model."""

    key_id: str
    day: str  # ISO date, UTC
    models: dict[str, Tokens]


class _Sums(NamedTuple):
    """Sums on their way to the store.

    Args:
        key: id of the caller's key, and the day.
        counts: by field.
        marker: the store's key that says that they were added.
    """

    key: tuple[str, str]
    counts: Counter[str]
    marker: str


class Ledger(WriteBehind[_Sums]):
    """Adds up in this process and writes sums to the store, twice a second.

    Nothing is lost while the store is unavailable: it is kept here (one sum per caller, model and
    day) until the store is back. A batch whose answer got lost is sent again and counts once: it
    leaves a marker in the store, which is removed once the answer has come. So the store holds
    markers only of batches in flight, of those sent twice in the last ten minutes, and for two
    days of those that a killed process left behind, however many callers there are. What has not
    been written when the process is killed is lost: at most half a second.

    Args:
        store: where the sums are kept.
        limiter: knows the requests.
        prefix: first part of the store's key names.
        clock: seconds since the epoch; its UTC day is the day that usage belongs to.
    """

    what = "usage"

    def __init__(
        self, store: Store, limiter: Limiter, prefix: str, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(store, at_once=WRITTEN_AT_ONCE)
        self._limiter = limiter
        self._prefix = prefix
        self._clock = clock
        self._day = -1.0, ""  # number since the epoch, and ISO date, of the last look
        self._instance = secrets.token_hex(8)
        self._packed = 0  # batches, since the start
        self._open: dict[tuple[str, str], Counter[str]] = {}
        self._callers = Callers(store, prefix, KEPT_DAYS)

    def settle(self, call: Call, end: End) -> None:
        """See ``Observer``."""
        usage = end.usage
        if call.principal is not None and (usage.prompt_tokens or usage.completion_tokens):
            self.record(call.principal.key_id, usage, end.model)

    def record(self, key_id: str, usage: Usage, model: str) -> None:
        """Add one finished call.

        Args:
            key_id: of the principal.
            usage: its tokens.
            model: a served model's name (never an unchecked one: names become fields).
        """
        key = (key_id, self._today())
        sums = self._open.get(key)
        if sums is None:
            sums = self._open[key] = Counter()
            self._callers.note(*key)
        sums[f"calls:{model}"] += 1
        sums[f"prompt:{model}"] += usage.prompt_tokens
        sums[f"completion:{model}"] += usage.completion_tokens
        sums[f"cached:{model}"] += usage.cached_tokens

    async def flush(self) -> bool:
        """See ``WriteBehind.flush``; the index of callers follows their sums."""
        if written := await super().flush():
            await self._callers.flush()
        return written

    async def usage(self, principal: Principal) -> UsageReport:
        """The caller's report; asking doesn't count as a request. Never raises StoreError."""
        key_id = principal.key_id
        await self._write(self._batches(key_id), lambda sums: sums.key[0] == key_id)
        day = self._today()
        total, today = self._keys(key_id, day)
        look, *found = await asyncio.gather(
            self._limiter.look(principal), self._read(total), self._read(today)
        )
        audio = await self._audio(principal)
        degraded = look.admission.degraded or audio.degraded or None in found
        if degraded:
            found = [self._unwritten(key_id), self._unwritten(key_id, day)]
        tightest = look.admission.tightest
        assert tightest is not None  # a look always has the tier's windows
        return UsageReport(
            requests_last_hour=look.last_hour,
            remaining_requests=tightest.remaining,
            reset_time=self._moment(tightest.reset_seconds),
            windows=_windows(look.admission),
            audio_windows=_windows(audio),
            all_time=period(found[0] or {}),
            today=period(found[1] or {}),
            degraded=degraded,
        )

    async def _audio(self, principal: Principal) -> Admission:
        """The caller's windows of audio, without a trip to the store where its tier has none."""
        windows = principal.tier.audio_windows
        if not windows:
            return UNCOUNTED
        return (await self._limiter.look(principal, Group(AUDIO, windows))).admission

    async def days(self, number: int) -> AsyncIterator[DayUsage]:
        """What every caller used, by key id and then by day.

        Args:
            number: of days up to today, at most ``KEPT_DAYS``.

        Raises:
            StoreError: the store went away.
        """
        await self.flush()
        today = date.fromisoformat(self._today())
        days = [(today - timedelta(days=n)).isoformat() for n in reversed(range(number))]
        async for page in self._callers.since(date.fromisoformat(days[0])):
            for at in range(0, len(page), READ_AT_ONCE):
                some = page[at : at + READ_AT_ONCE]
                calls = (self._store.run(self._look_up(key_id, days)) for key_id in some)
                for key_id, replies in zip(some, await asyncio.gather(*calls), strict=True):
                    for day, flat in zip(days, replies, strict=True):
                        if flat:
                            yield DayUsage(key_id, day, period(_counts(flat)).models)

    async def spent(self, key_ids: Sequence[str]) -> list[tuple[Period, Period]]:
        """What some callers used today and in all.

        Args:
            key_ids: hex digests.

        Raises:
            StoreError: the store is unavailable.
        """
        await self.flush()
        day, found = self._today(), list[tuple[Period, Period]]()
        for at in range(0, len(key_ids), READ_AT_ONCE):
            names = (self._keys(key_id, day) for key_id in key_ids[at : at + READ_AT_ONCE])
            calls = (self._store.run(prepare(READ, (today, whole), ())) for whole, today in names)
            for today, whole in await asyncio.gather(*calls):
                found.append((period(_counts(today)), period(_counts(whole))))
        return found

    def unwritten(self, number: int) -> list[DayUsage]:
        """The same of this process alone, and only what the store hasn't got: for the time while
        it is away."""
        today = date.fromisoformat(self._today())
        first = (today - timedelta(days=number - 1)).isoformat()
        kept: dict[tuple[str, str], Counter[str]] = {}
        for key, sums in self._kept():
            if key[1] >= first:
                kept.setdefault(key, Counter()).update(sums)
        return [DayUsage(*key, period(sums).models) for key, sums in sorted(kept.items())]

    def _batches(self, key_id: str = "") -> Iterator[Batch[_Sums]]:
        """The sums of every caller, or of one, day by day."""
        for key in [key for key in self._open if key_id in {"", key[0]}]:
            counts = self._open.pop(key)
            self._packed += 1
            pairs = [part for pair in counts.items() for part in pair]
            marker = self._name(key[0], f"added:{self._instance}:{self._packed}")
            call = prepare(SCRIPT, (*self._keys(*key), marker), [DAY_LIFE, MARKER_LIFE, *pairs])
            yield Batch(_Sums(key, counts, marker), call)

    async def _written(self, batch: Batch[_Sums], again: bool) -> None:
        # The only copy has arrived; of two, the other one may still be on its way. A marker for
        # which this fails expires by itself.
        if again:
            await self._store.call("EXPIRE", batch.content.marker, STRAY_LIFE)
        else:
            await self._store.call("DEL", batch.content.marker)

    async def _read(self, name: str) -> dict[str, int] | None:
        """Counts in the store; None when it is away."""
        try:
            flat = await self._store.call("HGETALL", name)
        except StoreError:
            return None
        return _counts(flat)

    def _kept(self) -> list[tuple[tuple[str, str], Counter[str]]]:
        """All sums that the store hasn't got, as far as is known."""
        sent = [(batch.content.key, batch.content.counts) for batch in self._unanswered]
        return [*sent, *self._open.items()]

    def _unwritten(self, key_id: str, day: str = "") -> dict[str, int]:
        sums: Counter[str] = Counter()
        for (owner, when), counts in self._kept():
            if owner == key_id and day in {"", when}:
                sums.update(counts)
        return dict(sums)

    def _look_up(self, key_id: str, days: list[str]) -> Prepared:
        return prepare(READ, [self._keys(key_id, day)[1] for day in days], ())

    def _keys(self, key_id: str, day: str) -> tuple[str, str]:
        return self._name(key_id, "usage"), self._name(key_id, f"usage:{day}")

    def _name(self, key_id: str, name: str) -> str:
        return key_name(self._prefix, key_id, name)

    def _today(self) -> str:
        number = self._clock() // 86_400
        if number != self._day[0]:
            self._day = number, datetime.fromtimestamp(number * 86_400, UTC).date().isoformat()
        return self._day[1]

    def _moment(self, seconds: float) -> str | None:
        if seconds <= 0:
            return None
        moment = datetime.fromtimestamp(self._clock(), UTC) + timedelta(seconds=seconds)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _windows(admission: Admission) -> list[WindowUsage]:
    return [WindowUsage(**state._asdict()) for state in admission.states]


def _counts(flat: list[bytes]) -> dict[str, int]:
    return {k.decode(): int(v) for k, v in zip(flat[::2], flat[1::2], strict=True)}
