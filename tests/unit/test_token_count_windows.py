"""Calls that generate nothing count apart: they spend nothing of what generates."""

from __future__ import annotations

from typing import Any

import pytest

from gemma_gateway.core.engine import EngineFailed, EngineRequest
from gemma_gateway.engines.scripted import ScriptedReply
from tests.calls import DIALECTS, ask
from tests.road import Reply, Road, say

FREE: dict[str, Any] = {
    "/v1/messages/count_tokens": ask("messages", "hello"),
    "/tokenize": {"prompt": "hello"},
    "/detokenize": {"tokens": [1, 2]},
}
FREE_ROUTES = pytest.mark.parametrize("route", list(FREE))


def answer(request: EngineRequest) -> Any:
    if request.path in FREE:
        return ScriptedReply.json({"count": 1, "tokens": [7], "prompt": "hi", "input_tokens": 1})
    return say("Hello")(request)


def left(reply: Reply) -> int:
    return int(reply.headers["x-ratelimit-remaining-requests"])


@DIALECTS
@FREE_ROUTES
async def test_neither_spends_the_other_s(dialect: str, route: str) -> None:
    road = Road(answer, requests_per_hour=2)
    for remaining in (1, 0):
        assert left(await road.post(route, FREE[route])) == remaining
    assert (await road.post(route, FREE[route])).status == 429
    for remaining in (1, 0):
        reply = await road.post(dialect, ask(dialect, "hello"))
        assert (reply.status, left(reply)) == (200, remaining)
        usage = (await road.get("/v1/usage")).json()
        assert usage["remaining_requests"] == remaining
        assert usage["requests_last_hour"] == 2 - remaining
    assert (await road.post(dialect, ask(dialect, "hello"))).status == 429


async def test_they_share_windows_among_themselves() -> None:
    """The refusal says which are full."""
    road = Road(answer, requests_per_hour=3)
    assert [left(await road.post(route, body)) for route, body in FREE.items()] == [2, 1, 0]
    for route, body in FREE.items():
        refused = await road.post(route, body)
        assert refused.status == 429
        assert (
            "Rate limit on requests of token counts exceeded" in refused.json()["error"]["message"]
        )


@FREE_ROUTES
async def test_what_the_service_failed_is_given_back_to_them(route: str) -> None:
    def fails(request: EngineRequest) -> Any:
        if request.path in FREE:
            raise EngineFailed("unavailable")
        return say("Hello")(request)

    road = Road(fails, requests_per_hour=2)
    assert (await road.post("chat", ask("chat", "hello"))).status == 200
    for _ in range(3):
        reply = await road.post(route, FREE[route])
        assert (reply.status, left(reply)) == (503, 2)
    assert (await road.get("/v1/usage")).json()["remaining_requests"] == 1


@FREE_ROUTES
async def test_a_model_s_windows_are_for_what_generates(route: str) -> None:
    window = {"limit": 1, "seconds": 3600}
    models = [{"name": "g", "upstreams": "http://127.0.0.1:1/v1", "windows": [window]}]
    road = Road(answer, models=models)
    for _ in range(2):
        reply = await road.post(route, FREE[route] | {"model": "g"})
        assert reply.status == 200
    assert (await road.post("chat", ask("chat", "hello", model="g"))).status == 200
    assert (await road.post("chat", ask("chat", "hello", model="g"))).status == 429
