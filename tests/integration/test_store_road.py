"""The store's connections: which server they lead to, and what one slow answer does to others."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gemma_gateway.core.call import Principal
from gemma_gateway.core.usage import Usage
from gemma_gateway.limits.ledger import WRITTEN_AT_ONCE, Ledger
from gemma_gateway.limits.limiter import Limiter, StoreFailure
from gemma_gateway.limits.script import key_name
from gemma_gateway.main import assemble
from gemma_gateway.settings import Settings
from gemma_gateway.storage.address import Address
from gemma_gateway.storage.connection import Connection, StoreError, pack
from gemma_gateway.storage.redis import Store
from tests.integration.conftest import Server, server_binary
from tests.integration.proxy import Proxy
from tests.process import free_port
from tests.stores import served
from tests.waiting import eventually

Caller = Callable[..., Principal]
PING = pack("PING")


# ---- one address, another server


@pytest.mark.parametrize("mode", ["local", "deny"])
@pytest.mark.parametrize("how", ["a replica", "a replica without its master"])
async def test_a_failover_behind_one_address_is_followed(
    own_server: Server, tmp_path: Path, prefix: str, caller: Caller, mode: StoreFailure, how: str
) -> None:
    """A Service, a virtual address: new connections reach the new master, the old ones stay."""
    folder = tmp_path / "new"
    folder.mkdir()
    new = Server(server_binary("valkey"), folder)
    new.start()
    try:
        async with Proxy(own_server.port) as proxy:
            store = Store(proxy.url, 5)
            await store.start()
            limiter = Limiter(store, prefix, mode)
            key = caller((100, 3600))
            assert not (await served(limiter, key)).degraded
            if how == "a replica without its master":
                assert own_server.ask(b"CONFIG SET replica-serve-stale-data no") == b"+OK\r\n"
            assert b"+OK" in own_server.ask(b"REPLICAOF 127.0.0.1 %d" % free_port())
            proxy.server = new.port
            assert (await served(limiter, key)).states[0].remaining <= 99
            name = key_name(prefix, key.key_id, "log").encode()
            assert new.ask(b"EXISTS " + name) == b":1\r\n"
            await eventually(lambda: store.available)
            await written(store, f"{prefix}:{{x}}")  # what has time follows, too
            assert new.ask(f"EXISTS {prefix}:{{x}}".encode()) == b":1\r\n"
            await store.stop()
    finally:
        new.stop()


async def written(store: Store, name: str) -> None:
    """Write a key, as often as it takes."""
    end = time.monotonic() + 30
    while True:
        try:
            await store.call("SET", name, "1")
        except StoreError:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        else:
            return


async def test_a_server_that_goes_on_refusing_is_not_dialled_without_end(
    own_server: Server, prefix: str, caller: Caller
) -> None:
    """A hundred refused calls a second make one connection a second."""
    store = Store(own_server.url, 5)
    await store.start()
    limiter = Limiter(store, prefix)
    key = caller((100_000, 3600))
    assert b"+OK" in own_server.ask(b"REPLICAOF 127.0.0.1 %d" % free_port())
    start = time.monotonic()
    for _ in range(300):
        assert (await limiter.admit(key)).degraded
        await asyncio.sleep(0.01)
    assert 1 <= store.losses + 1 <= 2 + (time.monotonic() - start)
    await eventually(lambda: not store.available)
    await store.stop()


# ---- one slow answer


class Mute(asyncio.Protocol):
    """A server that answers PING when it is told to."""

    def __init__(self) -> None:
        self.owed = 0
        self.mute = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.owed += data.count(b"PING")
        if not self.mute:
            self.answer()

    def answer(self) -> None:
        self._transport.write(b"+PONG\r\n" * self.owed)  # type: ignore[attr-defined]
        self.owed = 0


@pytest.fixture
async def mute() -> AsyncIterator[tuple[Connection, Mute, list[str]]]:
    """A link to such a server, that server, and why the link was lost."""
    protocol, reasons = Mute(), []
    server = await asyncio.get_running_loop().create_server(lambda: protocol, "127.0.0.1", 0)
    target = Address.parse(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    link = await target.open(0.05, lambda link, reason: reasons.append(reason))
    protocol.mute = True
    yield link, protocol, reasons
    link.close()
    server.close()


async def test_one_late_answer_does_not_end_the_connection(
    mute: tuple[Connection, Mute, list[str]],
) -> None:
    link, server, reasons = mute
    with pytest.raises(StoreError, match=r"no answer within 0\.05 s"):
        await link.send(PING)
    with pytest.raises(StoreError, match="no answer"):
        await link.send(PING)  # at once: it isn't even sent
    assert server.owed == 1
    server.mute = False
    server.answer()
    while True:  # until the late answer is here
        try:
            assert await link.send(PING) == b"PONG"
            break
        except StoreError:
            assert reasons == []
            await asyncio.sleep(0)
    assert await asyncio.gather(*(link.send(PING) for _ in range(3))) == [b"PONG"] * 3
    assert reasons == []


async def test_a_connection_that_stays_silent_is_given_up(
    mute: tuple[Connection, Mute, list[str]],
) -> None:
    link, _, reasons = mute
    with pytest.raises(StoreError, match="no answer"):
        await link.send(PING)
    await eventually(lambda: reasons != [])
    assert reasons == ["no answer within 0.05 s"]


async def test_an_absence_under_two_seconds_is_no_outage(
    own_server: Server, prefix: str, caller: Caller
) -> None:
    store = Store(own_server.url, 0.05)
    await store.start()
    limiter = Limiter(store, prefix)
    key = caller((100, 3600))
    assert not (await served(limiter, key)).degraded
    before = limiter.degraded_calls
    own_server.signal(signal.SIGSTOP)
    assert (await limiter.admit(key)).degraded  # limited here, and counted
    own_server.signal(signal.SIGCONT)
    assert not (await served(limiter, key)).degraded
    assert limiter.degraded_calls > before
    assert (store.outages, store.available) == (0, True)
    await store.stop()


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        ({}, 1.0),
        ({"store_timeout": 0.05}, 0.05),
        ({"store_timeout": 3}, 3.0),
        ({"redis_url": "redis://127.0.0.1:1"}, 0.05),
        ({"redis_url": "redis://127.0.0.1:1", "store_timeout": 0.3}, 0.3),
    ],
)
async def test_the_embedded_store_has_more_time(
    tmp_path: Path, settings: dict[str, Any], seconds: float
) -> None:
    """It shares the machine with everything else; unless the operator says how long to wait."""
    upstreams = ("http://127.0.0.1:1/v1",)
    parts = assemble(Settings(data_dir=tmp_path, upstreams=upstreams, **settings))
    assert parts.store.timeout == seconds


# ---- many sums


async def test_ten_thousand_callers_are_written_beside_the_calls(
    own_server: Server, prefix: str, caller: Caller
) -> None:
    async with Proxy(own_server.port) as proxy:
        store = Store(proxy.url, 5)
        await store.start()
        limiter = Limiter(store, prefix)
        ledger = Ledger(store, limiter, prefix)
        for n in range(10_000):
            ledger.record(f"{n:064x}", Usage(1, 1), "gemma")
        flush = asyncio.create_task(ledger.flush())
        key, calls = caller((1_000_000, 3600)), 0
        while not flush.done():
            assert not (await limiter.admit(key)).degraded
            calls += 1
            await asyncio.sleep(0.001)
        await flush
        assert calls > 10
        assert proxy.most <= WRITTEN_AT_ONCE
        assert (store.failures, store.outages, store.losses) == (0, 0, 0)
        spent = await ledger.spent([f"{n:064x}" for n in range(0, 10_000, 999)])
        assert all(whole.calls == 1 for _, whole in spent)
        await store.stop()
