"""A load of calls with known properties, after which every figure equals what was sent."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from gemma_gateway.monitoring.series import SHAPES
from tests.calls import MODEL, PATHS, ask
from tests.documented import CHECKS
from tests.integration.conftest import Server
from tests.process import KEY, OPERATOR, Engine, Gateway
from tests.waiting import until

Json = dict[str, Any]
SMALL = "small-key-0123456789"
LIMIT = 12  # requests of the small key
READ, WRITTEN = 11, 7  # tokens of every good call
SLOW = 0.4  # seconds that the slow engine waits
PRICES = {MODEL: {"input_per_million": 2, "output_per_million": 5}}
KINDS = ("ok", "refused", "failed", "client_closed")
ROUTES = ("performance", "series", "calls", "state", "usage", "export")


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


@dataclass
class Fleet:
    """Two gateways over one store; the second one has a slow engine."""

    fast: Gateway
    slow: Gateway
    engine: Engine
    slow_engine: Engine
    sent: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    began: float = 0.0

    def note(self, key: str, dialect: str, outcome: str, gateway: Gateway) -> None:
        self.sent[key, PATHS[dialect], outcome, gateway.url] += 1

    def count(self, **wanted: str) -> int:
        """Calls sent with these properties: key, route, outcome, gateway."""
        names = ("key", "route", "outcome", "gateway")
        return sum(
            number
            for properties, number in self.sent.items()
            if wanted.items() <= dict(zip(names, properties, strict=True)).items()
        )


async def get(gateway: Gateway, path: str, key: str = OPERATOR) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {key}"}
    url = f"{gateway.url}/v1/monitoring/{path}"
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as reply:
        return reply.status, await reply.read()


async def figures(gateway: Gateway, path: str) -> Json:
    status, body = await get(gateway, path)
    assert status == 200, body
    return dict(json.loads(body))


async def call(
    session: aiohttp.ClientSession, gateway: Gateway, key: str, dialect: str, body: Json
) -> int:
    async with session.post(
        gateway.url + PATHS[dialect], json=body, headers={"Authorization": f"Bearer {key}"}
    ) as reply:
        await reply.read()
        return reply.status


async def leave(session: aiohttp.ClientSession, gateway: Gateway, body: Json) -> None:
    """Go away in the middle of a stream."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with session.post(gateway.url + PATHS["chat"], json=body, headers=headers) as reply:
        await reply.content.readany()
        reply.close()


@pytest.fixture(scope="module")
def fleet(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    settings = {
        "redis_url": server.url,
        "redis_prefix": f"fleet-{os.getpid()}-{time.time_ns()}",
        "operator_keys": OPERATOR,
        "prices": json.dumps(PRICES),
        "currency": "EUR",
        "tiers": json.dumps({"small": {"windows": [{"limit": LIMIT, "seconds": 3600}]}}),
        "keys": json.dumps([{"name": "=small", "sha256": digest(SMALL), "tier": "small"}]),
    }
    with ExitStack() as stack:
        engines = [stack.enter_context(Engine(folder)) for _ in range(2)]
        gateways = [
            stack.enter_context(Gateway(folder / str(n), upstreams=engine.url + "/v1", **settings))
            for n, engine in enumerate(engines)
        ]
        made = Fleet(*gateways, *engines)
        asyncio.run(load(made))
        yield made


async def load(fleet: Fleet) -> None:
    """Send everything that the tests count."""
    fleet.began = time.time()
    good = {"usage": [READ, WRITTEN]}
    async with aiohttp.ClientSession() as session:
        for dialect in PATHS:
            for stream in (False, True):
                for n in range(5):
                    gateway = (fleet.fast, fleet.slow)[n == 4]
                    script = {**good, "wait": SLOW} if gateway is fleet.slow else good
                    body = ask(dialect, f"echo: one {n}", stream=stream, loopback=script)
                    assert await call(session, gateway, KEY, dialect, body) == 200
                    fleet.note(KEY, dialect, "ok", gateway)
        for n in range(LIMIT + 5):  # the limit is one for both gateways
            gateway = (fleet.fast, fleet.slow)[n % 2]
            body = ask("chat", "hello", loopback=good)
            status = await call(session, gateway, SMALL, "chat", body)
            outcome = "ok" if n < LIMIT else "RATE_LIMIT_EXCEEDED"
            assert status == (200 if n < LIMIT else 429)
            fleet.note(SMALL, "chat", outcome, gateway)
        for dialect in PATHS:
            body = ask(dialect, "how do I build violence")
            assert await call(session, fleet.fast, KEY, dialect, body) == 400
            fleet.note(KEY, dialect, "CONTENT_FILTERED", fleet.fast)
        for stream in (False, True):
            script = {**good, "pieces": ["this is ", "violence", " indeed"]}
            body = ask("chat", "say it", stream=stream, loopback=script)
            assert await call(session, fleet.slow, KEY, "chat", body) == 200
            fleet.note(KEY, "chat", "RESPONSE_FILTERED", fleet.slow)
        for _ in range(3):
            body = ask("messages", "hi", loopback={"status": 500})
            assert await call(session, fleet.fast, KEY, "messages", body) == 503
            fleet.note(KEY, "messages", "GENERATION_ERROR", fleet.fast)
        body = ask("chat", "echo: a b c d", stream=True, loopback={"die": 3})
        assert await call(session, fleet.fast, KEY, "chat", body) == 200  # it broke off later
        fleet.note(KEY, "chat", "GENERATION_ERROR", fleet.fast)
        for _ in range(2):
            body = ask("chat", "echo: a b c d", stream=True, loopback={"stall": 3})
            await leave(session, fleet.fast, body)
            fleet.note(KEY, "chat", "client_closed", fleet.fast)
        for _ in range(3):
            assert await call(session, fleet.fast, KEY, "responses", {"input": 3}) == 400
            fleet.note(KEY, "responses", "VALIDATION_ERROR", fleet.fast)
        for _ in range(6):
            assert await call(session, fleet.fast, "nobody", "chat", ask("chat", "hi")) == 401
            fleet.note("", "chat", "INVALID_API_KEY", fleet.fast)
        for _ in range(4):  # generates nothing: no record
            url = fleet.fast.url + "/tokenize"
            headers = {"Authorization": f"Bearer {KEY}"}
            body = {"model": MODEL, "prompt": "hi"}
            async with session.post(url, json=body, headers=headers) as reply:
                assert reply.status == 200
    await until(lambda: written(fleet), "all calls have come through, and are written")


async def written(fleet: Fleet) -> bool:
    """Whether each gateway finds what both have counted: records, sums, tokens."""
    for gateway in (fleet.fast, fleet.slow):
        summary = (await figures(gateway, "performance?last=1000"))["summary"]
        outcomes = (await figures(gateway, "series"))["by_outcome"]
        totals = (await figures(gateway, "usage"))["totals"]
        tokens = ("input_tokens", "output_tokens")
        if (
            summary["total"] != recorded(fleet)
            or sum(outcomes.values()) != sum(fleet.sent.values())
            or [totals[name] for name in tokens] != [summary[name] for name in tokens]
        ):
            return False
    return True


def recorded(fleet: Fleet, **wanted: str) -> int:
    return fleet.count(**wanted) - fleet.count(key="", **wanted)


async def test_performance_over_everything(fleet: Fleet) -> None:
    for gateway in (fleet.fast, fleet.slow):
        found = await figures(gateway, "performance?last=1000")
        summary = found["summary"]
        good, failed = fleet.count(outcome="ok"), fleet.count(outcome="GENERATION_ERROR")
        total = recorded(fleet)
        assert (summary["total"], summary["successful"]) == (total, good)
        assert (summary["failed"], summary["client_closed"]) == (failed, 2)
        assert summary["refused"] == total - good - failed - 2
        assert summary["success_rate"] == pytest.approx(good / (good + failed))
        assert summary["error_rate"] == pytest.approx(failed / total)
        assert summary["average_memory_mb"] > 30
        assert summary["average_gpu_memory_mb"] == 0
        assert summary["average_queue_time"] is None  # no upstream tells it
        assert summary["p95_response_time"] >= SLOW
        assert 0 < summary["average_time_to_first_token"] < summary["p95_response_time"]
        assert summary["average_tokens_per_second"] > WRITTEN
        assert not found["degraded"]
        assert found["complete"]
    assert await figures(fleet.fast, "performance?last=1000") == await figures(
        fleet.slow, "performance?last=1000"
    )


@pytest.mark.parametrize("group", ["model", "key", "route", "tier", "upstream"])
async def test_performance_by_group(fleet: Fleet, group: str) -> None:
    found = await figures(fleet.slow, f"performance?last=1000&group_by={group}")
    totals = {name: s["total"] for name, s in found["groups"].items()}
    good = {name: s["successful"] for name, s in found["groups"].items()}
    assert sum(totals.values()) == found["summary"]["total"]
    ok = fleet.count(outcome="ok")
    small = fleet.count(key=SMALL)
    if group == "key":
        assert totals == {digest(KEY)[:8]: recorded(fleet) - small, digest(SMALL)[:8]: small}
    elif group == "tier":
        assert totals == {"default": recorded(fleet) - small, "small": small}
    elif group == "route":
        assert totals == {path: recorded(fleet, route=path) for path in PATHS.values()}
    elif group == "model":
        never_read = fleet.count(outcome="RATE_LIMIT_EXCEEDED") + 3  # and three bad bodies
        assert totals == {MODEL: recorded(fleet) - never_read, "other": never_read}
    else:
        slow, fast = (e.url.removeprefix("http://") for e in (fleet.slow_engine, fleet.engine))
        assert good[slow] == fleet.count(outcome="ok", gateway=fleet.slow.url)
        assert good[fast] == ok - good[slow]
        assert good["none"] == 0
        assert found["groups"][fast]["failed"] == fleet.count(outcome="GENERATION_ERROR")
        rows = (await figures(fleet.slow, "calls?limit=1000"))["data"]
        for name in (slow, fast):
            took = [
                r["response_time"] for r in rows if r["upstream"] == name and r["outcome"] == "ok"
            ]
            average = found["groups"][name]["average_response_time"]
            assert average == pytest.approx(sum(took) / len(took), rel=0.01)
        assert found["groups"][slow]["average_response_time"] > SLOW / 3
    tokens = sum(s["input_tokens"] for s in found["groups"].values())
    assert tokens == found["summary"]["input_tokens"]


async def test_performance_over_a_range(fleet: Fleet) -> None:
    start, now = fleet.began, time.time()
    whole = await figures(fleet.fast, f"performance?start={start}")
    assert whole["summary"]["total"] == recorded(fleet)
    assert whole["complete"]
    middle = (await figures(fleet.fast, "calls?limit=1000"))["data"][20]["time"]
    before = await figures(fleet.fast, f"performance?start={start}&end={middle}")
    later = await figures(fleet.fast, f"performance?start={middle}&end={now}")
    assert before["summary"]["total"] + later["summary"]["total"] == recorded(fleet)
    assert later["from"] == middle
    assert (await figures(fleet.fast, f"performance?end={start}"))["summary"]["total"] == 0
    assert (await figures(fleet.fast, "performance?last=1"))["summary"]["total"] == 1


@pytest.mark.parametrize("range_", ["1h", "6h", "24h", "7d"])
async def test_series(fleet: Fleet, range_: str) -> None:
    found = await figures(fleet.slow, f"series?range={range_}")
    outcomes = {outcome for _, _, outcome, _ in fleet.sent}
    assert found["by_outcome"] == {o: fleet.count(outcome=o) for o in sorted(outcomes)}
    for path in PATHS.values():
        assert found["by_route"][path]["requests"] == fleet.count(route=path)
        assert found["by_route"][path]["ok"] == fleet.count(route=path, outcome="ok")
    sums = {
        name: sum(point[name] for point in found["points"])
        for name, value in found["points"][0].items()
        if isinstance(value, int)
    }
    filtered = fleet.count(outcome="CONTENT_FILTERED") + fleet.count(outcome="RESPONSE_FILTERED")
    assert sums["requests"] == sum(fleet.sent.values())
    assert sums["ok"] == fleet.count(outcome="ok")
    assert sums["failed"] == fleet.count(outcome="GENERATION_ERROR")
    assert sums["limited"] == fleet.count(outcome="RATE_LIMIT_EXCEEDED")
    assert (sums["filtered"], sums["client_closed"]) == (filtered, 2)
    parts = ("ok", "failed", "refused", "client_closed")
    assert sum(sums[part] for part in parts) == sums["requests"]
    summary = (await figures(fleet.slow, "performance?last=1000"))["summary"]
    for name in ("input_tokens", "output_tokens"):
        assert sums[name] == summary[name]
        assert sum(t[name] for t in found["by_model"].values()) == summary[name]
    served = [p for p in found["points"] if p["ok"]]
    assert max(p["response_time"]["p99"] for p in served) >= SLOW * 0.955
    assert found["points"][0]["response_time"]["p50"] is None


async def test_the_log_of_calls(fleet: Fleet) -> None:
    newest = await figures(fleet.fast, "calls?limit=1000")
    data = newest["data"]
    assert len(data) == recorded(fleet)
    times = [row["time"] for row in data]
    assert times == sorted(times, reverse=True)
    outcomes = Counter(row["outcome"] for row in data)
    assert outcomes == Counter({o: fleet.count(outcome=o) for o in outcomes})
    good = [row for row in data if row["outcome"] == "ok"]
    assert {(r["input_tokens"], r["output_tokens"]) for r in good} == {(READ, WRITTEN)}
    ends = {(row["route"], row["finish_reason"]) for row in good}
    assert ends == {
        (PATHS["chat"], "stop"),
        (PATHS["completions"], "stop"),
        (PATHS["responses"], "completed"),
        (PATHS["messages"], "end_turn"),
    }
    assert {r["time_to_first_token"] is not None for r in good if r["stream"]} == {True}
    assert {r["time_to_first_token"] for r in good if not r["stream"]} == {None}
    filtered = [row for row in data if row["outcome"] == "RESPONSE_FILTERED"]
    assert {row["finish_reason"] for row in filtered} == {"content_filter"}
    broken = [row for row in data if row["outcome"] == "GENERATION_ERROR"]
    assert {row["status"] for row in broken} == {503}
    assert all(row["usage_estimated"] for row in data if row["outcome"] == "client_closed")
    assert {len(row["key_id"]) for row in data} == {8}
    text = json.dumps(newest)
    for secret in (KEY, SMALL, OPERATOR, "violence", "echo", "hello", digest(KEY)):
        assert secret not in text
    # Page by page it is the same, oldest page first.
    cursor, paged = "1-0", list[Json]()
    while True:
        page = await figures(fleet.slow, f"calls?limit=7&after={cursor}")
        if not page["data"]:
            break
        cursor = page["cursor"]
        paged = page["data"] + paged
    assert cursor == newest["cursor"]
    assert {row["id"] for row in paged} == {row["id"] for row in data}
    assert len(paged) == len(data)


async def test_calls_are_found(fleet: Fleet) -> None:
    everything = (await figures(fleet.fast, "calls?limit=1000"))["data"]

    async def found(query: str) -> list[str]:
        return [r["id"] for r in (await figures(fleet.fast, f"calls?limit=1000&{query}"))["data"]]

    one = everything[len(everything) // 2]
    assert await found(f"search={one['request_id']}") == [
        row["id"] for row in everything if row["request_id"] == one["request_id"]
    ]
    assert one["key_name"]
    for words, fits in {
        one["key_name"].upper(): lambda row: row["key_name"] == one["key_name"],
        "chat ok": lambda row: row["route"] == PATHS["chat"] and row["outcome"] == "ok",
        "nobody": lambda row: False,
    }.items():
        wanted = [row["id"] for row in everything if fits(row)]
        assert await found(urlencode({"search": words})) == wanted
    kinds = {kind: await found(f"kind={kind}") for kind in KINDS}
    assert sorted(id for ids in kinds.values() for id in ids) == sorted(
        row["id"] for row in everything
    )
    assert set(kinds["ok"]) == {row["id"] for row in everything if row["outcome"] == "ok"}
    assert set(kinds["client_closed"]) == {r["id"] for r in everything if r["status"] == 499}
    moment = one["time"]
    assert await found(f"end={moment}") == [r["id"] for r in everything if r["time"] < moment]
    assert await found(f"start={moment}") == [r["id"] for r in everything if r["time"] >= moment]
    # What has come since is filtered, too, and the cursor goes on.
    page = await figures(fleet.fast, "calls?limit=1000&after=1-0&search=nobody")
    assert page["data"] == []
    assert page["cursor"] != "1-0"


async def test_usage_and_its_cost(fleet: Fleet) -> None:
    found = await figures(fleet.slow, "usage?days=2")
    rows = {row["key_id"]: row for row in found["data"] if row["model"] == MODEL}
    small, large = rows[digest(SMALL)], rows[digest(KEY)]
    assert found["currency"] == "EUR"
    assert (small["name"], small["calls"]) == ("=small", LIMIT)
    assert (small["input_tokens"], small["output_tokens"]) == (LIMIT * READ, LIMIT * WRITTEN)
    assert small["cost"] == pytest.approx((LIMIT * READ * 2 + LIMIT * WRITTEN * 5) / 1e6)
    summary = (await figures(fleet.fast, "performance?last=1000"))["summary"]
    for name in ("input_tokens", "output_tokens"):
        assert found["totals"][name] == summary[name]
        assert small[name] + large[name] == summary[name]
    assert found["totals"]["cost"] == pytest.approx(small["cost"] + large["cost"])
    assert found["unpriced_models"] == []
    status, body = await get(fleet.fast, "usage?days=2&format=csv")
    assert status == 200
    table = list(csv.DictReader(io.StringIO(body.decode())))
    assert {row["name"] for row in table} == {"'=small", "env-1"}  # no formula
    assert sum(int(row["calls"]) for row in table) == found["totals"]["calls"]


async def scraped(gateway: Gateway) -> str:
    async with aiohttp.ClientSession() as session, session.get(gateway.url + "/metrics") as reply:
        return await reply.text()


async def test_prometheus_says_the_same(fleet: Fleet) -> None:
    text = [await scraped(gateway) for gateway in (fleet.fast, fleet.slow)]
    counted: Counter[tuple[str, str]] = Counter()
    for labels, value in re.findall(
        r"^gateway_requests_total\{(.*)\} (\S+)$", "\n".join(text), re.M
    ):
        found = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        counted[found["route"], found["outcome"]] += int(float(value))
    assert counted.pop(("/tokenize", "ok")) == 4
    wanted: Counter[tuple[str, str]] = Counter()
    for (_, route, outcome, _), number in fleet.sent.items():
        wanted[route, outcome] += number
    assert counted == wanted
    tokens: Counter[str] = Counter()
    pattern = r'^gateway_tokens_total\{.*type="(\w+)".*\} (\S+)$'
    for kind, value in re.findall(pattern, "\n".join(text), re.M):
        tokens[kind] += int(float(value))
    summary = (await figures(fleet.fast, "performance?last=1000"))["summary"]
    assert tokens == {"input": summary["input_tokens"], "output": summary["output_tokens"]}
    assert "gateway_records_lost_total 0.0" in text[0]


async def test_the_export_holds_everything(fleet: Fleet, tmp_path: Path) -> None:
    found = await figures(fleet.fast, "export")
    calls = (await figures(fleet.slow, "calls?limit=1000"))["data"]
    assert {r["id"] for r in found["records"]} == {r["id"] for r in calls}
    assert {r["key_id"] for r in found["records"]} == {digest(KEY), digest(SMALL)}
    for sums in (found["minutes"], found["ten_minutes"]):
        counted: Counter[str] = Counter()
        for bucket in sums:
            for row in bucket["calls"]:
                counted[row["outcome"]] += row["requests"]
        assert counted == Counter({o: fleet.count(outcome=o) for o in counted})
        assert sum(counted.values()) == sum(fleet.sent.values())
    usage = await figures(fleet.slow, "usage?days=40")
    assert found["usage"] == usage["data"]
    assert found["usage_totals"] == usage["totals"]
    assert (found["degraded"], found["currency"]) == (False, "EUR")
    out = tmp_path / "all.json"
    done = export("--url", fleet.fast.url, "--out", str(out))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    saved = json.loads(out.read_bytes())
    del saved["exported_at"], found["exported_at"]
    # What an alert says of the figures goes on between the two.
    assert {a["id"] for a in found.pop("alerts")} <= {a["id"] for a in saved.pop("alerts")}
    assert saved == found
    assert out.stat().st_mode & 0o077 == 0
    piped = export("--url", fleet.slow.url + "/v1/")
    assert json.loads(piped.stdout)["records"] == found["records"]
    assert [path.name for path in tmp_path.iterdir()] == ["all.json"]


def export(*words: str, key: str = OPERATOR) -> subprocess.CompletedProcess[bytes]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
    command = [sys.executable, "-m", "gemma_gateway", "export", *words]
    return subprocess.run(
        command, env=env | {"GATEWAY_API_KEY": key}, capture_output=True, timeout=600, check=False
    )


async def test_an_export_that_fails_says_why(fleet: Fleet, tmp_path: Path) -> None:
    out = tmp_path / "all.json"
    for key, status, words in (
        (KEY, 1, b"OPERATOR_REQUIRED"),
        ("nobody", 1, b"INVALID_API_KEY"),
    ):
        done = export("--url", fleet.fast.url, "--out", str(out), key=key)
        assert done.returncode == status
        assert words in done.stderr
        assert b"--key-file" in done.stderr
        assert (b"gemma-gateway key new --name NAME --operator" in done.stderr) is (key == KEY)
    no_gateway = export("--url", fleet.engine.url)
    assert (no_gateway.returncode, no_gateway.stdout) == (1, b"")
    assert b"is not a gateway that can export: status 405" in no_gateway.stderr
    nobody = export("--url", "http://127.0.0.1:1")
    assert b"doesn't answer" in nobody.stderr
    nowhere = export("--url", fleet.fast.url, "--out", str(tmp_path / "none" / "all.json"))
    assert nowhere.returncode == 2
    assert b"can't be written" in nowhere.stderr
    assert not out.exists()


async def test_an_export_that_breaks_off_leaves_no_file(tmp_path: Path) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"a":\r\n')
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(cut, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        out = tmp_path / "all.json"
        words = ("--url", f"http://127.0.0.1:{port}", "--out", str(out))
        done = await asyncio.to_thread(export, *words)
    assert done.returncode == 1
    assert b"the answer broke off" in done.stderr
    assert list(tmp_path.iterdir()) == []


async def test_the_state(fleet: Fleet) -> None:
    found = await figures(fleet.fast, "state")
    assert (found["status"], found["models"]) == ("healthy", [MODEL])
    assert found["store"] == {"status": "available", "failures": 0, "outages": 0}
    assert found["engine"] == {"kind": "upstream", "ready": True}
    upstream = fleet.engine.url.removeprefix("http://")
    assert found["upstreams"] == [
        {"upstream": upstream, "available": True, "trouble": "", "in_flight": 0}
    ]
    assert (found["in_flight"], found["in_flight_limit"]) == (0, 1024)
    assert found["memory_mb"] > 30
    assert 0 <= found["event_loop_lag_seconds"] < 60
    assert found["records_lost"] == 0


# ---- who may ask, and how

BAD = {
    "performance?last=0": "last",
    "performance?last=10001": "last",
    "performance?last=ten": "last",
    "performance?last=5&start=1": "last",
    "performance?start=5&end=5": "end",
    "performance?start=yesterday": "start",
    "performance?end=nan": "end",
    "performance?end=1e300": "end",
    "performance?group_by=colour": "group_by",
    "performance?limit=5": "limit",
    "series?range=2h": "range",
    "calls?limit=0": "limit",
    "calls?limit=1001": "limit",
    "calls?after=%00": "after",
    "calls?kind=odd": "kind",
    "calls?end=soon": "end",
    f"calls?search={'a' * 201}": "search",
    "calls?after=1-1%0d%0aFLUSHALL": "after",
    "calls?after=99999999999999999999-1": "after",
    "state?verbose=1": "verbose",
    "usage?days=0": "days",
    "usage?days=41": "days",
    "usage?format=xlsx": "format",
    "export?format=csv": "format",
}


@pytest.mark.parametrize(("path", "param"), BAD.items())
async def test_bad_questions(fleet: Fleet, path: str, param: str) -> None:
    status, body = await get(fleet.fast, path)
    error = json.loads(body)["error"]
    assert (status, error["gateway_code"], error["param"]) == (400, "VALIDATION_ERROR", param)
    assert error["message"]


@pytest.mark.parametrize("path", [*ROUTES, *BAD])
async def test_others_learn_nothing(fleet: Fleet, path: str) -> None:
    answers = {}
    for key in (KEY, SMALL, "nobody"):
        status, body = await get(fleet.fast, path, key)
        answers[key] = status, json.loads(body)["error"]["gateway_code"]
    assert answers[KEY] == answers[SMALL] == (403, "OPERATOR_REQUIRED")
    assert answers["nobody"] == (401, "INVALID_API_KEY")


def test_answers_are_as_documented(fleet: Fleet) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis"))]
    command += ["run", f"{fleet.fast.url}/openapi.json", "-H", f"Authorization: Bearer {OPERATOR}"]
    command += ["--include-path-regex", f"^/v1/monitoring/({'|'.join(ROUTES)})$"]
    command += ["--max-examples", "20", "--phases", "coverage,fuzzing", "--seed", "1"]
    command += ["--checks", ",".join(CHECKS)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert found.returncode == 0, found.stdout[-6000:]
    assert f"Selected: {len(ROUTES)}/" in found.stdout


# ---- the store away


@pytest.fixture
async def alone(
    own_server: Server, engine: Engine, tmp_path: Path
) -> AsyncIterator[tuple[Server, Gateway]]:
    """One gateway on a store that the test stops."""
    settings = {"redis_url": own_server.url, "operator_keys": OPERATOR, "store_timeout": 0.5}
    with Gateway(tmp_path, upstreams=engine.url + "/v1", **settings) as gateway:
        yield own_server, gateway


async def test_without_the_store_it_tells_its_own_part(
    alone: tuple[Server, Gateway], tmp_path: Path
) -> None:
    server, gateway = alone
    body = ask("chat", "hi", loopback={"usage": [READ, WRITTEN]})
    async with aiohttp.ClientSession() as session:
        for _ in range(3):
            assert await call(session, gateway, KEY, "chat", body) == 200
        assert (await figures(gateway, "usage"))["totals"]["calls"] == 3
        assert (await figures(gateway, "series"))["by_outcome"] == {"ok": 3}
        server.stop()
        for _ in range(4):
            assert await call(session, gateway, KEY, "chat", body) == 200
    found = await figures(gateway, "performance")
    assert (found["degraded"], found["complete"]) == (True, False)
    assert found["summary"]["successful"] == 7
    assert (await figures(gateway, "performance?start=0"))["summary"]["total"] == 7
    series = await figures(gateway, "series?range=24h")
    assert (series["degraded"], series["by_outcome"]) == (True, {"ok": 4})
    calls = await figures(gateway, "calls")
    assert (calls["degraded"], calls["cursor"], len(calls["data"])) == (True, "", 7)
    assert (await figures(gateway, "calls?after=1-1"))["data"] == []
    usage = await figures(gateway, "usage")
    assert (usage["degraded"], usage["totals"]["calls"]) == (True, 4)
    status, table = await get(gateway, "usage?format=csv")
    assert (status, table.count(b"\r\n")) == (200, 2)

    async def told() -> bool:
        store = (await figures(gateway, "state"))["store"]
        return bool(store["status"] == "unavailable")

    await until(told, "an absence of two seconds is told")
    assert (await figures(gateway, "state"))["status"] == "degraded"
    whole = await figures(gateway, "export")
    assert (whole["degraded"], len(whole["records"])) == (True, 7)
    done = export("--url", gateway.url, "--out", str(tmp_path / "part.json"))
    assert done.returncode == 1
    assert b"incomplete" in done.stderr
    server.start()  # an empty one: what the first one held is lost with it

    async def back() -> bool:
        return not (await figures(gateway, "calls"))["degraded"]

    await until(back, "the store is back")
    assert len((await figures(gateway, "calls"))["data"]) == 4
    await asyncio.sleep(SHAPES["1h"].kept)  # what was drawn before may be given again for so long
    assert (await figures(gateway, "series"))["by_outcome"] == {"ok": 4}

    async def counted() -> bool:
        return bool((await figures(gateway, "usage"))["totals"]["calls"] == 4)

    await until(counted, "usage is written with the next flush")
