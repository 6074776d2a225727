"""How the whole product stops: the last of its tests."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from tests.calls import ask, ending, events, post
from tests.e2e.product.test_drills import engine_core, generating
from tests.process import Gateway


async def test_sigterm_lets_calls_finish(real: Gateway) -> None:
    """No new calls, those in flight finish, exit status 0, no engine core left behind."""
    core = engine_core(real.pid)
    body = ask("chat", "Tell me a story.", stream=True, ignore_eos=True, max_tokens=100)
    call = asyncio.create_task(post(real, "chat", body))
    await generating(real)
    stopped = asyncio.create_task(asyncio.to_thread(real.stop))
    with pytest.raises(aiohttp.ClientError):
        await ask_on(real)
    status, raw, _ = await call
    assert status == 200
    assert ending("chat", events(raw)) == ("length", True)
    assert await stopped == 0
    assert not Path(f"/proc/{core}").exists()


async def ask_on(gateway: Gateway) -> None:
    """Ask until it takes no more."""
    while True:
        await post(gateway, "chat", ask("chat", "too late", max_tokens=1))
        await asyncio.sleep(0.05)
