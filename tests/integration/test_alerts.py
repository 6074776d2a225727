"""Alerts when something breaks: the leader, the receiver, the store; and what operators may send.

Whole gateways, real stores; each test has its own, and a receiver that counts.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gemma_gateway.alerts.service import Alerts
from gemma_gateway.core.record import Record
from gemma_gateway.monitoring.records import RequestLog
from gemma_gateway.settings.alerts import AlertSettings
from gemma_gateway.storage.redis import Store
from tests.calls import ask, metrics, post
from tests.integration.conftest import Server, server_binary
from tests.loopback import Loopback
from tests.process import AUTH, OPERATOR, OPERATOR_AUTH, Engine, Gateway, free_port
from tests.receiver import Receiver
from tests.waiting import until

SECRET = "shared-with-the-receiver"
ALERTS = "/v1/monitoring/alerts"
FIRED, OVER = ("success_rate", "firing"), ("success_rate", "resolved")
AWAY, BACK = ("store_away", "firing"), ("store_away", "resolved")
# Longer than the machine stalls; a store that is away is noticed after 4 s all the same.
SOON = {"store_away": {"threshold": 3}}
LONG = 60  # seconds: a lease that no stall of its holder ends
Start = Callable[..., Gateway]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Server]:
    """A store that the test may break."""
    found = Server(server_binary("valkey"), tmp_path)
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(SECRET) as found:
        yield found


@pytest.fixture
def start(tmp_path: Path, engine: Engine, store: Server, receiver: Receiver) -> Iterator[Start]:
    """Starts gateways that share the store and tell the receiver; keywords go into ``alerts``, but
    for those of their engine."""
    with ExitStack() as stack:

        def start(
            upstreams: str = engine.url + "/v1",
            eject_after: int = 1000,
            ready: str = "/health/ready",
            **alerts: Any,
        ) -> Gateway:
            webhook = {"name": "oncall", "url": receiver.url, "secret": SECRET}
            alerts = {
                "interval_seconds": 0.1,
                "lease_seconds": 1,
                "resolve_seconds": 0.5,
                "retry_seconds": 0.1,
                "timeout_seconds": 10,  # an answer that comes late makes a second delivery
                "webhooks": [webhook],
                **alerts,
                "rules": {
                    "success_rate": {"seconds": None, "calls": 10},
                    # Tests fail every call, slow machines are slow, and one rule is counted.
                    "no_success": {"enabled": False},
                    "token_rate": {"enabled": False},
                    "upstream_errors": {"enabled": False},
                    **alerts.get("rules", {}),
                },
            }
            gateway = Gateway(
                tmp_path / f"gateway-{time.monotonic_ns()}",
                alerts=json.dumps(alerts),
                upstreams=upstreams,
                redis_url=store.url,
                store_timeout=2,  # the machine is busy
                operator_keys=OPERATOR,
                eject_after=eject_after,
                ready=ready,
                health_interval=2,  # and no check waits longer
            )
            return stack.enter_context(gateway)

        yield start


async def fail(gateway: Gateway, count: int = 10) -> None:
    """Calls that the engine fails."""
    for _ in range(count):
        assert (await post(gateway, "chat", ask("chat", "x", loopback={"status": 500})))[0] == 503


async def succeed(gateway: Gateway, count: int = 10) -> None:
    for _ in range(count):
        assert (await post(gateway, "chat", ask("chat", "echo: hi")))[0] == 200


async def api(
    gateway: Gateway, path: str = "", method: str = "GET", body: Any = None,
    headers: dict[str, str] = OPERATOR_AUTH,
) -> tuple[int, Any]:  # fmt: skip
    """Status and JSON of a call to the alert routes."""
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession(headers={"content-type": "application/json"} | headers) as session,
        session.request(method, gateway.url + ALERTS + path, data=data) as reply,
    ):
        raw = await reply.read()
        return reply.status, json.loads(raw) if raw else None


async def leads(gateway: Gateway) -> bool:
    return "gateway_alerts_leader 1.0" in await metrics(gateway)


async def ranked(*gateways: Gateway) -> list[Gateway]:
    """The one that leads, then the others."""
    leading: list[Gateway] = []

    async def one() -> bool:
        leading[:] = [gateway for gateway in gateways if await leads(gateway)]
        return len(leading) == 1

    await until(one)
    return leading + [gateway for gateway in gateways if gateway not in leading]


async def joined(store: Server, *gateways: Gateway) -> None:
    """Wait until all of them have looked at the store: what they know of it is the same."""
    told = b":%d\r\n" % len(gateways)
    await until(lambda: store.ask(b"HLEN gemma:{alerts}:conditions") == told)


async def led(start: Start, store: Server, count: int, **alerts: Any) -> list[Gateway]:
    """Gateways of which the first one leads, and goes on to lead however late it looks."""
    leader = start(lease_seconds=LONG, **alerts)
    await until(lambda: leads(leader))
    found = [leader, *(start(**alerts) for _ in range(count - 1))]
    await joined(store, *found)
    return found


async def results(*gateways: Gateway) -> Counter[str]:
    """Attempts to notify, of all gateways together."""
    found: Counter[str] = Counter()
    for gateway in gateways:
        text = await metrics(gateway)
        for result, number in re.findall(
            r'^gateway_alert_notifications_total{result="(\w+)"} (\S+)$', text, re.M
        ):
            found[result] += int(float(number))
    return found


# ---- the leader


@pytest.mark.parametrize("how", ["killed", "frozen", "stopped"])
async def test_another_gateway_takes_over_and_tells_nothing_twice(
    start: Start, store: Server, receiver: Receiver, how: str
) -> None:
    leader = start(lease_seconds=2)
    await until(lambda: leads(leader))
    other = start(lease_seconds=LONG)  # what it has it keeps, however late it looks
    await fail(other)
    await until(lambda: receiver.told()[FIRED])
    # Settled, too: who dies before leaves it to be told again.
    await until(lambda: store.ask(b"ZCARD gemma:{alerts}:outbox") == b":0\r\n")
    if how == "stopped":
        await asyncio.to_thread(leader.stop)
    else:
        number = signal.SIGKILL if how == "killed" else signal.SIGSTOP
        assert leader.child is not None
        leader.child.send_signal(number)
    try:
        await until(lambda: leads(other))
        await asyncio.sleep(1)
        assert receiver.told() == {FIRED: 1}
        await succeed(other)
        await until(lambda: receiver.told()[OVER])
    finally:
        if how == "frozen":
            leader.child.send_signal(signal.SIGCONT)  # back in the belief that it leads
    if how == "frozen":
        assert await ranked(leader, other) == [other, leader]
    await asyncio.sleep(1)
    assert receiver.told() == {FIRED: 1, OVER: 1}
    assert await leads(other)
    if how == "frozen":
        assert not await leads(leader)


async def test_what_the_leader_left_undelivered_is_delivered(
    start: Start, receiver: Receiver
) -> None:
    receiver.status = 500
    leader, other = await ranked(start(attempts=20), start(attempts=20))
    await fail(other)
    await until(lambda: tried(leader, other))
    leader.kill()
    receiver.status = 200
    await until(lambda: receiver.told()[FIRED])
    await asyncio.sleep(1)
    assert receiver.told() == {FIRED: 1}
    assert {note.headers["x-gateway-delivery"] for note in receiver.notes()} == {
        receiver.notes()[0].doc["id"]
    }


async def tried(*gateways: Gateway) -> bool:
    return (await results(*gateways))["failed"] > 2


async def test_long_waits_in_the_engine(store: Server, receiver: Receiver, prefix: str) -> None:
    """Only an engine in process tells them (tests/e2e does it with vLLM); here the records are made
    by hand, and written and read as always."""
    client = Store(store.url, 5)
    await client.start()
    request_log = RequestLog(client, prefix)
    settings = AlertSettings(
        interval_seconds=0.1,
        lease_seconds=1,
        resolve_seconds=0.2,
        timeout_seconds=30,
        rules={"queue_time": {"seconds": 600}},
        webhooks=[{"name": "oncall", "url": receiver.url, "secret": SECRET}],
    )
    later = 0.0

    def clock() -> float:
        return time.time() + later

    alerts = Alerts(settings, client, prefix, request_log, clock=clock)
    await request_log.start()
    await alerts.start()
    for number in range(10):
        request_log.add(
            Record(
                time.time(), f"{number}", "r", "k" * 64, "default", "/v1/messages", "m", False, 200,
                "ok", 9.0, queue_time=6.0, output_tokens=900,
            )
        )  # fmt: skip
    await until(lambda: receiver.told()["queue_time", "firing"])
    assert alerts.firing == 1
    later = 600.0  # so long without such calls
    await until(lambda: receiver.told()["queue_time", "resolved"])
    await alerts.stop()
    await request_log.stop()
    await client.stop()
    assert receiver.told() == {("queue_time", "firing"): 1, ("queue_time", "resolved"): 1}


# ---- the receiver


async def test_a_failed_delivery_is_tried_again(start: Start, receiver: Receiver) -> None:
    receiver.answers.extend([500, 429])
    gateway = start()
    await fail(gateway)
    await until(lambda: receiver.told()[FIRED])

    async def counted() -> bool:
        return (await results(gateway))["delivered"] == 1

    await until(counted)
    await asyncio.sleep(0.5)
    first, second, third = receiver.notes()
    assert [n.status for n in (first, second, third)] == [500, 429, 200]
    assert first.doc["id"] == second.doc["id"] == third.doc["id"]
    assert second.time - first.time >= 0.05
    assert (await results(gateway)) == {"delivered": 1, "failed": 2, "dead": 0}
    assert first.path == "/hook?x=1"
    assert first.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("trouble", "error"),
    [("500", "status 500"), ("302", "status 302"), ("silent", "no answer in 2 s"),
     ("closed", "no connection"), ("wrong secret", "status 401")],
)  # fmt: skip
async def test_what_cannot_be_delivered_becomes_a_dead_letter(
    start: Start, receiver: Receiver, trouble: str, error: str
) -> None:
    if trouble == "silent":
        receiver.wait = 60
    elif trouble == "wrong secret":
        receiver.secret = "another"
    elif trouble == "closed":
        receiver.__exit__(None, None, None)
    else:
        receiver.status = int(trouble)
    gateway = start(attempts=2, timeout_seconds=2 if trouble == "silent" else 10)
    await fail(gateway)

    async def dead() -> list[Any]:
        return list((await api(gateway, "/dead-letters"))[1]["data"])

    await until(dead)
    (letter,) = await dead()
    assert (letter["webhook"], letter["attempts"], letter["error"]) == ("oncall", 2, error)
    assert letter["alert"]["rule"] == "success_rate"
    assert {n.path for n in receiver.notes()} <= {"/hook?x=1"}  # no redirect was followed
    assert (await results(gateway)) == {"delivered": 0, "failed": 1, "dead": 1}
    shown = json.dumps(await api(gateway)) + json.dumps(letter) + gateway.text()
    assert SECRET not in shown
    assert str(receiver.port) not in shown


async def test_what_failed_is_replaced_by_the_next_state(start: Start, receiver: Receiver) -> None:
    """Nobody is told that it fires once it is over."""
    receiver.status = 500
    gateway = start(attempts=20, retry_seconds=0.5)
    await fail(gateway)
    await until(lambda: len(receiver.notes()) >= 1)
    await succeed(gateway)
    await until(lambda: over(gateway))
    # Once its end is tried, no attempt to tell its beginning is still on its way.
    await until(lambda: receiver.notes()[-1].doc["state"] == "resolved")
    receiver.status = 200
    await until(lambda: receiver.told()[OVER])
    await asyncio.sleep(1)
    assert receiver.told() == {OVER: 1}


async def over(gateway: Gateway) -> bool:
    """Whether something is over and nothing fires."""
    states = {alert["state"] for alert in (await api(gateway))[1]["data"]}
    return states == {"resolved"}


async def fires(gateway: Gateway) -> bool:
    return any(alert["state"] == "firing" for alert in (await api(gateway))[1]["data"])


async def test_slack_s_body_and_the_least_severity(start: Start, receiver: Receiver) -> None:
    receiver.secret = ""
    chat = {"name": "chat", "url": receiver.url, "format": "slack", "min_severity": "high"}
    rules = {"token_rate": {"threshold": 1e6, "calls": 5}}  # low: it fires, and is not sent there
    gateway = start(webhooks=[chat], rules=rules)
    await succeed(gateway, 5)
    await until(lambda: fires(gateway))
    await fail(gateway)
    await until(receiver.notes)
    await asyncio.sleep(0.5)
    _, report = await api(gateway)
    assert {a["rule"] for a in report["data"]} == {"token_rate", "success_rate"}
    (note,) = receiver.notes()
    assert note.doc["text"] == "*[high] Too few calls succeed*"
    assert note.doc["attachments"][0]["text"].startswith("Share of successes among the last 10")


# ---- silences


async def test_silenced_rules_are_not_told(start: Start, receiver: Receiver) -> None:
    leader, other = await ranked(start(), start())
    wanted = {"rule": "success_rate", "seconds": 3600, "comment": "planned"}
    status, made = await api(other, "/silences", "POST", wanted)
    assert status == 201
    assert (made["rule"], made["comment"], made["created_by"]) == (
        "success_rate", "planned", "operator-1",
    )  # fmt: skip
    assert (await api(leader, "/silences"))[1]["data"] == [made]
    await fail(leader)
    await until(lambda: fires(other))
    (alert,) = (await api(other))[1]["data"]
    assert (alert["state"], alert["silenced_until"]) == ("firing", made["ends_at"])
    await asyncio.sleep(0.5)
    assert receiver.notes() == []
    # The silence ends while it fires: now it is told, and so is its end, silenced or not.
    assert (await api(other, f"/silences/{made['id']}", "DELETE")) == (204, None)
    await until(lambda: receiver.told()[FIRED])
    assert (await api(other, "/silences", "POST", wanted))[0] == 201
    await succeed(leader)
    await until(lambda: receiver.told()[OVER])
    # Silenced from its beginning to its end: nothing is told.
    await fail(leader)
    await until(lambda: fires(other))
    await succeed(leader)
    await until(lambda: over(other))
    await asyncio.sleep(0.5)
    assert receiver.told() == {FIRED: 1, OVER: 1}
    assert len((await api(other))[1]["data"]) == 2
    assert len((await api(other, "?limit=1"))[1]["data"]) == 1


async def test_a_silence_ends_by_itself(start: Start, receiver: Receiver) -> None:
    gateway = start()
    _, long = await api(gateway, "/silences", "POST", {"rule": "success_rate", "seconds": 3600})
    await fail(gateway)
    await until(lambda: fires(gateway))
    _, short = await api(gateway, "/silences", "POST", {"rule": "success_rate", "seconds": 2})
    await api(gateway, f"/silences/{long['id']}", "DELETE")
    await until(lambda: receiver.told()[FIRED])
    assert receiver.notes()[0].time >= datetime.fromisoformat(short["ends_at"]).timestamp()
    assert (await api(gateway, "/silences"))[1]["data"] == []


GOOD = {"rule": "memory", "seconds": 3600}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (GOOD | {"rule": "no such rule"}, "rule"),
        (GOOD | {"rule": 5}, "rule"),
        (GOOD | {"rule": "x" * 41}, "rule"),
        ({"seconds": 60}, "rule"),
        (GOOD | {"seconds": 0}, "seconds"),
        (GOOD | {"seconds": -1}, "seconds"),
        (GOOD | {"seconds": 1e12}, "seconds"),
        (b'{"rule": "memory", "seconds": NaN}', None),
        (b'{"rule": "memory", "seconds": Infinity}', None),
        (GOOD | {"seconds": "soon"}, "seconds"),
        (GOOD | {"comment": "x" * 201}, "comment"),
        (GOOD | {"comment": {}}, "comment"),
        (b'{"rule": "memory", "seconds": 60, "comment": "\\ud800"}', None),
        (GOOD | {"by": "somebody else"}, "by"),
        ([], None),
        (b"{", None),
        (b"\xff", None),
        (b"", None),
    ],
)  # fmt: skip
async def test_a_silence_that_is_none(shared_gateway: Gateway, body: Any, param: str) -> None:
    status, doc = await api(shared_gateway, "/silences", "POST", body)
    assert status == 400
    assert doc["error"]["gateway_code"] == "VALIDATION_ERROR"
    if param is not None:
        assert doc["error"]["param"] == param


async def test_a_silence_that_is_too_large(shared_gateway: Gateway) -> None:
    body = GOOD | {"comment": "x" * 1_000_000}
    status, doc = await api(shared_gateway, "/silences", "POST", body)
    assert (status, doc["error"]["gateway_code"]) == (413, "REQUEST_TOO_LARGE")


@pytest.mark.parametrize("limit", ["-1", "201", "many", "1e3", "%00", ""])
async def test_a_limit_that_is_none(shared_gateway: Gateway, limit: str) -> None:
    status, doc = await api(shared_gateway, f"?limit={limit}")
    assert (status, doc["error"]["param"]) == (400, "limit")


@pytest.mark.parametrize("silence", ["0" * 16, "x", "%ff", "%00", "*", "a" * 5000])
async def test_no_such_silence(shared_gateway: Gateway, silence: str) -> None:
    status, doc = await api(shared_gateway, f"/silences/{silence}", "DELETE")
    assert (status, doc["error"]["gateway_code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "method"),
    [("", "GET"), ("/silences", "GET"), ("/silences", "POST"), ("/dead-letters", "GET"),
     ("/silences/0123456789abcdef", "DELETE")],
)  # fmt: skip
async def test_operators_only(shared_gateway: Gateway, path: str, method: str) -> None:
    """Whatever else is wrong with the request."""
    status, doc = await api(shared_gateway, path, method, None, AUTH)
    assert (status, doc["error"]["gateway_code"]) == (403, "OPERATOR_REQUIRED")
    assert (await api(shared_gateway, path, method, None, {}))[0] == 401


async def test_silences_are_bounded(shared_gateway: Gateway) -> None:
    made = [await api(shared_gateway, "/silences", "POST", GOOD) for _ in range(101)]
    assert Counter(status for status, _ in made) == {201: 100, 400: 1}
    for status, doc in made:
        if status == 201:
            await api(shared_gateway, f"/silences/{doc['id']}", "DELETE")


@pytest.fixture(scope="module")
def shared_gateway(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[Gateway]:
    """One gateway, with an embedded store, for tests that break nothing."""
    folder = tmp_path_factory.mktemp("alerts")
    with Gateway(folder, upstreams=engine.url + "/v1", operator_keys=OPERATOR) as process:
        yield process


# ---- the store


async def test_the_store_away_is_told_once_by_all_and_its_end_too(
    start: Start, store: Server, receiver: Receiver
) -> None:
    gateways = await led(start, store, 3, rules=SOON)
    store.signal(signal.SIGSTOP)
    await until(lambda: receiver.told()[AWAY])
    for gateway in gateways:  # each one says so itself
        await until(lambda gateway=gateway: away(gateway))
    assert (await api(gateways[1], "/silences"))[0] == 503
    assert (await api(gateways[1], "/silences", "POST", GOOD))[0] == 503
    await asyncio.sleep(1)
    assert receiver.told() == {AWAY: 1}
    store.signal(signal.SIGCONT)
    await until(lambda: receiver.told()[BACK])
    for gateway in gateways:
        await until(lambda gateway=gateway: well(gateway))
    await asyncio.sleep(3)  # the others find it written down: after two leases
    assert receiver.told() == {AWAY: 1, BACK: 1}
    for gateway in gateways:
        assert await well(gateway)
    _, report = await api(gateways[0])
    assert {n.doc["alert_id"] for n in receiver.notes()} == {report["data"][0]["id"]}
    # The next outage is another alert.
    store.signal(signal.SIGSTOP)
    await until(lambda: receiver.told()[AWAY] == 2)
    store.signal(signal.SIGCONT)
    await until(lambda: receiver.told()[BACK] == 2)
    assert len({n.doc["id"] for n in receiver.notes()}) == 4


async def away(gateway: Gateway) -> bool:
    """Whether a gateway says by itself that the store is unavailable."""
    status, report = await api(gateway)
    rules = {rule["name"]: rule["state"] for rule in report["rules"]}
    found = [(a["rule"], a["state"]) for a in report["data"]]
    return (
        status == 200
        and report["degraded"] is True
        and found == [AWAY]
        and rules["store_away"] == "firing"
        and await seen(gateway)
    )


async def well(gateway: Gateway) -> bool:
    """Whether it says that the store was away, and is there again."""
    _, report = await api(gateway)
    found = [(a["rule"], a["state"]) for a in report["data"]]
    return found == [BACK] and report["degraded"] is False


async def test_where_the_leader_goes_with_the_store_another_one_tells(
    start: Start, store: Server, receiver: Receiver
) -> None:
    settings = {"holdback_seconds": 1, "rules": SOON}
    leader, other = await ranked(start(**settings), start(**settings))
    await joined(store, leader, other)
    leader.kill()
    store.signal(signal.SIGSTOP)
    await until(lambda: receiver.told()[AWAY])
    store.signal(signal.SIGCONT)
    await until(lambda: receiver.told()[BACK])
    await asyncio.sleep(1)
    assert receiver.told() == {AWAY: 1, BACK: 1}


async def test_repetitions_have_the_same_id(
    start: Start, store: Server, receiver: Receiver
) -> None:
    """Without a hold-back all tell; a receiver that looks at the id counts one."""
    patient = {"holdback_seconds": 0, "timeout_seconds": 30, "rules": SOON}
    await led(start, store, 3, **patient)
    store.signal(signal.SIGSTOP)
    await until(lambda: receiver.told()[AWAY] == 3)
    assert len({n.doc["id"] for n in receiver.notes()}) == 1
    store.signal(signal.SIGCONT)
    await until(lambda: receiver.told()[BACK])
    await asyncio.sleep(3)
    assert receiver.told() == {AWAY: 3, BACK: 1}


async def test_a_short_absence_is_nothing(start: Start, store: Server, receiver: Receiver) -> None:
    gateway = start(rules={"store_away": {"threshold": 60}})

    async def degraded(wanted: bool) -> bool:
        return (await api(gateway))[1]["degraded"] is wanted

    await joined(store, gateway)
    store.signal(signal.SIGSTOP)
    await until(lambda: degraded(True))
    store.signal(signal.SIGCONT)
    await until(lambda: degraded(False))
    await asyncio.sleep(1)
    assert receiver.notes() == []
    assert (await api(gateway))[1]["data"] == []


async def test_a_store_that_loses_everything(
    start: Start, store: Server, receiver: Receiver
) -> None:
    """Restarted without its data: what fired goes on firing, told once; the outage ends."""
    lasting = {"lease_seconds": LONG, "rules": SOON}
    gateway, other = await ranked(start(**lasting), start(**lasting))
    await fail(gateway)
    await until(lambda: receiver.told()[FIRED])
    await until(lambda: seen(gateway))
    await until(lambda: seen(other))
    store.stop()
    await until(lambda: receiver.told()[AWAY])
    store.start()
    await until(lambda: receiver.told()[BACK])
    await succeed(gateway, 15)
    await until(lambda: receiver.told()[OVER])
    await asyncio.sleep(1)
    assert receiver.told() == {FIRED: 1, OVER: 1, AWAY: 1, BACK: 1}


async def seen(gateway: Gateway) -> bool:
    """Whether it knows by itself of one alert that fires."""
    return 'gateway_alerts_firing{severity="high"} 1.0' in await metrics(gateway)


# ---- the engines


async def test_an_engine_that_goes_away_is_told_without_a_call(
    start: Start, receiver: Receiver
) -> None:
    """Of all gateways once; the messages say what is wrong, and then what is right."""
    port = free_port()
    rules = {"no_engine": {"threshold": 1}, "upstream_ejected": {"threshold": 0.5}}
    down, back = ("upstream_ejected", "firing"), ("upstream_ejected", "resolved")
    none, some = ("no_engine", "firing"), ("no_engine", "resolved")
    settings = {"upstreams": f"http://127.0.0.1:{port}/v1", "eject_after": 2, "rules": rules}
    settings |= {"lease_seconds": LONG}  # for so long the leader remembers how the others are
    async with Loopback(port=port):
        started = [await asyncio.to_thread(start, **settings) for _ in range(2)]
        gateways = await ranked(*started)
        await until(lambda: served(gateways))
    await until(lambda: receiver.told()[none] and receiver.told()[down])
    for gateway in gateways:
        firing = [a for a in (await api(gateway))[1]["data"] if a["state"] == "firing"]
        assert {a["title"] for a in firing} == {"No engine is ready", "An engine server is down"}
    async with Loopback(port=port):
        await until(lambda: receiver.told()[some] and receiver.told()[back])
    assert receiver.told() == {none: 1, down: 1, some: 1, back: 1}
    said = {(n.doc["rule"], n.doc["state"]): n.doc["message"] for n in receiver.notes()}
    assert re.fullmatch(
        rf"Engine server 127.0.0.1:{port} has been ejected for [\d.]+ s: connection refused\.",
        said[down],
    )
    assert said[back] == f"Engine server 127.0.0.1:{port} takes calls again."
    assert re.fullmatch(r"No gateway has had an engine that takes calls for [\d.]+ s\.", said[none])
    assert said[some] == "An engine takes calls again."


async def served(gateways: list[Gateway]) -> bool:
    pages = [await metrics(gateway) for gateway in gateways]
    return all("gateway_engine_ready 1.0" in page for page in pages)


async def test_one_gateway_with_an_engine_is_enough(start: Start, receiver: Receiver) -> None:
    rules = {"no_engine": {"threshold": 1}, "upstream_ejected": {"threshold": 0.2}}
    nobody = f"http://127.0.0.1:{free_port()}/v1"
    well = start(lease_seconds=LONG, rules=rules)  # a silent gateway counts no more after a lease
    start(lease_seconds=LONG, rules=rules, upstreams=nobody, ready="/health/live")
    await until(lambda: receiver.told()["upstream_ejected", "firing"])
    firing = {a["rule"] for a in (await api(well))[1]["data"]}
    assert firing == {"upstream_ejected"}


async def test_a_rule_that_is_no_more_ends_its_alert(start: Start, receiver: Receiver) -> None:
    gateway = start()
    await fail(gateway)
    await until(lambda: receiver.told()[FIRED])
    await asyncio.to_thread(gateway.stop)
    start(rules={"success_rate": {"enabled": False}})
    await until(lambda: receiver.told()[OVER])
