"""What breaks in production, broken on purpose in front of the real engine."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import aiohttp
import pytest

from tests.calls import ask, ending, events, post
from tests.process import AUTH, Gateway

RUNNING = "vllm:num_requests_running"
LONG = {"max_tokens": 1000, "max_output_tokens": 1000, "ignore_eos": True, "min_tokens": 900}


async def running(gateway: Gateway) -> float:
    """What vLLM itself says that it is generating now."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(gateway.url + "/metrics") as reply,
    ):
        lines = (await reply.text()).splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(RUNNING + "{"))


async def until(gateway: Gateway, wanted: bool, seconds: float) -> float:
    """Seconds until vLLM runs something, or nothing."""
    started = time.monotonic()
    while (await running(gateway) > 0) is not wanted:
        assert time.monotonic() - started < seconds, f"running is not {wanted}"
        await asyncio.sleep(0.01)
    return time.monotonic() - started


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
    await until(real, False, 10)
    call = asyncio.create_task(post(real, dialect, long_ask(dialect, stream)))
    await until(real, True, 10)
    await asyncio.sleep(0.3)
    call.cancel()
    took = await until(real, False, 15)
    print(f"{dialect} stream={stream}: vLLM idle {took * 1000:.0f} ms after the client left")
    line = await left_line(real)
    assert line["outcome"] == "client_closed"
    assert 0 < line["output_tokens"] < 900
    assert "usage_estimated" not in line


async def left_line(gateway: Gateway) -> dict[str, object]:
    """The access-log line of the last call."""
    await asyncio.sleep(0.2)
    lines = [line for line in gateway.text().splitlines() if line.startswith('{"time":')]
    return dict(json.loads([line for line in lines if '"route"' in line][-1]))


async def test_a_blocked_stream_stops_the_generation(real: Gateway) -> None:
    body = ask("chat", "x", stream=True, structured_outputs={"regex": "so much h[a]te( and more)*"})
    _, raw, _ = await post(real, "chat", {**body, "max_tokens": 1000})
    assert ending("chat", events(raw)) == ("content_filter", True)
    await until(real, False, 15)


async def test_the_engine_core_killed(real: Gateway) -> None:
    """Calls in flight end with an error, readiness goes, the engine comes back by itself."""
    core = engine_core(real.pid)
    calls = [asyncio.create_task(post(real, d, long_ask(d, True))) for d in ("chat", "messages")]
    whole = asyncio.create_task(post(real, "chat", long_ask("chat", False)))
    await until(real, True, 10)
    await asyncio.sleep(1)
    os.kill(core, signal.SIGKILL)
    for call, dialect in zip(calls, ("chat", "messages"), strict=True):
        status, raw, _ = await asyncio.wait_for(call, 10)
        docs = events(raw)
        assert status == 200
        assert "[DONE]" not in docs
        assert docs[-1]["error"]["message"], dialect
        assert b"message_stop" not in raw
    status, raw, _ = await asyncio.wait_for(whole, 10)
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


async def test_sigterm_lets_calls_finish(model_folder: Path, tmp_path: Path) -> None:
    """No new calls, those in flight finish, exit status 0, no engine core left behind."""
    with Gateway(tmp_path, wait=120, model=model_folder, drain_seconds=30) as gateway:
        core = engine_core(gateway.pid)
        body = ask("chat", "Tell me a story.", stream=True, ignore_eos=True, max_tokens=100)
        call = asyncio.create_task(post(gateway, "chat", body))
        await until(gateway, True, 10)
        stopped = asyncio.create_task(asyncio.to_thread(gateway.stop))
        await asyncio.sleep(0.3)
        with pytest.raises(aiohttp.ClientError):
            await post(gateway, "chat", ask("chat", "too late"))
        status, raw, _ = await call
        assert status == 200
        assert ending("chat", events(raw)) == ("length", True)
        assert await stopped == 0
    assert not Path(f"/proc/{core}").exists()


async def test_keys_and_limits_in_front_of_the_real_engine(real: Gateway) -> None:
    async with (
        aiohttp.ClientSession(headers=AUTH) as session,
        session.get(real.url + "/v1/usage") as reply,
    ):
        usage = await reply.json()
    assert usage["requests_last_hour"] > 0
    assert usage["reset_time"]
