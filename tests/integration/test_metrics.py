"""What a running gateway exports: bounded, true, and once a process."""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from gemma_gateway.core.form import FormDialect
from gemma_gateway.engines.upstream.pool import MOST_LEARNED
from gemma_gateway.main import DIALECTS
from tests.integration.conftest import Server
from tests.loopback import Loopback
from tests.process import AUTH, KEY, Engine, Gateway

MODEL = "gemma-3-270m"
ROUTES = [dialect.path for dialect in DIALECTS if not isinstance(dialect, FormDialect)]
HOSTILE = 450  # calls a route, each with names that were never seen before
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def page(url: str) -> Series:
    """Every series of a scrape, with its value; the names of families must not come twice."""
    async with aiohttp.ClientSession() as session, session.get(url + "/metrics") as reply:
        text = await reply.text()
    families = Counter(re.findall(r"^# TYPE (\S+)", text, re.M))
    assert set(families.values()) == {1}, families.most_common(3)
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def total(series: Series, name: str, **labels: str) -> float:
    """The sum of all series of a name with these labels."""
    return sum(
        v for (n, of), v in series.items() if n == name and labels.items() <= dict(of).items()
    )


def body(path: str, text: str = "Hello", **more: Any) -> dict[str, Any]:
    """A valid body for a route."""
    found: dict[str, Any] = {"model": MODEL, **more}
    if path == "/detokenize":
        return {"tokens": [72, 105], **found}
    if path in ("/v1/completions", "/tokenize"):
        return {"prompt": text, **found}
    if path == "/v1/responses":
        return {"input": text, **found}
    found["messages"] = [{"role": "user", "content": text}]
    return found if path.endswith("count_tokens") else {"max_tokens": 20, **found}


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=24)
    async with aiohttp.ClientSession(connector=connector) as client:
        yield client


@asynccontextmanager
async def running(gateway: Gateway) -> AsyncIterator[Gateway]:
    """A gateway in front of a server that lives in this very loop, which must not stand still."""
    await asyncio.to_thread(gateway.__enter__)
    try:
        yield gateway
    finally:
        await asyncio.to_thread(gateway.stop)


def name(rng: random.Random) -> str:
    """A name as an attacker would choose it; never the same twice."""
    odd = [
        '"} 1\nevil_total{x="',
        "\\",
        "\u202e",
        "a" * 900,
        "💥",
        "other",
        "{}",
        "%s",
        "\n# TYPE x",
    ]
    return rng.choice([*odd, *["org/model-"] * len(odd)]) + rng.randbytes(8).hex()


async def attack(client: aiohttp.ClientSession, url: str, path: str, number: int) -> int:
    """One call full of names: model, user, key, request id, trace, and things nobody reads."""
    rng = random.Random(f"{path} {number}")
    model = name(rng) if number % 3 else MODEL
    more: dict[str, Any] = {"user": name(rng), "metadata": {"user_id": name(rng)}}
    if number % 2 and path in ("/v1/chat/completions", "/v1/completions"):
        more["stream"] = True
    headers = {
        **(AUTH if number % 5 else {"Authorization": f"Bearer {rng.randbytes(9).hex()}"}),
        "x-request-id": rng.randbytes(40).hex(),
        "user-agent": rng.randbytes(9).hex(),
        "traceparent": f"00-{rng.randbytes(16).hex()}-{rng.randbytes(8).hex()}-01",
        "x-tier": rng.randbytes(9).hex(),
    }
    asked = body(path, name(rng), **more) | {"model": model}
    async with client.post(url + path, json=asked, headers=headers) as reply:
        await reply.read()
        return reply.status


@pytest_asyncio.fixture
async def stranger() -> AsyncIterator[aiohttp.ClientSession]:
    """From an address of its own: other tests' wrong keys are not to be throttled with its."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    ) as made:
        yield made


async def test_hostile_names_leave_the_series_as_they_were(
    gateway: Gateway, stranger: aiohttp.ClientSession
) -> None:
    """Thousands of names of models, users and keys over every route, and paths that don't exist."""
    session = stranger
    for path in ROUTES:  # each thing that can happen has happened once
        assert await attack(session, gateway.url, path, 0) == 401
        asked = body(path, "hi") | {"model": "a" * 900}
        async with session.post(gateway.url + path, json=asked, headers=AUTH) as reply:
            assert reply.status == 400
    for path in ROUTES:
        for number in range(30):
            await attack(session, gateway.url, path, number)
    for path in ROUTES:
        while await attack(session, gateway.url, path, 0) != 429:
            pass
    before = await page(gateway.url)
    calls = [
        attack(session, gateway.url, path, number)
        for path in ROUTES
        for number in range(1000, 1000 + HOSTILE)
    ]
    statuses = Counter(await asyncio.gather(*calls))
    assert statuses[404] > 500  # names of models that nobody serves
    assert statuses[400] > 50  # what is no name at all
    assert statuses[401] + statuses[429] > 500  # keys that are nobody's
    assert statuses[429] > statuses[401]
    assert statuses[200] > 300
    assert not [status for status in statuses if status >= 500]
    rng = random.Random(1)
    for _ in range(200):
        path = "/" + rng.randbytes(8).hex()
        async with session.post(gateway.url + path, json={}, headers=AUTH) as reply:
            assert reply.status == 404
        async with session.request("PURGE", gateway.url + ROUTES[0] + path) as reply:
            assert reply.status >= 400
    after = await page(gateway.url)
    assert set(after) == set(before)
    sent = len(ROUTES) * HOSTILE
    assert total(after, "gateway_requests_total") == total(before, "gateway_requests_total") + sent


async def test_servers_that_do_not_tell_their_models(tmp_path: Path) -> None:
    """Any name is served there, and only the first few that were answered become labels."""
    async with (
        Loopback(models=None) as server,
        running(Gateway(tmp_path, upstreams=server.url)) as gateway,
        aiohttp.ClientSession() as client,
    ):
        for number in range(300):
            asked = body(ROUTES[0]) | {"model": f"model-{number}"}
            async with client.post(gateway.url + ROUTES[0], json=asked, headers=AUTH) as reply:
                assert reply.status == 200
        series = await page(gateway.url)
    labels = {dict(of)["model"] for (_, of) in series if "model" in dict(of)}
    assert labels == {"other", *(f"model-{number}" for number in range(MOST_LEARNED))}
    assert total(series, "gateway_requests_total", outcome="ok") == 300


async def test_figures_of_streams(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    """Time to the first token, time a token, and what the policy held back, call by call."""
    before = await page(gateway.url)
    # Slow enough that a pause of this machine doesn't take the time between two pieces away.
    held = {"pieces": ["vio", "lins "], "delay": 1.2, "usage": [9, 2]}
    plain = {"pieces": ["one ", "two "], "delay": 0.05}
    whole = {"pieces": ["one"]}
    for script, stream in ((held, True), (plain, True), (whole, False)):
        asked = body(ROUTES[0], stream=stream, loopback=script)
        async with session.post(gateway.url + ROUTES[0], json=asked, headers=AUTH) as reply:
            await reply.read()
    after = await page(gateway.url)

    def grown(series: str, **labels: str) -> float:
        return total(after, series, **labels) - total(before, series, **labels)

    of = {"route": ROUTES[0], "model": MODEL, "tier": "default"}
    assert grown("gateway_request_duration_seconds_count", **of) == 3
    assert grown("gateway_time_to_first_token_seconds_count", **of) == 2
    assert grown("gateway_time_per_output_token_seconds_count", **of) == 2
    seconds = grown("gateway_time_per_output_token_seconds_sum", **of)
    # Two streams; the first one has four pauses of 1.2 s for its second token.
    assert 2 < seconds < grown("gateway_request_duration_seconds_sum", **of)
    assert grown("gateway_stream_held_characters_count", model=MODEL) == 2
    assert grown("gateway_stream_held_characters_sum", model=MODEL) == 3
    assert grown("gateway_stream_held_characters_bucket", model=MODEL, le="0.0") == 1
    held_for = grown("gateway_stream_held_seconds_sum", model=MODEL)
    assert 0.04 < held_for < grown("gateway_request_duration_seconds_sum", **of)
    assert grown("gateway_queue_time_seconds_count") == 0  # these servers don't tell it
    assert grown("gateway_event_loop_lag_seconds_count") > 0
    assert total(after, "gateway_memory_bytes") > 2**24
    assert total(after, "gateway_engine_ready") == 1


async def test_calls_that_http_itself_refuses_are_counted(
    gateway: Gateway, session: aiohttp.ClientSession
) -> None:
    path = "/v1/completions"
    before = await page(gateway.url)
    async with session.get(gateway.url + path, headers=AUTH) as reply:
        assert reply.status == 405
    async with session.post(gateway.url + path, data="{}", headers=AUTH) as reply:
        assert reply.status == 400
    after = await page(gateway.url)
    for outcome in ("METHOD_NOT_ALLOWED", "VALIDATION_ERROR"):
        counted = {"route": path, "model": "other", "tier": "none", "outcome": outcome}
        asked = "gateway_requests_total"
        assert total(after, asked, **counted) == total(before, asked, **counted) + 1
    assert total(after, "gateway_requests_in_flight") == 0


async def test_ejections(tmp_path: Path) -> None:
    async with Loopback() as server, aiohttp.ClientSession() as client:
        more = {"eject_after": 2, "eject_seconds": 0.2, "health_interval": 30}
        async with running(Gateway(tmp_path, upstreams=server.url, **more)) as gateway:
            label = {"upstream": f"127.0.0.1:{server.port}"}
            first = await page(gateway.url)
            assert total(first, "gateway_upstream_ejections_total", **label) == 0
            server.script = {"status": 503}
            for _ in range(3):
                asked = client.post(gateway.url + ROUTES[0], json=body(ROUTES[0]), headers=AUTH)
                async with asked as reply:
                    assert reply.status == 503
            gone = await page(gateway.url)
            assert total(gone, "gateway_upstream_ejections_total", **label) == 1
            assert total(gone, "gateway_engine_ready") == 0
            server.script = {}
            await asyncio.sleep(0.3)
            asked = client.post(gateway.url + ROUTES[0], json=body(ROUTES[0]), headers=AUTH)
            async with asked as reply:
                assert reply.status == 200
            back = await page(gateway.url)
            assert total(back, "gateway_upstream_ejections_total", **label) == 1
            assert total(back, "gateway_engine_ready") == 1


async def test_each_worker_is_a_process_that_is_scraped_for_itself(
    server: Server, engine: Engine, tmp_path: Path, prefix: str
) -> None:
    """Two gateways on one store: each tells its own calls, together they tell all."""
    more = {"upstreams": engine.url + "/v1", "redis_url": server.url, "redis_prefix": prefix}
    with Gateway(tmp_path / "a", **more) as one, Gateway(tmp_path / "b", **more) as two:
        async with aiohttp.ClientSession() as client:
            for gateway, calls in ((one, 3), (two, 5)):
                for _ in range(calls):
                    asked = client.post(gateway.url + ROUTES[0], json=body(ROUTES[0]), headers=AUTH)
                    async with asked as reply:
                        assert reply.status == 200
        pages = [await page(gateway.url) for gateway in (one, two)]
        for series, calls in zip(pages, (3, 5), strict=True):
            assert total(series, "gateway_requests_total") == calls
            assert total(series, "gateway_rate_limit_decisions_total") == calls
        resident = [total(series, "process_resident_memory_bytes") for series in pages]
        pids = [psutil.Process(gateway.pid).memory_info().rss for gateway in (one, two)]
        for told, seen in zip(resident, pids, strict=True):
            assert 0.5 < told / seen < 2


async def test_a_process_never_makes_workers(engine: Engine, tmp_path: Path) -> None:
    """Not by a flag, and not by the variables with which uvicorn and gunicorn are told to."""
    command = [sys.executable, "-m", "gemma_gateway", "serve", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 2
    environ = {"WEB_CONCURRENCY": "4", "UVICORN_WORKERS": "4"}
    with Gateway(tmp_path, environ=environ, upstreams=engine.url + "/v1") as gateway:
        children = psutil.Process(gateway.pid).children(recursive=True)
        assert [c.name() for c in children if "python" in c.name()] == []
        series = await page(gateway.url)
        assert total(series, "process_resident_memory_bytes") > 0


async def test_no_key_and_no_text_is_in_the_page(
    gateway: Gateway, session: aiohttp.ClientSession
) -> None:
    asked = body(ROUTES[0], "echo: xylophone", user="xylophone")
    async with session.post(gateway.url + ROUTES[0], json=asked, headers=AUTH) as reply:
        assert "xylophone" in json.dumps(await reply.json())
    series = json.dumps(list(await page(gateway.url)))
    assert "xylophone" not in series
    assert KEY not in series
