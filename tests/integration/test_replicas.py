"""Several gateway processes, and a store that goes away: what the operator was promised."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.calls import PATHS, ask, ending, events, post, state
from tests.integration.conftest import Server
from tests.process import AUTH, Engine, Gateway
from tests.waiting import PATIENCE, until


async def get(url: str) -> tuple[int, dict[str, object]]:
    async with aiohttp.ClientSession(headers=AUTH) as session, session.get(url) as reply:
        return reply.status, await reply.json()


async def metrics_with(gateway: Gateway, words: str) -> str:
    """The metrics, once they have these words."""
    end = time.monotonic() + PATIENCE
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < end:
            text = await (await session.get(gateway.url + "/metrics")).text()
            if words in text:
                return text
            await asyncio.sleep(0.1)
    raise AssertionError(words)


async def idle(engine: Engine) -> bool:
    return (await state(engine))["running"] == 0


@asynccontextmanager
async def taken(engine: Engine, number: int) -> AsyncIterator[None]:
    """What begins in here has come to the engine at the end: so many calls."""
    before = (await state(engine))["calls"]
    yield

    async def here() -> bool:
        return (await state(engine))["calls"] == before + number

    await until(here, f"{number} calls at the engine")


async def stopping(gateway: Gateway, words: str = "stopping;") -> None:
    await until(lambda: words in gateway.text(), "the signal is taken")


async def test_four_processes_let_exactly_the_limit_through(
    server: Server, engine: Engine, tmp_path: Path, prefix: str
) -> None:
    limit = 50
    settings = {
        "upstreams": engine.url + "/v1",
        "redis_url": server.url,
        "redis_prefix": prefix,
        "requests_per_hour": limit,
    }
    with ExitStack() as stack:
        fleet = [stack.enter_context(Gateway(tmp_path / str(n), **settings)) for n in range(4)]
        body = ask("chat", "echo: hi")
        calls = [post(fleet[n % 4], "chat", body) for n in range(4 * limit)]
        answers = await asyncio.gather(*calls)
        assert Counter(status for status, _, _ in answers) == {200: limit, 429: 3 * limit}
        refused = next(a for a in answers if a[0] == 429)
        assert json.loads(refused[1])["error"]["gateway_code"] == "RATE_LIMIT_EXCEEDED"
        assert 0 < int(refused[2]["retry-after"]) <= 3600
        assert refused[2]["x-ratelimit-remaining-requests"] == "0"
        for gateway in fleet:
            _, usage = await get(gateway.url + "/v1/usage")
            assert usage["requests_last_hour"] == limit
            assert usage["remaining_requests"] == 0


@pytest.mark.parametrize("mode", ["local", "deny", "allow"])
async def test_the_store_goes_away_and_comes_back(
    own_server: Server, engine: Engine, tmp_path: Path, mode: str
) -> None:
    settings = {"upstreams": engine.url + "/v1", "redis_url": own_server.url, "store_timeout": 2}
    with Gateway(tmp_path, requests_per_hour=8, store_failure=mode, **settings) as gateway:
        body = ask("chat", "echo: hi")
        for _ in range(3):
            assert (await post(gateway, "chat", body))[0] == 200
        own_server.signal(signal.SIGSTOP)  # frozen: connections stay open, nothing answers
        statuses = [(await post(gateway, "chat", body))[0] for _ in range(10)]
        expected = {"local": [200] * 5 + [429] * 5, "deny": [503] * 10, "allow": [200] * 10}
        assert statuses == expected[mode]
        text = await metrics_with(gateway, "gateway_store_available 0.0")  # after two seconds
        assert 'degraded="true"' in text or mode == "deny"
        assert (await get(gateway.url + "/health"))[1]["store"] == "unavailable"
        assert gateway.is_ready() is (mode != "deny")  # others may have a store that works
        own_server.signal(signal.SIGCONT)
        await metrics_with(gateway, "gateway_store_available 1.0")
        async with asyncio.timeout(PATIENCE):  # a busy machine's store may miss a call's time again
            while (answer := await post(gateway, "chat", body))[0] != 200:
                await asyncio.sleep(0.1)
        headers = answer[2]
        assert int(headers["x-ratelimit-remaining-requests"]) < 8


async def test_sigterm_finishes_what_is_in_flight(engine: Engine, tmp_path: Path) -> None:
    with Gateway(tmp_path, upstreams=engine.url + "/v1") as gateway:
        slow = {"delay": 0.2, "pieces": ["word "] * 10}
        async with taken(engine, len(PATHS) + 1):
            streams = [
                asyncio.create_task(post(gateway, d, ask(d, "x", stream=True, loopback=slow)))
                for d in PATHS
            ]
            body = ask("chat", "x", loopback={"wait": 2})
            whole = asyncio.create_task(post(gateway, "chat", body))
        ending_well = asyncio.create_task(asyncio.to_thread(gateway.stop, PATIENCE))
        await stopping(gateway)

        async def closed() -> bool:
            try:
                status, _, _ = await post(gateway, "chat", ask("chat", "too late"))
            except aiohttp.ClientError:
                return True
            assert status == 503
            return False

        await until(closed, "nobody listens any more")
        for dialect, call in zip(PATHS, streams, strict=True):
            status, raw, _ = await call
            assert status == 200
            assert ending(dialect, events(raw))[0] in ("stop", "completed", "end_turn")
        assert (await whole)[0] == 200
        assert await ending_well == 0


async def test_sigterm_leaves_time_for_load_balancers(engine: Engine, tmp_path: Path) -> None:
    """Not ready at once, but serving until the grace is over; then an orderly end."""
    with Gateway(tmp_path, upstreams=engine.url + "/v1", drain_grace_seconds=4) as gateway:
        started = time.monotonic()
        ending_well = asyncio.create_task(asyncio.to_thread(gateway.stop, PATIENCE))
        await stopping(gateway, "not ready;")
        assert not await asyncio.to_thread(gateway.is_ready)
        status, _, headers = await post(gateway, "chat", ask("chat", "echo: hi"))
        assert status == 200
        assert headers["connection"] == "close"  # the client's next call finds another process
        assert await ending_well == 0
        assert time.monotonic() - started > 3.9


async def test_a_second_sigterm_ends_the_grace(engine: Engine, tmp_path: Path) -> None:
    with Gateway(tmp_path, upstreams=engine.url + "/v1", drain_grace_seconds=300) as gateway:
        os.kill(gateway.pid, signal.SIGTERM)
        await stopping(gateway, "not ready;")
        assert await asyncio.to_thread(gateway.stop, PATIENCE) == 0  # long before the grace is over


async def test_sigterm_has_a_deadline(engine: Engine, tmp_path: Path) -> None:
    with Gateway(tmp_path, upstreams=engine.url + "/v1", drain_seconds=1) as gateway:
        words = {"delay": 0.2, "pieces": ["w "] * 1000}  # 200 seconds
        endless = ask("chat", "x", stream=True, max_tokens=1000, loopback=words)
        async with taken(engine, 1):
            call = asyncio.create_task(post(gateway, "chat", endless))
        assert await asyncio.to_thread(gateway.stop, PATIENCE) == 0
        try:
            _, raw, _ = await call
            assert b"[DONE]" not in raw
        except aiohttp.ClientError:
            pass
        await until(lambda: idle(engine), "the engine is told")


async def test_a_call_that_takes_too_long_is_ended(engine: Engine, tmp_path: Path) -> None:
    with Gateway(tmp_path, upstreams=engine.url + "/v1", request_timeout=2) as gateway:
        endless = {"delay": 0.1, "pieces": ["w "] * 1000}
        body = ask("chat", "x", stream=True, max_tokens=1000, loopback=endless)
        _, raw, _ = await post(gateway, "chat", body)
        docs = events(raw)
        assert docs[-1]["error"]["gateway_code"] == "ENGINE_TIMEOUT"
        body = ask("messages", "x", loopback={"wait": 300})
        status, raw, _ = await post(gateway, "messages", body)
        assert status == 504
        assert json.loads(raw)["error"]["type"] == "timeout_error"
        await until(lambda: idle(engine), "the engine is told")


async def test_capacity_is_bounded(engine: Engine, tmp_path: Path) -> None:
    with Gateway(tmp_path, upstreams=engine.url + "/v1", max_in_flight=2) as gateway:
        slow = ask("chat", "x", loopback={"wait": 3})
        async with taken(engine, 2):
            served = [asyncio.create_task(post(gateway, "chat", slow)) for _ in range(2)]
        answers = await asyncio.gather(*(post(gateway, "chat", slow) for _ in range(3)))
        assert [a[0] for a in answers] == [503] * 3
        assert [(await call)[0] for call in served] == [200] * 2
        refused = answers[0]
        assert json.loads(refused[1])["error"]["gateway_code"] == "ENGINE_OVERLOADED"
        assert refused[2]["retry-after"]
