"""The one rule that only an engine in process can feed: calls that wait in it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp

from tests.calls import ask, post
from tests.process import OPERATOR, Gateway


async def queue_time(gateway: Gateway, state: str, seconds: float) -> dict[str, Any]:
    """The newest alert of the rule, once it is in this state."""
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    end = time.monotonic() + seconds
    async with aiohttp.ClientSession(headers=headers) as session:
        while True:
            async with session.get(gateway.url + "/v1/monitoring/alerts") as reply:
                report = await reply.json()
            found = [a for a in report["data"] if a["rule"] == "queue_time"]
            if found and found[0]["state"] == state:
                return dict(found[0])
            assert time.monotonic() < end, report
            await asyncio.sleep(0.2)


async def test_calls_that_wait_in_the_engine(real: Gateway) -> None:
    """Forty calls at once are more than the sixteen that this engine works on."""
    body = ask("chat", "What was by the sea?", max_tokens=3, ignore_eos=True)
    answers = await asyncio.gather(*(post(real, "chat", body) for _ in range(40)))
    assert {status for status, _, _ in answers} == {200}
    alert = await queue_time(real, "firing", 30)
    assert alert["value"] > alert["threshold"] == 0.005
    over = await queue_time(real, "resolved", 60)  # twenty seconds without such calls, then two
    assert over["id"] == alert["id"]
