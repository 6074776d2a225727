"""Records of calls that the real engine answered: what only it can tell."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp

from tests.calls import PATHS, ask, post
from tests.process import OPERATOR, Gateway

# A long question whose likeliest answer, as the bundled model's page has it, is long too.
QUESTION = (
    "Once upon a time there was a small lighthouse by the sea. " * 12 + "Why is the sky blue?"
)


async def records(gateway: Gateway, request_ids: set[str]) -> list[dict[str, Any]]:
    """The records of some calls, once they are all there."""
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for _ in range(100):
            url = gateway.url + "/v1/monitoring/calls?limit=1000"
            async with session.get(url) as reply:
                assert reply.status == 200
                rows = json.loads(await reply.read())["data"]
            found = [row for row in rows if row["request_id"] in request_ids]
            if len(found) == len(request_ids):
                return found
            await asyncio.sleep(0.1)
    raise AssertionError(f"{len(found)} of {len(request_ids)} records")


def named(name: str) -> dict[str, str]:
    return {"x-request-id": name, "Authorization": f"Bearer {OPERATOR}"}


async def test_every_dialect_leaves_its_record(real: Gateway) -> None:
    names = {f"{d}-{s}": (d, s) for d in PATHS for s in (False, True)}
    usage = {}
    for name, (dialect, stream) in names.items():
        most = "max_output_tokens" if dialect == "responses" else "max_tokens"
        body = ask(dialect, QUESTION, stream=stream, temperature=0) | {most: 8, "ignore_eos": True}
        status, raw, _ = await post(real, dialect, body, named(name))
        assert status == 200
        if not stream:
            usage[name] = json.loads(raw)["usage"]
    for row in await records(real, set(names)):
        dialect, stream = names[row["request_id"]]
        assert (row["route"], row["stream"]) == (PATHS[dialect], stream)
        assert (row["outcome"], row["status"], row["upstream"]) == ("ok", 200, "local")
        assert row["output_tokens"] == 8
        assert row["input_tokens"] > 100
        assert not row["usage_estimated"]
        assert row["finish_reason"] in {"length", "max_output_tokens", "max_tokens"}
        assert row["queue_time"] is not None
        assert 0 <= row["queue_time"] < row["response_time"]
        assert (row["time_to_first_token"] is not None) is stream
        assert row["memory_mb"] > 500  # the engine's processes are counted
        assert row["input_length"] == len(QUESTION)
        if told := usage.get(row["request_id"]):
            read = told.get("prompt_tokens", told.get("input_tokens"))
            assert row["input_tokens"] == read + told.get("cache_read_input_tokens", 0)


async def test_what_a_client_left_behind_is_recorded(real: Gateway) -> None:
    body = ask("chat", "Count to a thousand.", stream=True, ignore_eos=True, min_tokens=900)
    headers = named("left") | {"content-type": "application/json"}
    body["max_tokens"] = 1000
    async with (
        aiohttp.ClientSession() as session,
        session.post(real.url + PATHS["chat"], json=body, headers=headers) as reply,
    ):
        await reply.content.readuntil(b"content")
        reply.close()
    [row] = await records(real, {"left"})
    assert (row["outcome"], row["status"], row["finish_reason"]) == ("client_closed", 499, "")
    assert row["queue_time"] is not None
    assert 0 < row["output_tokens"] < 900
    assert not row["usage_estimated"]  # the engine's own count
