"""Whose doing an outcome was: what it costs the caller's window, and where it shows."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import openai
import pytest

from tests.calls import PATHS, Json, ask, events, post, state
from tests.process import AUTH, KEY, OPERATOR, Engine, Gateway
from tests.waiting import until

TEXT = {"pieces": ["one ", "two ", "three ", "four ", "five "]}


async def get(gateway: Gateway, path: str, key: str = "") -> Any:
    headers = {"Authorization": f"Bearer {key}"} if key else AUTH
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(gateway.url + path) as reply,
    ):
        return await (reply.text() if path == "/metrics" else reply.json())


async def faults(gateway: Gateway) -> dict[str, float]:
    found = re.findall(
        r'^gateway_faults_total\{fault="(\w+)",model="[^"]+"\} (\S+)',
        await get(gateway, "/metrics"),
        re.MULTILINE,
    )
    return {fault: sum(float(n) for other, n in found if other == fault) for fault, _ in found}


def code_of(raw: bytes) -> str:
    """The error's code, of a whole answer or at a stream's end; empty for none."""
    doc = events(raw)[-1] if b"data: " in raw else json.loads(raw)
    error = doc.get("error") if isinstance(doc, dict) else None
    return str(error["gateway_code"]) if error else ""


# route, body, code, whose doing, whether it spends a request of the window
SPENDING: dict[str, tuple[str, Any, str, str, bool]] = {
    "well": ("chat", ask("chat", "echo: hi"), "", "", True),
    "no JSON": ("chat", b"{", "VALIDATION_ERROR", "caller", True),
    "a wrong field": ("chat", ask("chat", "x", n=-1), "VALIDATION_ERROR", "caller", True),
    "no such model": ("chat", ask("chat", "x", model="no"), "MODEL_NOT_FOUND", "caller", True),
    "filtered input": ("chat", ask("chat", "I hate"), "CONTENT_FILTERED", "policy", True),
    "tokenize": ("/tokenize", {"prompt": "x"}, "", "", False),
    "detokenize": ("/detokenize", {"tokens": [1]}, "", "", False),
    "count_tokens": ("/v1/messages/count_tokens", ask("messages", "x"), "", "", False),
    **{
        f"the engine's {status}": (
            "messages",
            ask("messages", "x", loopback={"status": status}),
            code,
            "caller" if spends else "engine",
            spends,
        )
        for status, code, spends in [
            (400, "VALIDATION_ERROR", True),
            (413, "VALIDATION_ERROR", True),
            (422, "VALIDATION_ERROR", True),
            (401, "UPSTREAM_KEY_REFUSED", False),
            (403, "UPSTREAM_KEY_REFUSED", False),
            (404, "UPSTREAM_ROUTE_MISSING", False),
            (405, "UPSTREAM_ROUTE_MISSING", False),
            (501, "UPSTREAM_ROUTE_MISSING", False),
            (429, "ENGINE_OVERLOADED", False),
            (500, "GENERATION_ERROR", False),
            (502, "GENERATION_ERROR", False),
            (503, "GENERATION_ERROR", False),
            (504, "GENERATION_ERROR", False),
            (529, "GENERATION_ERROR", False),
        ]
    },
    **{
        f"a {name} in {dialect}": (
            dialect,
            ask(dialect, "x", stream="stream" in name, loopback=TEXT | script),
            code,
            "engine",
            spends,
        )
        for dialect in PATHS
        for name, script, code, spends in [
            ("connection that is cut", {"die": -1}, "ENGINE_UNAVAILABLE", False),
            ("stream cut before its first text", {"die": 0}, "GENERATION_ERROR", False),
            ("stream cut after it", {"die": 8}, "GENERATION_ERROR", True),
            ("failure told in a stream before its first text", {"error": 0}, "GENERATION_ERROR",
             False),
        ]
    },
    "a stream that is silent": (
        "chat", ask("chat", "x", stream=True, loopback={"stall": 0}), "ENGINE_TIMEOUT", "engine",
        True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(SPENDING))
async def test_what_spends_a_request(gateway: Gateway, case: str) -> None:
    route, body, code, fault, spends = SPENDING[case]
    before, counted = await get(gateway, "/v1/usage"), await faults(gateway)
    _, raw, headers = await post(gateway, route, body)
    after = await get(gateway, "/v1/usage")
    assert code_of(raw) == code
    assert after["requests_last_hour"] - before["requests_last_hour"] == int(spends)
    assert before["remaining_requests"] - after["remaining_requests"] == int(spends)
    # A stream's head was sent before it was known, and what generates nothing counts apart.
    if b"data: " not in raw and route in PATHS:
        assert int(headers["x-ratelimit-remaining-requests"]) == after["remaining_requests"]
    now = await faults(gateway)
    counted[fault] = counted.get(fault, 0) + 1
    assert now == {who: number for who, number in counted.items() if who}
    if route in PATHS:
        call = (await get(gateway, "/v1/monitoring/calls?limit=1", OPERATOR))["data"][0]
        assert (call["outcome"], call["fault"]) == (code or "ok", fault)


async def test_a_client_that_leaves_has_spent_its_request(gateway: Gateway, engine: Engine) -> None:
    before, earlier = await get(gateway, "/v1/usage"), await state(engine)
    call = asyncio.create_task(post(gateway, "chat", ask("chat", "x", loopback={"wait": 300})))

    async def seen(what: str) -> bool:
        return bool((await state(engine))[what] == earlier[what] + 1)

    await until(lambda: seen("calls"), "the engine has the call")
    call.cancel()
    await until(lambda: seen("aborted"), "the engine is told")
    after = await get(gateway, "/v1/usage")
    assert after["requests_last_hour"] == before["requests_last_hour"] + 1


@pytest.mark.parametrize("dialect", list(PATHS))
@pytest.mark.parametrize(
    ("status", "said", "told", "again"),
    [
        (429, "7", "7", "true"),
        (503, "17", "17", "true"),
        (503, "0", "1", "true"),
        (429, None, "1", "true"),
        (429, "soon", "1", "true"),
        (500, "61", "61", "false"),
        (429, "999999999", "3600", "false"),
        (503, "Fri, 31 Dec 9999 23:59:59 GMT", "3600", "false"),
    ],
)
async def test_the_engine_s_retry_after_is_passed_on(
    gateway: Gateway, dialect: str, status: int, said: str | None, told: str, again: str | None
) -> None:
    script: Json = {"status": status, "headers": {"Retry-After": said} if said else {}}
    _, _, headers = await post(gateway, dialect, ask(dialect, "x", loopback=script))
    assert headers["retry-after"] == told
    assert headers["retry-after-ms"] == told + "000"
    assert headers["x-should-retry"] == again
    # It belongs to that answer alone, not to the connection.
    _, _, headers = await post(gateway, dialect, ask(dialect, "x", loopback={"status": 429}))
    assert headers["retry-after"] == "1"


async def test_a_time_out_is_not_to_be_repeated(gateway: Gateway) -> None:
    """The SDKs would have the engine work for it three times. (A stream without a byte yet.)"""
    body = ask("chat", "x", stream=True, loopback={"wait": 300})
    status, raw, headers = await post(gateway, "chat", body)
    assert (status, code_of(raw)) == (504, "ENGINE_TIMEOUT")
    assert headers["x-should-retry"] == "false"


async def test_the_sdks_do_not_sleep_through_a_long_wait(engine: Engine, tmp_path: Path) -> None:
    """Told to come back in an hour, each raises at once; its retries would come only then."""
    with Gateway(tmp_path, upstreams=engine.url + "/v1", requests_per_hour=1) as gateway:
        await post(gateway, "chat", ask("chat", "echo: hi"))
        text: Any = [{"role": "user", "content": "hi"}]
        async with (
            asyncio.timeout(300),  # it would sleep for an hour
            openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key=KEY) as client,
        ):
            with pytest.raises(openai.RateLimitError):
                await client.chat.completions.create(model="", messages=text)
        async with (
            asyncio.timeout(300),
            anthropic.AsyncAnthropic(base_url=gateway.url, api_key=KEY) as other,
        ):
            with pytest.raises(anthropic.RateLimitError):
                await other.messages.create(model="gemma-3-270m", max_tokens=9, messages=text)
        metrics = await get(gateway, "/metrics")
        assert re.search(r'rate_limit_decisions_total\{decision="denied".*\} 2\.0', metrics)
