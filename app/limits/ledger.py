"""What each caller has used: tokens by model and day, and the report of ``/v1/usage``."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.resources import files

from pydantic import BaseModel, Field

from app.call import Principal
from app.limits.limiter import Limiter
from app.limits.script import key_name
from app.storage.batch import Prepared, Script, StoreError, prepare
from app.storage.redis import Store
from app.usage import Usage

SCRIPT = Script(files("app.limits").joinpath("ledger.lua").read_text("utf-8"))
FLUSH_SECONDS = 0.5
DAY_LIFE = 40 * 86_400  # seconds that a day's counts are kept
BATCH_LIFE = 2 * 86_400  # seconds that the store remembers which batches it has added
_COUNTS = ("calls", "prompt", "completion", "cached")


class Tokens(BaseModel):
    """Calls and tokens that the engines really read and wrote."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    total_tokens: int = Field(0, description="prompt_tokens + completion_tokens")


class Period(Tokens):
    """The same over a stretch of time, and by model."""

    models: dict[str, Tokens] = Field(default_factory=dict)


class WindowUsage(BaseModel):
    """One limit of the caller's tier."""

    limit: int
    seconds: int
    remaining: int
    reset_seconds: float = Field(description="Until its oldest request leaves; 0 when empty")


class UsageReport(BaseModel):
    """What a key has used and may still use."""

    requests_last_hour: int
    remaining_requests: int = Field(description="Of the tightest window")
    reset_time: str | None = Field(
        description=(
            "When the oldest request in the tightest window expires: ISO 8601, UTC; "
            "null when nothing is counted"
        )
    )
    windows: list[WindowUsage]
    today: Period = Field(description="Since midnight UTC")
    all_time: Period
    degraded: bool = Field(
        description="The store is away: this process's own counts, not those of the others"
    )


class Ledger:
    """Adds up in this process and writes sums to the store, twice a second.

    Nothing is lost while the store is away: it is kept here (one sum per caller, model and day)
    until the store is back. A batch whose answer got lost is sent again and counts once. What
    has not been written when the process is killed is lost: at most half a second.

    Args:
        store: where the sums are kept.
        limiter: knows the requests.
        prefix: first part of the store's key names.
        clock: seconds since the epoch; its UTC day is the day that usage belongs to.
    """

    def __init__(
        self, store: Store, limiter: Limiter, prefix: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._limiter = limiter
        self._prefix = prefix
        self._clock = clock
        self._instance = secrets.token_hex(8)
        self._batches = 0
        self._open: dict[tuple[str, str], Counter[str]] = {}
        self._sent: dict[tuple[str, str], tuple[Counter[str], Prepared]] = {}
        self._flushing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to flush in the background."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Write what is left. Idempotent; returns at once when the store is away."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await self.flush()

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
        sums[f"calls:{model}"] += 1
        sums[f"prompt:{model}"] += usage.prompt_tokens
        sums[f"completion:{model}"] += usage.completion_tokens
        sums[f"cached:{model}"] += usage.cached_tokens

    async def flush(self) -> None:
        """Write all sums now. Returns at once when the store is away."""
        async with self._flushing:
            # First those whose answer got lost: a caller's batches arrive in order.
            await asyncio.gather(*map(self._write, list(self._sent)))
            fresh = [key for key in self._open if key not in self._sent]
            await asyncio.gather(*map(self._write, fresh))

    async def usage(self, principal: Principal) -> UsageReport:
        """The caller's report; asking doesn't count as a request. Never raises StoreError."""
        await self.flush()
        day = self._today()
        total, today = self._keys(principal.key_id, day)
        look, *found = await asyncio.gather(
            self._limiter.look(principal), self._read(total), self._read(today)
        )
        degraded = look.admission.degraded or None in found
        if degraded:
            found = [self._unwritten(principal.key_id), self._unwritten(principal.key_id, day)]
        tightest = look.admission.tightest
        assert tightest is not None  # a look always has the tier's windows
        return UsageReport(
            requests_last_hour=look.last_hour,
            remaining_requests=tightest.remaining,
            reset_time=self._moment(tightest.reset_seconds),
            windows=[WindowUsage(**state._asdict()) for state in look.admission.states],
            all_time=_period(found[0] or {}),
            today=_period(found[1] or {}),
            degraded=degraded,
        )

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def _write(self, key: tuple[str, str]) -> None:
        if key not in self._sent:
            sums = self._open.pop(key)
            self._batches += 1
            pairs = [part for pair in sums.items() for part in pair]
            names = (*self._keys(*key), self._name(key[0], f"flushed:{self._instance}"))
            call = prepare(SCRIPT, names, [self._batches, DAY_LIFE, BATCH_LIFE, *pairs])
            self._sent[key] = (sums, call)
        with contextlib.suppress(StoreError):  # it stays in _sent and is tried again
            await self._store.run(self._sent[key][1])
            del self._sent[key]

    async def _read(self, name: str) -> dict[str, int] | None:
        """Counts in the store; None when it is away."""
        try:
            flat = await self._store.call("HGETALL", name)
        except StoreError:
            return None
        return {k.decode(): int(v) for k, v in zip(flat[::2], flat[1::2], strict=True)}

    def _unwritten(self, key_id: str, day: str = "") -> dict[str, int]:
        sums: Counter[str] = Counter()
        kept = [(k, c) for k, (c, _) in self._sent.items()] + list(self._open.items())
        for (owner, when), counts in kept:
            if owner == key_id and day in {"", when}:
                sums.update(counts)
        return dict(sums)

    def _keys(self, key_id: str, day: str) -> tuple[str, str]:
        return self._name(key_id, "usage"), self._name(key_id, f"usage:{day}")

    def _name(self, key_id: str, name: str) -> str:
        return key_name(self._prefix, key_id, name)

    def _today(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).date().isoformat()

    def _moment(self, seconds: float) -> str | None:
        if seconds <= 0:
            return None
        moment = datetime.fromtimestamp(self._clock(), UTC) + timedelta(seconds=seconds)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _period(counts: dict[str, int]) -> Period:
    models: dict[str, Counter[str]] = {}
    for name, amount in counts.items():
        kind, _, model = name.partition(":")
        models.setdefault(model, Counter())[kind] += amount
    whole: Counter[str] = Counter()
    for sums in models.values():
        whole.update(sums)
    by_model = {model: Tokens(**_fields(sums)) for model, sums in sorted(models.items())}
    return Period(**_fields(whole), models=by_model)


def _fields(sums: Counter[str]) -> dict[str, int]:
    calls, prompt, completion, cached = (sums[kind] for kind in _COUNTS)
    return {
        "calls": calls,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "cached_tokens": cached,
        "total_tokens": prompt + completion,
    }
