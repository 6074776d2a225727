"""The store dies, hangs, refuses and comes back: nobody waits for it, and it heals by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gemma_gateway.core.call import Principal
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.usage import Usage
from gemma_gateway.limits.admission import headers
from gemma_gateway.limits.ledger import Ledger
from gemma_gateway.limits.limiter import Limiter
from gemma_gateway.limits.script import key_name
from gemma_gateway.storage.connection import StoreError
from gemma_gateway.storage.embedded import EmbeddedStore
from gemma_gateway.storage.redis import Store
from gemma_gateway.wire.openai.chat import Chat
from tests.integration.conftest import Server, require, server_binary
from tests.process import free_port
from tests.stores import TIMEOUT, served, timed
from tests.waiting import eventually

Caller = Callable[..., Principal]
BOUND = 3 * TIMEOUT


@pytest.fixture
async def fragile(own_server: Server) -> AsyncIterator[Store]:
    """A client of a server that the test breaks."""
    client = Store(own_server.url, TIMEOUT)
    await client.start()
    assert client.available, client.last_error
    yield client
    await client.stop()


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_no_call_waits_and_it_heals(
    own_server: Server, fragile: Store, prefix: str, caller: Caller, how: str
) -> None:
    limiter = Limiter(fragile, prefix)
    key = caller((1000, 3600))
    assert not (await limiter.admit(key)).degraded
    own_server.signal(signal.SIGKILL if how == "killed" else signal.SIGSTOP)

    answers = await asyncio.gather(*(timed(limiter, key) for _ in range(50)))
    assert max(seconds for _, seconds in answers) < BOUND
    assert all(answer.allowed and answer.degraded for answer, _ in answers)

    for _ in range(100):  # known to be away: no call costs a time-out
        answer, seconds = await timed(limiter, key)
        assert answer.degraded
        assert seconds < TIMEOUT / 2
    assert limiter.degraded_calls == 150
    assert fragile.failures >= 150
    await eventually(lambda: not fragile.available)
    assert fragile.last_error
    assert fragile.outages == 1

    if how == "killed":
        own_server.stop()
        own_server.start()
    else:
        own_server.signal(signal.SIGCONT)
    await eventually(lambda: fragile.available)
    assert not (await limiter.admit(key)).degraded


async def test_calls_while_it_comes_and_goes(
    own_server: Server, fragile: Store, prefix: str, caller: Caller
) -> None:
    """A stream of calls over two outages: none is slow, none fails."""
    limiter = Limiter(fragile, prefix)
    key = caller((100_000, 3600))
    slowest, done = 0.0, False

    async def call() -> None:
        nonlocal slowest
        while not done:
            answer, seconds = await timed(limiter, key)
            assert answer.allowed
            slowest = max(slowest, seconds)
            await asyncio.sleep(0.002)

    callers = [asyncio.create_task(call()) for _ in range(8)]
    for _ in range(2):
        await asyncio.sleep(0.2)
        own_server.signal(signal.SIGSTOP)
        await eventually(lambda: not fragile.available)
        await asyncio.sleep(0.3)
        own_server.signal(signal.SIGCONT)
        await eventually(lambda: fragile.available)
    done = True
    await asyncio.gather(*callers)
    assert slowest < BOUND
    assert fragile.outages == 2


async def test_local_goes_on_from_what_this_process_has_admitted(
    own_server: Server, fragile: Store, prefix: str, caller: Caller
) -> None:
    limiter = Limiter(fragile, prefix, "local")
    key = caller((5, 3600), (50, 86_400))
    for _ in range(3):
        await limiter.admit(key)
    own_server.signal(signal.SIGKILL)
    answers = [await limiter.admit(key) for _ in range(4)]
    assert [a.allowed for a in answers] == [True, True, False, False]
    assert all(a.degraded for a in answers)
    assert [s.remaining for s in answers[-1].states] == [0, 45]
    assert 3590 < answers[-1].retry_after <= 3600
    look = await limiter.look(key)
    assert (look.last_hour, look.admission.degraded) == (5, True)


async def test_deny_refuses_with_a_clear_error(
    own_server: Server, fragile: Store, prefix: str, caller: Caller
) -> None:
    limiter = Limiter(fragile, prefix, "deny")
    key = caller((5, 3600))
    assert (await limiter.admit(key)).allowed
    own_server.signal(signal.SIGSTOP)
    for _ in range(3):
        with pytest.raises(GatewayError) as refused:
            await limiter.admit(key)
        assert refused.value.code is Code.LIMIT_STORE_UNAVAILABLE
        assert refused.value.headers["retry-after"] == "1"
    assert limiter.degraded_calls == 3
    own_server.signal(signal.SIGCONT)
    assert (await served(limiter, key)).allowed


async def test_allow_lets_everything_through(
    own_server: Server, fragile: Store, prefix: str, caller: Caller
) -> None:
    limiter = Limiter(fragile, prefix, "allow")
    key = caller((1, 3600))
    own_server.signal(signal.SIGKILL)
    answers = [await limiter.admit(key) for _ in range(5)]
    assert all(a.allowed and a.degraded for a in answers)
    assert headers(answers[0], Chat()) == {}


async def test_a_store_that_takes_connections_and_never_answers(
    prefix: str, caller: Caller
) -> None:
    with socket.socket() as blackhole:
        blackhole.bind(("127.0.0.1", 0))
        blackhole.listen(16)
        store = Store(f"redis://127.0.0.1:{blackhole.getsockname()[1]}", TIMEOUT)
        start = time.monotonic()
        await store.start()
        assert time.monotonic() - start < 60
        answer, seconds = await timed(Limiter(store, prefix), caller((1, 60)))
        assert answer.allowed
        assert answer.degraded
        assert seconds < BOUND
        assert "no answer" in store.last_error
        await store.stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid", "." + "x" * 80])
async def test_no_store_at_all_is_no_reason_not_to_start(
    host: str, prefix: str, caller: Caller
) -> None:
    store = Store(f"redis://{host}:{free_port()}", TIMEOUT)
    start = time.monotonic()
    await store.start()
    assert time.monotonic() - start < 60
    assert not store.available
    answer, seconds = await timed(Limiter(store, prefix), caller((1, 60)))
    assert answer.degraded
    assert seconds < BOUND
    await store.stop()


async def test_a_store_that_starts_later_is_found(
    own_server: Server, prefix: str, caller: Caller
) -> None:
    own_server.stop()
    store = Store(own_server.url, TIMEOUT)
    await store.start()
    assert not store.available
    own_server.start()
    await eventually(lambda: store.available)
    assert not (await Limiter(store, prefix).admit(caller((1, 60)))).degraded
    await store.stop()


async def test_a_password_is_used_and_a_wrong_one_is_an_outage(
    own_server: Server, prefix: str, caller: Caller
) -> None:
    assert own_server.ask(b"CONFIG SET requirepass right") == b"+OK\r\n"
    address = own_server.url.removeprefix("redis://")
    right = Store(f"redis://:right@{address}/3", TIMEOUT)
    await right.start()
    assert right.available
    key = caller((1, 60))
    assert not (await Limiter(right, prefix).admit(key)).degraded
    other = Store(f"redis://:right@{address}/0", TIMEOUT)
    await other.start()
    name = key_name(prefix, key.key_id, "log")
    assert [await store.call("EXISTS", name) for store in (right, other)] == [1, 0]
    await other.stop()
    await right.stop()
    wrong = Store(f"redis://:wrong@{address}", TIMEOUT)
    await wrong.start()
    assert not wrong.available
    assert "WRONGPASS" in wrong.last_error
    assert "wrong@" not in wrong.last_error
    await wrong.stop()


async def test_a_replica_that_may_not_write(
    own_server: Server, fragile: Store, prefix: str, caller: Caller
) -> None:
    """An error answer: decided locally, and shown as away as long as it lasts."""
    limiter = Limiter(fragile, prefix)
    key = caller((10, 60))
    await fragile.call("REPLICAOF", "127.0.0.1", str(free_port()))
    assert (await limiter.admit(key)).degraded
    await eventually(lambda: not fragile.available)
    await fragile.call("REPLICAOF", "NO", "ONE")
    await eventually(lambda: fragile.available)
    assert not (await served(limiter, key)).degraded


class Sleeper(asyncio.Protocol):
    """Keeps the event loop busy for longer than the time-out with each thing it reads."""

    def data_received(self, data: bytes) -> None:
        time.sleep(0.6)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_busy_event_loop_is_not_an_outage(own_server: Server, loop: str) -> None:
    """uvloop runs timers before it reads: what had arrived in time must still count."""

    async def busy() -> None:
        store = Store(own_server.url, 0.2)
        await store.start()
        ours, other = socket.socketpair()
        transport, _ = await asyncio.get_running_loop().create_connection(Sleeper, sock=ours)
        for _ in range(5):
            answer = asyncio.create_task(store.call("PING"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)  # it is sent; the poll that comes next finds the sleeper first
            other.send(b"x")
            assert await answer == b"PONG"
        assert store.outages == 0
        transport.close()
        other.close()
        await store.stop()

    factory = pytest.importorskip("uvloop").new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(busy())


async def test_tls(tmp_path: Path, prefix: str, caller: Caller) -> None:
    """rediss://, verified against the URL's own authority; unverified only when asked for."""
    binary, openssl = server_binary("redis"), require("openssl")
    certificate, secret = tmp_path / "tls.crt", tmp_path / "tls.key"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(secret), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    server = Server(binary, tmp_path)
    port = free_port()
    tls = ["--tls-port", str(port), "--tls-auth-clients", "no"]
    tls += ["--tls-cert-file", str(certificate), "--tls-key-file", str(secret)]
    server.start(*tls)
    try:
        outcomes = {}
        for query in ("", f"?ssl_ca_certs={certificate}", "?ssl_cert_reqs=none"):
            store = Store(f"rediss://localhost:{port}/0{query}", 1)
            await store.start()
            outcomes[query[:14]] = store.available
            if store.available:
                assert not (await Limiter(store, prefix).admit(caller((5, 60)))).degraded
            await store.stop()
        assert outcomes == {"": False, "?ssl_ca_certs=": True, "?ssl_cert_reqs": True}
    finally:
        server.stop()


async def test_an_error_reaches_only_its_own_caller(fragile: Store) -> None:
    """Commands of one loop turn share a write, not their fate."""
    await fragile.call("SET", "text", "x")
    outcomes: list[Any] = await asyncio.gather(
        fragile.call("GET", "text"),
        fragile.call("LPUSH", "text", "y"),
        fragile.call("INCR", "number"),
        return_exceptions=True,
    )
    assert outcomes[0] == b"x"
    assert isinstance(outcomes[1], StoreError)
    assert outcomes[2] == 1
    assert fragile.available


async def test_a_caller_that_leaves_disturbs_nobody(fragile: Store) -> None:
    tasks = [asyncio.create_task(fragile.call("INCR", "n")) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    kept = await asyncio.gather(*tasks[1::2])
    assert kept == list(range(2, 21, 2))  # the left ones' commands were sent; answers still match


async def test_usage_is_kept_until_the_store_is_back(
    own_server: Server, fragile: Store, prefix: str, caller: Caller
) -> None:
    key = caller((100, 3600))
    ledger = Ledger(fragile, Limiter(fragile, prefix), prefix)
    await ledger.start()
    ledger.record(key.key_id, Usage(10, 5, 2), "gemma")
    assert (await ledger.usage(key)).all_time.total_tokens == 15
    # Frozen in the middle of a write: the server runs it later, and we send it again.
    own_server.signal(signal.SIGSTOP)
    for _ in range(10):
        ledger.record(key.key_id, Usage(1, 1), "gemma")
    await ledger.flush()
    ledger.record(key.key_id, Usage(1, 1), "gemma-2")
    report = await ledger.usage(key)
    assert report.degraded
    assert report.all_time.total_tokens == 22  # what this process still holds
    own_server.signal(signal.SIGCONT)
    end = time.monotonic() + 60
    while True:
        report = await ledger.usage(key)
        if not report.degraded and report.all_time.total_tokens >= 15 + 22:
            break
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
    assert report.all_time.total_tokens == 15 + 22  # each once
    assert report.all_time.calls == 12
    assert report.today == report.all_time
    assert report.all_time.models["gemma-2"].completion_tokens == 1
    await ledger.stop()


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    server_binary("valkey")
    found = EmbeddedStore(tmp_path / "store")
    await found.start()
    yield found
    await found.stop()


async def test_embedded_is_private(embedded: EmbeddedStore, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "valkey.sock").stat().st_mode & 0o777 == 0o600
    assert embedded.pid is not None
    assert os.getpgid(embedded.pid) != os.getpgid(0)  # Ctrl-C in the terminal isn't for it
    store = Store(embedded.url, 5)
    await store.start()
    assert await store.call("CONFIG", "GET", "port") == [b"port", b"0"]
    await store.stop()


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_embedded_counts_survive(
    tmp_path: Path, prefix: str, caller: Caller, how: str
) -> None:
    server_binary("valkey")
    key = caller((5, 3600))
    counted = []
    embedded = EmbeddedStore(tmp_path / "store")
    await embedded.start()
    for _ in range(2):
        store = Store(embedded.url, 5)
        await store.start()
        counted.append((await Limiter(store, prefix).admit(key)).states[0].remaining)
        await store.stop()
        if how == "killed":
            first = embedded.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await eventually(lambda old=first: embedded.pid not in {None, old})  # type: ignore[misc]
            await asyncio.sleep(0.3)
        else:
            await embedded.stop()
            await embedded.start()
    await embedded.stop()
    assert counted == [4, 3]


async def test_two_gateways_share_one_embedded_server(
    embedded: EmbeddedStore, tmp_path: Path, prefix: str, caller: Caller
) -> None:
    second = EmbeddedStore(tmp_path / "store")
    await second.start()
    assert second.pid is None  # it joined
    one, two = Store(embedded.url, 5), Store(second.url, 5)
    await one.start()
    await two.start()
    key = caller((3, 60))
    assert (await Limiter(one, prefix).admit(key)).states[0].remaining == 2
    assert (await Limiter(two, prefix).admit(key)).states[0].remaining == 1
    await one.stop()
    await embedded.stop()  # its server goes with it; the second takes over, counts and all
    await eventually(lambda: second.pid is not None)
    assert (await served(Limiter(two, prefix), key)).states[0].remaining == 0
    await two.stop()
    await second.stop()


ORPHAN = """
import asyncio, sys
from pathlib import Path
from gemma_gateway.storage.embedded import EmbeddedStore

async def main():
    store = EmbeddedStore(Path(sys.argv[1]))
    await store.start()
    print(store.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
async def test_embedded_ends_with_a_killed_gateway(tmp_path: Path) -> None:
    server_binary("valkey")
    command = [sys.executable, "-c", ORPHAN, str(tmp_path / "store")]
    gateway = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert gateway.stdout is not None
    server = int(gateway.stdout.readline())
    os.kill(server, 0)  # it lives
    gateway.kill()
    gateway.communicate()

    def gone() -> bool:
        try:
            state = Path(f"/proc/{server}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        return state == "Z"  # ended, and whoever adopts orphans here hasn't looked yet

    await eventually(gone)


async def test_embedded_says_why_it_does_not_start(tmp_path: Path) -> None:
    server_binary("valkey")
    broken = tmp_path / "store" / "appendonlydir"
    broken.parent.mkdir()
    broken.write_text("a file where a folder belongs")
    embedded = EmbeddedStore(tmp_path / "store")
    with pytest.raises(RuntimeError, match=r"valkey\.log"):
        await embedded.start()
    await embedded.stop()


async def test_embedded_in_a_very_deep_folder(tmp_path: Path) -> None:
    """Longer than a socket's path may be."""
    server_binary("valkey")
    embedded = EmbeddedStore(tmp_path / ("deep" * 30) / "store")
    store = Store(embedded.url, 5)  # as the gateway does: built first, started later
    await embedded.start()
    await store.start()
    assert store.available
    await store.stop()
    await embedded.stop()
