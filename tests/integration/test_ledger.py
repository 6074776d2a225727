"""Usage sums in a real store, and the report of /v1/usage."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from gemma_gateway.core.call import Principal
from gemma_gateway.core.usage import Usage
from gemma_gateway.core.usage_report import UsageReport
from gemma_gateway.limits.ledger import STRAY_LIFE, Ledger
from gemma_gateway.limits.limiter import Limiter
from gemma_gateway.storage.connection import StoreError
from gemma_gateway.storage.redis import Store
from gemma_gateway.storage.write_behind import FLUSH_SECONDS
from tests.integration.conftest import Server
from tests.integration.proxy import Proxy
from tests.stores import TIMEOUT, answering
from tests.waiting import eventually

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
    assert abs(reset - datetime.now(UTC) - timedelta(hours=2)) < timedelta(seconds=60)
    assert [(w.limit, w.seconds, w.remaining) for w in report.windows] == [
        (10, 60, 7),
        (8, 7200, 5),
    ]


async def test_a_report_writes_no_other_caller_s_sums(
    store: Store, prefix: str, caller: Caller
) -> None:
    ledger = Ledger(store, Limiter(store, prefix), prefix)
    keys = [caller((100, 3600), name=str(n)) for n in range(50)]
    for key in keys:
        ledger.record(key.key_id, Usage(3, 2), "gemma")
    before = store.failures
    assert (await ledger.usage(keys[7])).all_time.total_tokens == 5
    assert len(ledger._open) == 49
    ledger.record(keys[7].key_id, Usage(3, 2), "gemma")
    assert (await ledger.usage(keys[7])).today.total_tokens == 10
    assert len(ledger._open) == 49
    await ledger.stop()
    assert not ledger._open
    assert (await ledger.usage(keys[8])).all_time.total_tokens == 5
    assert store.failures == before


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
    await ledger.start()
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


# ---- every caller


async def keys_in_store(store: Store, prefix: str) -> list[str]:
    """Names of all keys of one test."""
    cursor, names = b"0", []
    while True:
        cursor, page = await store.call("SCAN", cursor, "MATCH", f"{prefix}:*", "COUNT", 1000)
        names += [name.decode() for name in page if b":{trial-" not in name]
        if cursor == b"0":
            return sorted(names)


async def test_usage_of_everybody(server: Server, prefix: str, caller: Caller) -> None:
    """By key and day, from all processes; in the order of the ids, whatever the shards."""
    now = datetime(2026, 3, 31, 12, tzinfo=UTC).timestamp()
    keys = [caller((5, 60), name=str(n)).key_id for n in range(700)]
    stores = [Store(server.url, 5) for _ in range(2)]
    ledgers = []
    for store in stores:
        await store.start()
        ledgers.append(Ledger(store, Limiter(store, prefix), prefix, clock=lambda: now))
    for days_ago in (45, 3, 2, 0):
        now = (datetime(2026, 3, 31, 12, tzinfo=UTC) - timedelta(days=days_ago)).timestamp()
        some = keys if days_ago == 2 else keys[:3]
        for ledger in ledgers:
            for key in some:
                ledger.record(key, Usage(10, 5, 1), "gemma")
        ledgers[0].record(keys[0], Usage(1, 1), "other")
        await asyncio.gather(*(ledger.flush() for ledger in ledgers))
    found = [row async for row in ledgers[0].days(40)]
    assert [(row.key_id, row.day) for row in found] == sorted(
        (key, day)
        for n, key in enumerate(keys)
        for day in (["2026-03-28", "2026-03-29", "2026-03-31"] if n < 3 else ["2026-03-29"])
    )
    assert all(row.models["gemma"].prompt_tokens == 20 for row in found)
    assert sum("other" in row.models for row in found) == 3
    short = [row async for row in ledgers[1].days(2)]  # today and yesterday
    assert {(row.key_id, row.day) for row in short} == {(key, "2026-03-31") for key in keys[:3]}
    assert [row async for row in ledgers[1].days(1)] == short
    today, whole = (await ledgers[1].spent(keys))[0]
    assert (today.calls, whole.calls) == (3, 12)
    for store in stores:
        await store.stop()


async def test_a_caller_that_was_long_away_leaves_the_index(
    store: Store, prefix: str, caller: Caller
) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    ledger = Ledger(store, Limiter(store, prefix), prefix, clock=lambda: now)
    same = [f"{n:064x}" for n in (1, 2)]  # one shard
    ledger.record(same[0], Usage(1, 1), "gemma")
    await ledger.flush()
    now += 50 * 86_400
    ledger.record(same[1], Usage(1, 1), "gemma")
    await ledger.flush()
    assert await store.call("ZCARD", f"{prefix}:{{callers-0}}:last-day") == 1
    assert [row.key_id async for row in ledger.days(40)] == [same[1]]


async def test_a_caller_is_noted_once_unless_the_store_was_away(
    own_server: Server, prefix: str, caller: Caller
) -> None:
    async with Proxy(own_server.port) as proxy:
        client = Store(proxy.url, TIMEOUT)
        await client.start()
        ledger = Ledger(client, Limiter(client, prefix), prefix)
        key = f"{7:064x}"
        index = f"{prefix}:{{callers-0}}:last-day"

        async def serve() -> int:
            ledger.record(key, Usage(1, 1), "gemma")
            await ledger.flush()
            return int(await client.call("ZCARD", index))

        async def lose() -> None:
            losses = client.losses
            proxy.deaf = True
            with contextlib.suppress(StoreError):
                await client.call("PING")
            await eventually(lambda: client.losses > losses)
            proxy.deaf = False
            await answering(client)

        other = f"{8:064x}"
        assert await serve() == 1
        await client.call("DEL", index)
        assert await serve() == 0  # nobody looks again on every flush
        await lose()
        await ledger.flush()
        assert await serve() == 1  # it has come back empty
        await client.call("ZADD", index, 1, bytes.fromhex(other))
        written = await client.call("ZSCORE", index, bytes.fromhex(key))
        await client.call("ZADD", index, 1, bytes.fromhex(key))
        await lose()
        assert await serve() == 2
        # It kept what it had: nobody is written again.
        assert await client.call("ZSCORE", index, bytes.fromhex(key)) == b"1" != written
        await client.stop()


# ---- markers


async def test_no_marker_is_left(store: Store, prefix: str, caller: Caller) -> None:
    """What the store holds depends on the callers, not on how many gateways serve them."""
    keys = [caller((5, 60), name=str(n)).key_id for n in range(50)]

    async def serve(gateways: int) -> list[str]:
        for _ in range(gateways):
            ledger = Ledger(store, Limiter(store, prefix), prefix)
            for _ in range(3):
                for key in keys:
                    ledger.record(key, Usage(1, 1), "gemma")
                await ledger.flush()
        return await keys_in_store(store, prefix)

    once = await serve(1)
    assert not [name for name in once if ":added:" in name]
    assert await serve(5) == once
    assert (await Ledger(store, Limiter(store, prefix), prefix).spent(keys))[7][1].calls == 18


@pytest.mark.parametrize("calls_meanwhile", [0, 3])
async def test_a_lost_answer_counts_once(
    own_server: Server, prefix: str, caller: Caller, calls_meanwhile: int
) -> None:
    async with Proxy(own_server.port) as proxy:
        client = Store(proxy.url, TIMEOUT)
        await client.start()
        ledger = Ledger(client, Limiter(client, prefix), prefix)
        keys = [caller((5, 60), name=str(n)).key_id for n in range(20)]
        for key in keys:
            ledger.record(key, Usage(10, 5), "gemma")
        proxy.deaf = True
        await ledger.flush()  # added, and we don't know
        for _ in range(calls_meanwhile):
            ledger.record(keys[0], Usage(1, 1), "gemma")
        proxy.deaf = False
        await answering(client)
        found = await ledger.spent(keys)
        assert [whole.calls for _, whole in found] == [1 + calls_meanwhile] + [1] * 19
        left = [name for name in await keys_in_store(client, prefix) if ":added:" in name]
        assert len(left) == 20  # another copy might still come, for a while
        for name in left:
            assert 0 < await client.call("TTL", name) <= STRAY_LIFE
        await ledger.stop()
        await client.stop()


async def test_a_stray_copy_counts_once(own_server: Server, prefix: str, caller: Caller) -> None:
    """The second copy of a batch arrives, and the caller goes on; then comes the first one."""
    async with Proxy(own_server.port) as proxy:
        client = Store(proxy.url, TIMEOUT)
        await client.start()
        ledger = Ledger(client, Limiter(client, prefix), prefix)
        key = caller((5, 60))
        ledger.record(key.key_id, Usage(10, 5), "gemma")
        proxy.holding = True
        await ledger.flush()
        proxy.holding = False
        await answering(client)
        for _ in range(3):
            ledger.record(key.key_id, Usage(1, 1), "gemma")
            await ledger.flush()
        await proxy.release()
        [(_, whole)] = await ledger.spent([key.key_id])
        assert (whole.calls, whole.prompt_tokens) == (4, 13)
        await client.stop()


async def test_a_cancelled_flush_counts_once(
    own_server: Server, prefix: str, caller: Caller
) -> None:
    async with Proxy(own_server.port) as proxy:
        client = Store(proxy.url, 5)
        await client.start()
        ledger = Ledger(client, Limiter(client, prefix), prefix)
        key = caller((5, 60)).key_id
        ledger.record(key, Usage(10, 5), "gemma")
        proxy.deaf = True
        flush = asyncio.create_task(ledger.flush())
        await asyncio.sleep(0.3)  # it was added
        flush.cancel()
        await asyncio.wait([flush])
        ledger.record(key, Usage(1, 1), "gemma")
        await client.stop()
        proxy.deaf = False
        await client.start()
        await ledger.stop()
        assert [w.calls for _, w in await ledger.spent([key])] == [2]
        await client.stop()


async def test_without_a_store_there_is_the_own_part(prefix: str, caller: Caller) -> None:
    client = Store("redis://127.0.0.1:1", TIMEOUT)
    await client.start()
    ledger = Ledger(client, Limiter(client, prefix), prefix)
    keys = sorted(caller((5, 60), name=str(n)).key_id for n in range(3))
    for key in reversed(keys):
        ledger.record(key, Usage(10, 5), "gemma")
    await ledger.flush()
    ledger.record(keys[0], Usage(1, 1), "gemma")
    found = ledger.unwritten(7)
    assert [row.key_id for row in found] == keys
    assert found[0].models["gemma"].prompt_tokens == 11
    with pytest.raises(StoreError):
        await anext(ledger.days(7))
    await client.stop()
