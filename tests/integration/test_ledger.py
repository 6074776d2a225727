"""Usage sums in a real store, and the report of /v1/usage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from app.call import Principal
from app.limits.ledger import FLUSH_SECONDS, Ledger, UsageReport
from app.limits.limiter import Limiter
from app.storage.redis import Store
from app.usage import Usage
from tests.integration.conftest import Server

Caller = Callable[..., Principal]


async def test_a_fresh_key(store: Store, prefix: str, caller: Caller) -> None:
    report = await Ledger(store, Limiter(store, prefix), prefix).usage(caller((100, 3600)))
    assert (report.requests_last_hour, report.remaining_requests) == (0, 100)
    assert report.reset_time is None
    assert report.today == report.all_time
    assert report.all_time.total_tokens == 0
    assert not report.degraded


async def test_requests_and_reset_time(store: Store, prefix: str, caller: Caller) -> None:
    limiter = Limiter(store, prefix)
    key = caller((10, 60), (8, 7200))
    for _ in range(3):
        await limiter.admit(key)
    report = await Ledger(store, limiter, prefix).usage(key)
    assert (report.requests_last_hour, report.remaining_requests) == (3, 5)
    assert report.reset_time is not None
    assert report.reset_time.endswith("Z")
    reset = datetime.fromisoformat(report.reset_time)  # of the tightest window: two hours
    assert abs(reset - datetime.now(UTC) - timedelta(hours=2)) < timedelta(seconds=5)
    assert [(w.limit, w.seconds, w.remaining) for w in report.windows] == [
        (10, 60, 7),
        (8, 7200, 5),
    ]


async def test_processes_add_up(server: Server, prefix: str, caller: Caller) -> None:
    key = caller((100, 3600))
    stores = [Store(server.url, 5) for _ in range(3)]
    ledgers = []
    for store in stores:
        await store.start()
        ledgers.append(Ledger(store, Limiter(store, prefix), prefix))
    for ledger in ledgers:
        for _ in range(50):
            ledger.record(key.key_id, Usage(3, 2, 1), "gemma")
        ledger.record(key.key_id, Usage(7), "a:b {c}\r\n")  # a field, however it is written
    await asyncio.gather(*(ledger.stop() for ledger in ledgers))
    report = await ledgers[0].usage(key)
    whole = report.all_time
    assert (whole.calls, whole.prompt_tokens, whole.completion_tokens) == (153, 471, 300)
    assert (whole.cached_tokens, whole.total_tokens) == (150, 771)
    assert whole.models["gemma"].total_tokens == 750
    assert whole.models["a:b {c}\r\n"].prompt_tokens == 21
    assert UsageReport.model_validate_json(report.model_dump_json()) == report
    for store in stores:
        await store.stop()


async def test_it_flushes_by_itself(store: Store, prefix: str, caller: Caller) -> None:
    key = caller((100, 3600))
    ledger = Ledger(store, Limiter(store, prefix), prefix)
    ledger.start()
    ledger.record(key.key_id, Usage(1, 1), "gemma")
    await asyncio.sleep(2 * FLUSH_SECONDS)
    counts = await store.call("HGETALL", f"{prefix}:{{{key.key_id}}}:usage")
    assert counts[:2] == [b"calls:gemma", b"1"]
    await ledger.stop()
    await ledger.stop()


async def test_today_ends_at_midnight_utc(store: Store, prefix: str, caller: Caller) -> None:
    key, now = caller((100, 3600)), datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC).timestamp()
    ledger = Ledger(store, Limiter(store, prefix), prefix, clock=lambda: now)
    ledger.record(key.key_id, Usage(10, 1), "gemma")
    now += 2  # written after midnight, used before it
    ledger.record(key.key_id, Usage(5, 1), "gemma")
    report = await ledger.usage(key)
    assert (report.today.prompt_tokens, report.all_time.prompt_tokens) == (5, 15)
    life = await store.call("TTL", f"{prefix}:{{{key.key_id}}}:usage:2026-03-31")
    assert 39 * 86_400 < life <= 40 * 86_400
    assert await store.call("TTL", f"{prefix}:{{{key.key_id}}}:usage") == -1


@pytest.mark.parametrize("callers", [300])
async def test_many_callers_in_one_flush(
    store: Store, prefix: str, caller: Caller, callers: int
) -> None:
    keys = [caller((5, 60), name=str(n)) for n in range(callers)]
    ledger = Ledger(store, Limiter(store, prefix), prefix)
    for n, key in enumerate(keys):
        ledger.record(key.key_id, Usage(n), "gemma")
    await ledger.flush()
    for n in (0, 1, callers - 1):
        assert (await ledger.usage(keys[n])).all_time.prompt_tokens == n
