"""Records and sums in a real store: shared, bounded, counted once, kept while it is away."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import msgspec
import pytest

from gemma_gateway.core.record import Record
from gemma_gateway.monitoring import records as records_module
from gemma_gateway.monitoring.records import BATCH, OWN, RequestLog
from gemma_gateway.monitoring.rollups import LIFE, MINUTE, TEN_MINUTES
from gemma_gateway.monitoring.series import series
from gemma_gateway.storage.redis import Store
from tests.integration.conftest import Server
from tests.integration.proxy import Proxy
from tests.records import numbered
from tests.stores import TIMEOUT, answering
from tests.waiting import until

STREAM = "{journal}:records"


def now_record(**fields: object) -> Record:
    """A call that ended just now."""
    return numbered(**{"time": time.time()} | fields)


@pytest.fixture
async def lossy(own_server: Server) -> AsyncIterator[tuple[Proxy, Store]]:
    """A road to the store that may lose answers, and a client on it."""
    async with Proxy(own_server.port) as proxy, AsyncExitStack() as stack:
        client = Store(proxy.url, TIMEOUT)
        await client.start()
        stack.push_async_callback(client.stop)
        await until(lambda: client.available, "the store is there")
        yield proxy, client


async def total(request_log: RequestLog) -> int:
    """Calls in the sums of the last hour."""
    return sum(
        point.requests for point in (await series(request_log.rollups, "1h", time.time())).points
    )


async def test_nothing_yet(store: Store, prefix: str) -> None:
    request_log = RequestLog(store, prefix)
    look = await request_log.look(10)
    assert (look.records, look.degraded, look.complete) == ([], False, True)
    assert await request_log.recent(10, start=0) == []
    records, cursor = await request_log.after("", 10)
    assert records == []
    request_log.add(made := now_record())
    assert (await request_log.after(cursor, 10))[0] == [made]
    assert (await request_log.after(look.cursor, 10))[0] == [made]


async def test_processes_share_one_window(server: Server, prefix: str) -> None:
    async with AsyncExitStack() as stack:
        replicas = []
        for _ in range(3):
            client = Store(server.url, 5)
            await client.start()
            stack.push_async_callback(client.stop)
            replicas.append(RequestLog(client, prefix))
        made = [now_record(time=1e9 + n, model=f"m{n % 2}") for n in range(300)]
        clocked = [RequestLog(r._store, prefix, clock=lambda: 1e9 + 400) for r in replicas]
        for n, record in enumerate(made):
            clocked[n % 3].add(record)
        await asyncio.gather(*(request_log.stop() for request_log in clocked))
        for request_log in clocked:
            assert await request_log.recent(1000) == made[::-1]
            assert len(await request_log.recent(7)) == 7
            between = await request_log.recent(1000, start=made[10].time, end=made[20].time)
            assert between == made[10:20][::-1]
            assert await request_log.recent(3, start=1e9 + 299.5) == []
        found, cursor = await clocked[0].after("0-0", 170)
        rest, cursor = await clocked[1].after(cursor, 170)
        assert sorted(found + rest, key=lambda r: r.time) == made
        assert await clocked[2].after(cursor, 170) == ([], cursor)
        everything = [record async for page in clocked[0].pages() for record in page]
        assert sorted(everything, key=lambda r: r.time) == made


async def test_it_flushes_by_itself(store: Store, prefix: str) -> None:
    request_log = RequestLog(store, prefix)
    await request_log.start()
    request_log.add(now_record())

    async def written() -> bool:
        return bool(await store.call("XLEN", f"{prefix}:{STREAM}") == 1)

    await until(written, "the record is in the store")
    request_log.add(now_record())
    await request_log.stop()
    await request_log.stop()
    assert await store.call("XLEN", f"{prefix}:{STREAM}") == 2


async def test_more_than_one_batch(store: Store, prefix: str) -> None:
    request_log = RequestLog(store, prefix)
    made = [now_record() for _ in range(3 * BATCH + 7)]
    for record in made:
        request_log.add(record)
    found = await request_log.recent(10_000)
    assert {r.id for r in found} == {r.id for r in made}
    assert await total(request_log) == len(made)


@pytest.mark.parametrize("read_pages", [3, 200])
async def test_the_window_is_bounded(
    store: Store, prefix: str, monkeypatch: pytest.MonkeyPatch, read_pages: int
) -> None:
    monkeypatch.setattr(records_module, "PAGE", read_pages)
    request_log = RequestLog(store, prefix, records_max=100)
    made = [now_record(time=time.time() - 100 + n / 10) for n in range(250)]
    for n, record in enumerate(made):
        request_log.add(record)
        if n % 50 == 49:
            await request_log.flush()
    assert await store.call("XLEN", f"{prefix}:{STREAM}") == 100
    look = await request_log.look(1000)
    assert look.records == made[:149:-1]
    assert request_log.lost == 0
    assert await total(request_log) == 250  # sums outlive the records
    inside = await request_log.look(1000, start=made[240].time)
    assert (len(inside.records), inside.complete) == (10, False)  # no older one in sight
    request_log.add(now_record(time=time.time()))
    await request_log.flush()
    assert (await request_log.look(1000, start=made[0].time)).complete is False
    assert (await request_log.look(5, start=made[245].time)).complete is False  # over the bound


async def test_a_range_that_is_all_there_is_complete(store: Store, prefix: str) -> None:
    request_log = RequestLog(store, prefix)
    for _ in range(5):
        request_log.add(now_record())
    look = await request_log.look(1000, start=time.time() - 60)
    assert (len(look.records), look.complete) == (5, True)
    assert (await request_log.look(1000, start=time.time() - 30 * 86_400)).complete is False


async def test_old_records_go(store: Store, prefix: str) -> None:
    stream, hour = f"{prefix}:{STREAM}", 3600
    brief = RequestLog(store, prefix, records_seconds=1)
    brief.add(now_record())
    await brief.flush()

    async def gone() -> bool:
        return bool(await store.call("EXISTS", stream) == 0)

    await until(gone, "nobody calls any more")
    now = time.time()
    for age in (2 * hour, hour // 2):  # calls of that time
        record = numbered(time=now - age)
        entry = f"{int(record.time * 1000)}-0"
        await store.call("XADD", stream, entry, "r", msgspec.msgpack.encode(record))
    request_log = RequestLog(store, prefix, records_seconds=hour)
    assert await request_log.recent(10) == [record]
    assert await store.call("XLEN", stream) == 2
    request_log.add(last := now_record())  # what is written sweeps
    assert await request_log.recent(10) == [last, record]
    assert await store.call("XLEN", stream) == 2
    later = RequestLog(store, prefix, records_seconds=hour, clock=lambda: time.time() + hour)
    assert await later.recent(10) == []


async def test_strangers_count_but_leave_no_record(store: Store, prefix: str) -> None:
    request_log = RequestLog(store, prefix)
    for _ in range(20):
        request_log.add(now_record(key_id="", outcome="INVALID_API_KEY", status=401))
    request_log.add(made := now_record())
    assert await request_log.recent(100) == [made]
    found = await series(request_log.rollups, "1h", time.time())
    assert found.by_outcome == {"INVALID_API_KEY": 20, "ok": 1}


async def test_a_newer_versions_record_is_passed_over(store: Store, prefix: str) -> None:
    request_log = RequestLog(store, prefix)
    request_log.add(made := now_record())
    await request_log.flush()
    await store.call("XADD", f"{prefix}:{STREAM}", "*", "r", b"\xc1 what is this")
    assert await request_log.recent(10) == [made]
    records, cursor = await request_log.after("0-0", 10)
    assert records == [made]
    assert await request_log.after(cursor, 10) == ([], cursor)


async def test_pages_meet_whatever_the_ids(
    store: Store, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records_module, "PAGE", 1)
    request_log = RequestLog(store, prefix, clock=lambda: 100.0)
    ids = ["999-7", "1000-0", "1000-1", "1001-0", "1001-5", f"1001-{2**64 - 1}", "1005-0"]
    made = [numbered(time=float(n)) for n in range(len(ids))]
    for entry, record in zip(ids, made, strict=True):
        packed = msgspec.msgpack.encode(record)
        await store.call("XADD", f"{prefix}:{STREAM}", entry, "r", packed)
    assert await request_log.recent(100) == made[::-1]
    assert [page async for page in request_log.pages() if page] == [[record] for record in made]
    assert await request_log.after("0-0", 100) == (made, ids[-1])
    assert await request_log.after(ids[2], 2) == (made[3:5], ids[4])


@pytest.mark.parametrize("cursor", ["x", "1", "1-", "-1", "1-1-1", "1-1 COUNT", "9" * 16 + "-1"])
async def test_no_cursor(store: Store, prefix: str, cursor: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        await RequestLog(store, prefix).after(cursor, 1)


# ---- the store away


async def test_a_lost_answer_counts_once(lossy: tuple[Proxy, Store], prefix: str) -> None:
    proxy, client = lossy
    request_log = RequestLog(client, prefix)
    made = [now_record() for _ in range(BATCH + 10)]
    for record in made:
        request_log.add(record)
    proxy.deaf = True
    await request_log.flush()  # written, and we don't know
    request_log.add(late := now_record())
    kept = await request_log.look(10_000)
    assert kept.degraded
    assert {r.id for r in kept.records} == {r.id for r in (*made, late)}
    proxy.deaf = False
    await answering(client)
    found = await request_log.look(10_000)
    assert not found.degraded
    assert sorted(r.id for r in found.records) == sorted(r.id for r in (*made, late))
    assert await total(request_log) == len(made) + 1


async def test_a_stray_copy_counts_once(lossy: tuple[Proxy, Store], prefix: str) -> None:
    proxy, client = lossy
    request_log = RequestLog(client, prefix)
    proxy.holding = True
    request_log.add(now_record())
    await request_log.flush()
    proxy.holding = False
    await answering(client)
    await request_log.flush()  # the second copy arrives first
    request_log.add(now_record())
    await request_log.flush()
    await proxy.release()
    assert len(await request_log.recent(10)) == 2
    assert await total(request_log) == 2


async def test_what_is_kept_is_bounded_and_loss_is_counted(own_server: Server, prefix: str) -> None:
    client = Store(own_server.url, TIMEOUT)
    await client.start()
    request_log = RequestLog(client, prefix, records_max=1500)
    own_server.signal(signal.SIGSTOP)
    made = [now_record(time=time.time() - 2000 + n) for n in range(2000)]
    for record in made:
        request_log.add(record)
    assert request_log.lost == 500
    await request_log.flush()
    look = await request_log.look(5000)
    assert look.degraded
    assert look.records == made[:499:-1]
    assert (await request_log.after("0-0", 10)) == ([], "0-0")
    own_server.signal(signal.SIGCONT)
    await answering(client)
    assert await request_log.recent(5000) == made[:499:-1]
    found = await series(request_log.rollups, "1h", time.time())
    assert sum(p.requests for p in found.points) == 2000  # sums are not lost
    assert not found.degraded
    await client.stop()


async def test_without_a_store_there_is_still_the_own_part(
    prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = Store("redis://127.0.0.1:1", TIMEOUT)
    await client.start()
    request_log = RequestLog(client, prefix)
    made = [now_record(time=time.time() - 60 + n / 100) for n in range(OWN + 5)]
    for record in made:
        request_log.add(record)
    look = await request_log.look(10_000)
    assert (look.degraded, look.cursor) == (True, "")
    assert look.records == made[::-1]
    found = await series(request_log.rollups, "24h", time.time())
    assert found.degraded
    assert found.points[-1].requests + found.points[-2].requests == OWN + 5
    with caplog.at_level("WARNING"):
        await request_log.stop()
    assert f"{OWN + 5} records of calls are lost" in caplog.text
    await client.stop()


async def test_a_long_outage_folds_minutes_into_ten(store: Store, prefix: str) -> None:
    now = (time.time() // TEN_MINUTES) * TEN_MINUTES
    request_log = RequestLog(store, prefix, clock=lambda: now)
    for hours in (0, 1, 5, 24 * 7, 24 * 9):  # what was kept of each time
        for _ in range(3):
            request_log.add(now_record(time=now - hours * 3600))
    await request_log.flush()

    async def calls(step: int, seconds: float) -> int:
        found = [b.sums async for b, _ in request_log.rollups.scan(step, now - seconds, now)]
        return sum(row[0] for sums in found for row in sums.rows.values())

    assert await calls(MINUTE, 9 * 86_400) == 6  # five hours ago there are no minutes any more
    assert await calls(TEN_MINUTES, 9 * 86_400) == 12
    assert (await series(request_log.rollups, "7d", now)).by_outcome == {"ok": 9}


# ---- sums


async def test_sums_have_their_life(store: Store, prefix: str) -> None:
    request_log = RequestLog(store, prefix)
    now = time.time()
    request_log.add(now_record(time=now))
    await request_log.flush()
    for step in (MINUTE, TEN_MINUTES):
        start = int(now) // step * step
        left = await store.call("TTL", f"{prefix}:{{journal}}:sums:{step}:{start}")
        end = start + LIFE[step]  # the store tells whole seconds, rounded
        assert end - time.time() - 1 <= left <= end - now + 1


@pytest.mark.parametrize(("range_", "points"), [("1h", 60), ("6h", 36), ("24h", 144), ("7d", 168)])
async def test_every_range_counts_the_same(
    store: Store, prefix: str, range_: str, points: int
) -> None:
    now = time.time()
    request_log = RequestLog(store, prefix)
    for n in range(40):
        request_log.add(
            now_record(
                time=now - n * 60,
                route=f"/v1/{n % 2}",
                model="gemma" if n % 4 else "other",
                outcome="ok" if n % 5 else "RATE_LIMIT_EXCEEDED",
                response_time=2.0,
                time_to_first_token=0.5,
                input_tokens=10,
                output_tokens=n,
            )
        )
    await request_log.flush()
    found = await series(request_log.rollups, range_, now)  # type: ignore[arg-type]
    assert len(found.points) == points
    assert found.points[-1].requests >= 1
    for name in ("requests", "ok", "limited", "input_tokens", "output_tokens"):
        want = {"requests": 40, "ok": 32, "limited": 8, "input_tokens": 400}.get(name, 780)
        assert sum(getattr(p, name) for p in found.points) == want
        assert sum(getattr(t, name) for t in found.by_model.values()) == want
        assert sum(getattr(t, name) for t in found.by_route.values()) == want
    assert found.by_outcome == {"RATE_LIMIT_EXCEEDED": 8, "ok": 32}
    assert found.by_model["other"].requests == 10
    served = next(p for p in reversed(found.points) if p.ok)
    assert served.response_time.p50 == pytest.approx(2.0, rel=0.0453)
    assert served.time_to_first_token.p99 == pytest.approx(0.5, rel=0.0453)


async def test_the_store_holds_little(store: Store, prefix: str) -> None:
    """One marker for each process, whatever the number of its batches."""
    journals_ = [RequestLog(store, prefix) for _ in range(3)]
    for request_log in journals_:
        for _ in range(4):
            request_log.add(now_record())
            await request_log.flush()
    _, names = await store.call("SCAN", 0, "MATCH", f"{prefix}:*", "COUNT", 100_000)
    kinds = sorted(name.decode().split(":")[2] for name in names)
    assert kinds.count("batch") == 3
    assert kinds.count("records") == 1
    assert kinds.count("sums") <= 4  # the minute, the ten minutes, and the next ones
