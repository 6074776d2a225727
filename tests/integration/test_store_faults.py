"""Whatever is wrong with the store, health, readiness, metric and log say so, and when it is over.

Each fault is provoked on Redis 6.2, Redis 7 and Valkey at once, in front of a gateway that limits
by itself meanwhile and one that refuses.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import redis

from tests.calls import ask, post
from tests.integration.conftest import EVERY_SERVER, Server, server_binary
from tests.process import AUTH, OPERATOR, Engine, Gateway

WAIT = 60.0  # seconds; of a busy machine, and only where something is wrong
RIGHTS = "~gemma:* +@read +@write +eval +evalsha +ping +select +time"  # as the doctor advises
ALERTS = json.dumps(
    {
        "interval_seconds": 1,
        "resolve_seconds": 0,
        "rules": {
            "store_away": {"threshold": 0.5, "severity": "high"},
            "success_rate": {"enabled": False},
            "no_success": {"enabled": False},
        },
    }
)
USER = ("--user", "gateway", "on", ">pw", *RIGHTS.split())
TOLD = re.compile(r"store (?:unavailable|refuses): ")


@dataclass
class Rig:
    """One server, and a gateway for each way to do without it."""

    name: str
    server: Server
    folder: Path
    gateways: dict[str, Gateway]

    @property
    def admin(self) -> redis.Redis:
        """A connection of somebody who may do everything."""
        return redis.Redis(port=self.server.port, decode_responses=True)

    def ask(self, *commands: str) -> None:
        """Commands as redis-cli takes them."""
        with self.admin as admin:
            for command in commands:
                admin.execute_command(*command.split())


@pytest.fixture(scope="module")
def rigs(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[list[Rig]]:
    """All servers; tests leave them well."""
    with ExitStack() as stack:
        found = []
        for name in EVERY_SERVER:
            folder = tmp_path_factory.mktemp(name)
            server = Server(server_binary(name), folder)
            rig = Rig(name, server, folder, {})
            stack.callback(server.stop)
            rig.server.start(*USER)
            for mode in ("local", "deny"):
                rig.gateways[mode] = stack.enter_context(
                    Gateway(
                        folder / mode,
                        upstreams=engine.url + "/v1",
                        redis_url=f"redis://gateway:pw@127.0.0.1:{server.port}",
                        store_failure=mode,
                        store_timeout=1,  # a busy machine
                        alerts=ALERTS,
                        operator_keys=OPERATOR,
                    )
                )
            found.append(rig)
        yield found


# ---- what can go wrong


def user(change: str, back: str) -> tuple[Callable[[Rig], None], Callable[[Rig], None]]:
    """Rights that are missing."""
    return (
        lambda rig: rig.ask(f"ACL SETUSER gateway {change}"),
        lambda rig: rig.ask(f"ACL SETUSER gateway {back}"),
    )


def misconf(rig: Rig) -> None:
    """A snapshot can't be written: a folder stands where its file belongs."""
    (rig.folder / "dump.rdb").mkdir()
    with rig.admin as admin:
        admin.config_set("save", "3600 1000000")
        admin.execute_command("BGSAVE")
        _until(lambda: admin.info()["rdb_last_bgsave_status"] == "err")


def misconf_over(rig: Rig) -> None:
    (rig.folder / "dump.rdb").rmdir()
    with rig.admin as admin:
        admin.config_set("save", "")
        admin.execute_command("BGSAVE")
        _until(lambda: admin.info()["rdb_last_bgsave_status"] == "ok")
    (rig.folder / "dump.rdb").unlink()


def busy(rig: Rig) -> None:
    """Somebody's script doesn't end."""

    def run() -> None:
        with suppress(redis.RedisError), rig.admin as admin:
            admin.execute_command("EVAL", "while true do end", 0)

    rig.ask("CONFIG SET lua-time-limit 10")
    threading.Thread(target=run, daemon=True).start()


def busy_over(rig: Rig) -> None:
    rig.ask("SCRIPT KILL")
    with rig.admin as admin:
        _until(lambda: admin.config_set("lua-time-limit", 5000))  # the script ends soon


def loading(rig: Rig) -> None:
    """It was killed, and reads a large dump very slowly."""
    with rig.admin as admin:
        fill = "for n = 1, 300 do redis.call('SET', 'filler:' .. n, ARGV[1]) end"
        admin.config_set("rdbcompression", "no")
        admin.eval(fill, 0, "x" * 200_000)  # it answers after each 2 MB that it has loaded
        admin.save()
    rig.server.stop()
    rig.server.launch(*USER, "--key-load-delay", "40000")  # microseconds
    with rig.admin as admin:
        _until(lambda: admin.info()["loading"] == 1)


def loading_over(rig: Rig) -> None:
    with rig.admin as admin:
        _until(lambda: admin.info()["loading"] == 0)
        admin.flushall()
    (rig.folder / "dump.rdb").unlink()


def killed_over(rig: Rig) -> None:
    rig.server.stop()
    rig.server.start(*USER)


FAULTS: dict[str, tuple[Callable[[Rig], None], Callable[[Rig], None]]] = {
    "no right to the time": user("-time", "+time"),
    "no right to scripts": user("-eval -evalsha", "+eval +evalsha"),
    "no right to write": user("-@write", "+@write"),
    "no right to the keys": user("resetkeys ~other:*", "~gemma:*"),
    "out of memory": (
        lambda rig: rig.ask("CONFIG SET maxmemory 1"),
        lambda rig: rig.ask("CONFIG SET maxmemory 0"),
    ),
    "a replica": (
        lambda rig: rig.ask("REPLICAOF 127.0.0.1 1"),
        lambda rig: rig.ask("REPLICAOF NO ONE"),
    ),
    "a replica without its master": (
        lambda rig: rig.ask("CONFIG SET replica-serve-stale-data no", "REPLICAOF 127.0.0.1 1"),
        lambda rig: rig.ask("REPLICAOF NO ONE", "CONFIG SET replica-serve-stale-data yes"),
    ),
    "no replicas": (
        lambda rig: rig.ask("CONFIG SET min-replicas-to-write 1"),
        lambda rig: rig.ask("CONFIG SET min-replicas-to-write 0"),
    ),
    "snapshots fail": (misconf, misconf_over),
    "busy": (busy, busy_over),
    "loading": (loading, loading_over),
    "killed": (lambda rig: rig.server.signal(signal.SIGKILL), killed_over),
    "frozen": (
        lambda rig: rig.server.signal(signal.SIGSTOP),
        lambda rig: rig.server.signal(signal.SIGCONT),
    ),
}
# Redis 6.2 doesn't count replicas when a script writes: the limiter goes on, so nothing is wrong.
NO_FAULT = {("no replicas", "redis-6.2")}


# ---- what is told


@dataclass(frozen=True)
class Told:
    """What a gateway says of its store."""

    health: str
    errors: bool
    metric: float
    ready: bool
    alerts: float

    @classmethod
    async def by(cls, gateway: Gateway) -> Told:
        async with aiohttp.ClientSession() as session:
            async with session.get(gateway.url + "/health") as reply:
                report = await reply.json()
            async with session.get(gateway.url + "/metrics") as reply:
                text = await reply.text()
            async with session.get(gateway.url + "/health/ready") as reply:
                ready = reply.status == 200
        found = {}
        for name in ("gateway_store_available", 'gateway_alerts_firing{severity="high"}'):
            line = re.search(rf"^{re.escape(name)} (\S+)", text, re.M)
            assert line is not None
            found[name] = float(line[1])
        errors = any("store" in error for error in report["errors"])
        assert not errors or report["status"] != "healthy"
        available, alerts = found.values()
        return cls(report["store"], errors, available, ready, alerts)


async def answer(gateway: Gateway) -> tuple[int, str]:
    """Status and error code of a call."""
    status, raw, _ = await post(gateway, "chat", ask("chat", "echo: hi"))
    return status, "" if status == 200 else json.loads(raw)["error"]["gateway_code"]


async def _eventually(look: Callable[[], Awaitable[object]], wanted: object) -> None:
    end = time.monotonic() + WAIT
    while (found := await look()) != wanted:
        assert time.monotonic() < end, found
        await asyncio.sleep(0.05)


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        with suppress(redis.RedisError):  # not yet
            if condition():
                return
        time.sleep(0.02)
    raise AssertionError("it does not happen")


WELL = Told("available", False, 1.0, True, 0.0)
BROKEN = {
    "local": Told("unavailable", True, 0.0, True, 1.0),
    "deny": Told("unavailable", True, 0.0, False, 1.0),
}
ANSWERS = {"local": (200, ""), "deny": (503, "LIMIT_STORE_UNAVAILABLE")}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_told_and_its_end(rigs: list[Rig], fault: str) -> None:
    breaks, heals = FAULTS[fault]
    rigs = [rig for rig in rigs if (fault, rig.name) not in NO_FAULT]

    async def by_all(check: Callable[[str, Gateway], Awaitable[None]]) -> None:
        await asyncio.gather(*(check(*item) for rig in rigs for item in rig.gateways.items()))

    async def broken(mode: str, gateway: Gateway) -> None:
        await _eventually(lambda: Told.by(gateway), BROKEN[mode])
        await _eventually(lambda: answer(gateway), ANSWERS[mode])
        async with aiohttp.ClientSession(headers=AUTH) as session:
            await session.get(gateway.url + "/v1/usage")  # some of it works: that clears nothing
        await asyncio.sleep(0.6)  # longer than from one look to the next
        assert await Told.by(gateway) == BROKEN[mode]

    async def well(mode: str, gateway: Gateway) -> None:
        await _eventually(lambda: Told.by(gateway), WELL)
        await _eventually(lambda: answer(gateway), (200, ""))

    await by_all(well)
    before = {gateway: len(gateway.text()) for rig in rigs for gateway in rig.gateways.values()}
    await asyncio.gather(*(asyncio.to_thread(breaks, rig) for rig in rigs))
    try:
        await by_all(broken)
    finally:
        await asyncio.gather(*(asyncio.to_thread(heals, rig) for rig in rigs))
    await by_all(well)
    for gateway, length in before.items():
        news = gateway.text()[length:]
        assert len(TOLD.findall(news)) == 1, news
        assert news.count("store back") == 1, news


async def test_the_rights_that_are_advised_are_enough(rigs: list[Rig]) -> None:
    """Every part of a gateway that uses the store does so: nothing is refused."""

    async def use(gateway: Gateway) -> None:
        await _eventually(lambda: Told.by(gateway), WELL)
        before = await _failures(gateway)
        headers = {"Authorization": f"Bearer {OPERATOR}"}
        async with aiohttp.ClientSession(gateway.url, headers=headers) as session:
            async with session.post("/v1/keys", json={"name": "team"}) as reply:
                assert reply.status == 201
                made = await reply.json()
            assert (await session.patch(f"/v1/keys/{made['id']}", json={"name": "x"})).ok
            call = ask("chat", "echo: hi")
            auth = {"Authorization": f"Bearer {made['key']}"}
            async with session.post("/v1/chat/completions", json=call, headers=auth) as reply:
                assert reply.status == 200
                said = {"response_id": reply.headers["x-request-id"], "score": 1}

            async def rate() -> bool:  # the call is known a moment after its answer
                return (await session.post("/v1/feedback", json=said, headers=auth)).ok

            await _eventually(rate, True)
            assert (await session.get("/v1/usage", headers=auth)).ok
            silence = {"rule": "memory", "seconds": 1}
            assert (await session.post("/v1/monitoring/alerts/silences", json=silence)).ok
            for path in ("performance", "series", "calls", "usage", "export", "quality", "alerts"):
                reply = await session.get(f"/v1/monitoring/{path}")
                assert reply.ok, path
                assert b'"degraded":true' not in await reply.read(), path
            assert (await session.delete(f"/v1/keys/{made['id']}")).ok
        await asyncio.sleep(1.2)  # every part writes twice a second
        assert await _failures(gateway) == before

    await asyncio.gather(*(use(gateway) for rig in rigs for gateway in rig.gateways.values()))


async def _failures(gateway: Gateway) -> float:
    async with aiohttp.ClientSession() as session:
        text = await (await session.get(gateway.url + "/metrics")).text()
    found = re.search(r"^gateway_store_failures_total (\S+)", text, re.M)
    assert found is not None
    return float(found[1])
