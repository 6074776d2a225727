"""Each rule made to fire and to resolve by real calls through two gateways that share a store; the
webhook hears of each exactly once."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.calls import ask, metrics, post
from tests.integration.conftest import Server, server_binary
from tests.process import AUTH, OPERATOR, OPERATOR_AUTH, Engine, Gateway
from tests.receiver import Receiver

SECRET = "shared-with-the-receiver"
PATIENCE = 180  # seconds; only a fault takes so long
MEMORY_MB = 200  # more than a gateway has, less than it has while it holds so many bodies
CONFIG = """
redis_prefix: fleet
tiers:
  small: {{windows: [{{limit: 2, seconds: 3600}}]}}
keys:
  - {{name: narrow, sha256: {narrow}, tier: small}}
alerts:
  interval_seconds: 0.1
  lease_seconds: 30
  resolve_seconds: 0.3
  timeout_seconds: 30
  webhooks:
    - {{name: oncall, url: "{url}", secret: {secret}}}
  rules:
    response_time: {{threshold: 2, calls: 4}}
    memory: {{threshold: {memory}, calls: 4}}
    success_rate: {{seconds: null, calls: 10}}
    upstream_errors: {{seconds: 6, calls: 4}}
    limited: {{seconds: 6, calls: 8}}
    filtered: {{seconds: 6, calls: 8}}
"""


@dataclass
class Fleet:
    """Two gateways, an engine of its own each time it matters, and who is told."""

    gateways: list[Gateway]
    receiver: Receiver

    async def call(self, count: int, text: str = "echo: hi", **script: Any) -> list[int]:
        """So many calls, by turns to both gateways; their statuses."""
        turns = itertools.islice(itertools.cycle(self.gateways), count)
        body = ask("chat", text, **({"loopback": script} if script else {}))
        return [(await post(gateway, "chat", body))[0] for gateway in turns]

    async def alerts(self, gateway: Gateway | None = None) -> dict[str, Any]:
        url = (gateway or self.gateways[0]).url + "/v1/monitoring/alerts"
        async with (
            aiohttp.ClientSession(headers=OPERATOR_AUTH) as session,
            session.get(url) as reply,
        ):
            assert reply.status == 200
            return dict(await reply.json())

    async def firing(self) -> set[str]:
        return {a["rule"] for a in (await self.alerts())["data"] if a["state"] == "firing"}

    async def until(self, rule: str, fires: bool) -> None:
        """Wait until a rule fires, or doesn't any more, and the webhook was told so."""
        end = time.monotonic() + PATIENCE
        state = "firing" if fires else "resolved"
        while (rule in await self.firing()) is not fires or not self.receiver.told()[rule, state]:
            assert time.monotonic() < end, (rule, await self.alerts(), self.receiver.told())
            await asyncio.sleep(0.05)

    async def drive(self, rule: str, fires: bool, call: Callable[[], Awaitable[object]]) -> None:
        """Call until a rule fires, or doesn't any more: of the calls of the last seconds there are
        enough then, however slow the machine."""
        end = time.monotonic() + PATIENCE
        while (rule in await self.firing()) is not fires:
            assert time.monotonic() < end, (rule, await self.alerts())
            await call()
            await asyncio.sleep(1)  # until it is written, and looked at
        await self.until(rule, fires)

    async def heal(self) -> None:
        """Good calls until nothing fires."""
        end = time.monotonic() + PATIENCE
        while True:
            assert set(await self.call(12)) == {200}
            await asyncio.sleep(0.7)
            if not (found := await self.firing()):
                return
            assert time.monotonic() < end, found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(server_binary("valkey"), tmp_path_factory.mktemp("store"))
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory, engine: Engine, shared: Server
) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with Receiver(SECRET) as receiver:
        config = folder / "gateway.yaml"
        config.write_text(
            CONFIG.format(
                narrow=hashlib.sha256(b"narrow").hexdigest(),
                url=receiver.url, secret=SECRET, memory=MEMORY_MB,
            )
        )  # fmt: skip
        settings: dict[str, object] = {
            "config": config,
            "upstreams": engine.url + "/v1",
            "redis_url": shared.url,
            "operator_keys": OPERATOR,
            "eject_after": 1000,
        }
        with (
            Gateway(folder / "a", **settings) as first,
            Gateway(folder / "b", **settings) as second,
        ):
            yield Fleet([first, second], receiver)


@pytest.fixture
async def fleet(pair: Fleet) -> AsyncIterator[Fleet]:
    """The two gateways with nothing firing, before and after; every note was trusted, and each
    state of each alert was told once."""
    await pair.heal()
    yield pair
    await pair.heal()
    notes = pair.receiver.notes()
    assert {note.status for note in notes} <= {200}
    ids = [note.doc["id"] for note in notes]
    assert len(ids) == len(set(ids))
    told = pair.receiver.told()
    assert all(told[rule, "firing"] == told[rule, "resolved"] for rule, _ in told)


async def test_slow_answers(fleet: Fleet) -> None:
    before = fleet.receiver.told()
    # At once, since they take long: what makes the machine slow doesn't take so long.
    body = ask("chat", "echo: hi", loopback={"wait": 2.5})
    slow = await asyncio.gather(*(post(gateway, "chat", body) for gateway in fleet.gateways * 2))
    assert [status for status, *_ in slow] == [200] * 4
    await fleet.until("response_time", fires=True)
    await fleet.call(4)
    await fleet.until("response_time", fires=False)
    await asyncio.sleep(0.5)
    told = fleet.receiver.told() - before
    assert told == {("response_time", "firing"): 1, ("response_time", "resolved"): 1}
    note = next(n.doc for n in fleet.receiver.notes() if n.doc["rule"] == "response_time")
    assert (note["severity"], note["threshold"]) == ("medium", 2)
    assert note["value"] > 2


async def test_few_tokens_a_second(fleet: Fleet) -> None:
    """The default bound, 5 tokens a second: one token in 0.25 s."""
    assert await fleet.call(10, pieces=["word"], delay=0.25) == [200] * 10
    await fleet.until("token_rate", fires=True)
    await fleet.call(10)
    await fleet.until("token_rate", fires=False)


async def test_one_failure_of_ten(fleet: Fleet) -> None:
    """The default bound, 95 %, and only this rule: one failure is no outage."""
    before = fleet.receiver.told()
    assert await fleet.call(1, status=500) == [503]
    assert await fleet.call(5) == [200] * 5
    await fleet.until("success_rate", fires=True)
    await fleet.call(10)
    await fleet.until("success_rate", fires=False)
    told = fleet.receiver.told() - before
    assert told["success_rate", "firing"] == told["success_rate", "resolved"] == 1
    assert told["no_success", "firing"] == 0


async def test_no_success_at_all(fleet: Fleet) -> None:
    assert await fleet.call(10, status=500) == [503] * 10
    await fleet.until("no_success", fires=True)
    await fleet.until("success_rate", fires=True)
    assert await fleet.call(1) == [200]
    await fleet.until("no_success", fires=False)
    assert "success_rate" in await fleet.firing()
    for gateway in fleet.gateways:  # both say the same, to Prometheus as well
        report = await fleet.alerts(gateway)
        assert {r["name"]: r["state"] for r in report["rules"]}["success_rate"] == "firing"
        end = time.monotonic() + PATIENCE  # what the last look has shown
        while 'gateway_alerts_firing{severity="high"} 1.0' not in await metrics(gateway):
            assert time.monotonic() < end
            await asyncio.sleep(0.05)


async def test_refusals_and_bad_requests_are_no_failures(fleet: Fleet) -> None:
    before = fleet.receiver.told()
    for _ in range(10):
        assert (await post(fleet.gateways[0], "chat", b"{"))[0] == 400
    await asyncio.sleep(1.5)
    assert await fleet.firing() == set()
    assert fleet.receiver.told() == before


async def test_a_failing_engine_is_named(fleet: Fleet, engine: Engine) -> None:
    async def fail() -> None:
        assert await fleet.call(8, status=500) == [503] * 8

    await fleet.drive("upstream_errors", True, fail)
    (found,) = [a for a in (await fleet.alerts())["data"]
                if a["rule"] == "upstream_errors" and a["state"] == "firing"]  # fmt: skip
    assert found["labels"] == {"upstream": f"127.0.0.1:{engine.port}"}
    errors = f'gateway_upstream_errors_total{{upstream="127.0.0.1:{engine.port}"}}'
    (counted,) = [
        float(line.split()[1])
        for line in (await metrics(fleet.gateways[0])).splitlines()
        if line.startswith(errors)
    ]
    assert counted >= 4
    await fleet.drive("upstream_errors", False, lambda: fleet.call(40))


async def test_a_saturated_limit(fleet: Fleet) -> None:
    narrow = {"Authorization": "Bearer narrow"}

    async def statuses() -> list[int]:
        return [
            (await post(gateway, "chat", ask("chat", "echo: hi"), narrow))[0]
            for gateway in fleet.gateways * 6
        ]

    assert await statuses() == [200] * 2 + [429] * 10
    await fleet.drive("limited", True, statuses)
    await fleet.drive("limited", False, lambda: fleet.call(40))


async def test_a_spike_of_filtered_calls(fleet: Fleet) -> None:
    streamed = ask("chat", "x", stream=True, loopback={"pieces": ["some", " violence", " here"]})

    async def spike() -> None:
        assert await fleet.call(5, "tell me about violence") == [400] * 5
        for _ in range(4):  # blocked on the way back: status 200, and counted all the same
            assert (await post(fleet.gateways[1], "chat", streamed))[0] == 200

    await fleet.drive("filtered", True, spike)
    await fleet.drive("filtered", False, lambda: fleet.call(40))


async def test_much_memory(fleet: Fleet) -> None:
    """Bodies that are held while their calls run; afterwards the memory is given back."""
    gateway = fleet.gateways[0]
    held = ask("chat", "echo: hi", metadata={"pad": "x" * 2_000_000}, loopback={"wait": 1000})

    async def call() -> int:
        """So many bodies of one key may not arrive at once: some have to come again."""
        while (status := (await post(gateway, "chat", held))[0]) == 429:
            await asyncio.sleep(0.1)
        return status

    async def look() -> None:
        """Memory is looked at once a second, by calls that end."""
        await fleet.call(4)
        await asyncio.sleep(0.1)

    calls = [asyncio.create_task(call()) for _ in range(60)]
    await fleet.drive("memory", True, look)
    for one in calls:
        assert not one.done()
        one.cancel()
    await asyncio.wait(calls)
    found = [n.doc for n in fleet.receiver.notes() if n.doc["rule"] == "memory"][-1]
    assert found["value"] > MEMORY_MB
    await fleet.drive("memory", False, look)


async def test_nobody_but_operators_sees_alerts(fleet: Fleet) -> None:
    url = fleet.gateways[0].url + "/v1/monitoring/alerts"
    for path in ("", "/silences", "/dead-letters"):
        async with aiohttp.ClientSession() as session:
            async with session.get(url + path, headers=AUTH) as reply:
                assert reply.status == 403
                assert (await reply.json())["error"]["gateway_code"] == "OPERATOR_REQUIRED"
            async with session.get(url + path) as reply:
                assert reply.status == 401
