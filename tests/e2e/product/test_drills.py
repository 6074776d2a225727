"""What breaks in production, broken on purpose in front of the real engine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable

import aiohttp
import pytest

from tests.calls import ask, ending, events, post
from tests.process import AUTH, Gateway

RUNNING = "vllm:num_requests_running"
GENERATED = "vllm:generation_tokens_total"
PATIENCE = 120  # seconds until a state has to be there
LONG = {"max_tokens": 1000, "max_output_tokens": 1000, "ignore_eos": True, "min_tokens": 900}


async def figure(gateway: Gateway, name: str) -> float:
    """What vLLM itself says."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(gateway.url + "/metrics") as reply,
    ):
        lines = (await reply.text()).splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{"))


async def until(gateway: Gateway, name: str, true: Callable[[float], bool]) -> float:
    """Seconds until something is true of a figure."""
    started = time.monotonic()
    async with asyncio.timeout(PATIENCE):
        while not true(await figure(gateway, name)):
            await asyncio.sleep(0.01)
    return time.monotonic() - started


async def idle(gateway: Gateway) -> float:
    """Seconds until vLLM runs nothing."""
    return await until(gateway, RUNNING, lambda calls: calls == 0)


async def generating(gateway: Gateway, calls: int = 1) -> None:
    """Wait until vLLM runs calls and writes."""
    before = await figure(gateway, GENERATED)
    await until(gateway, RUNNING, lambda running: running >= calls)
    await until(gateway, GENERATED, lambda tokens: tokens > before)


def long_ask(dialect: str, stream: bool) -> dict[str, object]:
    """A call that generates for many seconds."""
    keep = {"chat": "max_tokens", "completions": "max_tokens", "messages": "max_tokens"}
    body = ask(dialect, "Tell me a very long story about the sea.", stream=stream)
    body |= {k: v for k, v in LONG.items() if k not in ("max_tokens", "max_output_tokens")}
    body[keep.get(dialect, "max_output_tokens")] = 1000
    return body


@pytest.mark.parametrize("dialect", ["chat", "completions", "responses", "messages"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_stops_the_generation(
    real: Gateway, dialect: str, stream: bool
) -> None:
    await idle(real)
    name = f"leaves-{dialect}-{stream}"
    headers = AUTH | {"x-request-id": name}
    call = asyncio.create_task(post(real, dialect, long_ask(dialect, stream), headers))
    await generating(real)
    call.cancel()
    took = await idle(real)
    print(f"{dialect} stream={stream}: vLLM idle {took * 1000:.0f} ms after the client left")
    line = await line_of(real, name)
    assert line["outcome"] == "client_closed"
    assert 0 < line["output_tokens"] < 900
    assert "usage_estimated" not in line


async def line_of(gateway: Gateway, request_id: str) -> dict[str, object]:
    """The access-log line of a call."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for line in gateway.text().splitlines():
                if f'"{request_id}"' in line and '"route"' in line:
                    return dict(json.loads(line))
            await asyncio.sleep(0.05)


async def test_a_blocked_stream_stops_the_generation(real: Gateway) -> None:
    body = ask("chat", "x", stream=True, structured_outputs={"regex": "so much h[a]te( and more)*"})
    _, raw, _ = await post(real, "chat", {**body, "max_tokens": 1000})
    assert ending("chat", events(raw)) == ("content_filter", True)
    await idle(real)


async def test_the_engine_core_killed(real: Gateway) -> None:
    """Calls in flight end with an error, readiness goes, the engine comes back by itself."""
    core = engine_core(real.pid)
    calls = [asyncio.create_task(post(real, d, long_ask(d, True))) for d in ("chat", "messages")]
    whole = asyncio.create_task(post(real, "chat", long_ask("chat", False)))
    await generating(real, 3)
    os.kill(core, signal.SIGKILL)
    for call, dialect in zip(calls, ("chat", "messages"), strict=True):
        status, raw, _ = await asyncio.wait_for(call, PATIENCE)
        docs = events(raw)
        assert status == 200
        assert "[DONE]" not in docs
        assert docs[-1]["error"]["message"], dialect
        assert b"message_stop" not in raw
    status, raw, _ = await asyncio.wait_for(whole, PATIENCE)
    assert status == 503
    assert json.loads(raw)["error"]["gateway_code"] == "GENERATION_ERROR"
    assert not real.is_ready()
    status, raw, headers = await post(real, "chat", ask("chat", "Hello"))
    assert status == 503
    assert headers["retry-after"]
    took = await asyncio.to_thread(real.wait_ready, 180)
    print(f"engine back {took:.1f} s after SIGKILL")
    status, _, _ = await post(real, "chat", ask("chat", "Hello", max_tokens=4))
    assert status == 200


def engine_core(parent: int) -> int:
    """Pid of vLLM's engine core below a process."""
    table = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in table.splitlines()]
    below = {parent}
    for _ in range(4):
        below |= {int(pid) for pid, ppid, _ in rows if int(ppid) in below}
    return next(int(pid) for pid, _, args in rows if int(pid) in below and "EngineCore" in args)


async def test_health_is_a_real_generation(real: Gateway) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(real.url + "/health") as reply,
    ):
        report = await reply.json()
    assert report["status"] in ("healthy", "degraded")
    assert report["model_loaded"] is True
    assert report["response_time"] > 0
    assert report["memory_usage"] > 500
    assert report["multimodal_enabled"] is False


async def test_keys_and_limits_in_front_of_the_real_engine(real: Gateway) -> None:
    async with (
        aiohttp.ClientSession(headers=AUTH) as session,
        session.get(real.url + "/v1/usage") as reply,
    ):
        usage = await reply.json()
    assert usage["requests_last_hour"] > 0
    assert usage["reset_time"]
