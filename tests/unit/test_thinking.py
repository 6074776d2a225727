"""Thinking, tools and flags that a server hasn't: what its client hears, and what a tier drops."""

from __future__ import annotations

from typing import Any

import pytest

from gemma_gateway.core.call import Change
from gemma_gateway.engines.scripted import ScriptedReply
from tests.calls import ask
from tests.road import Road, Told, say

NO_THINKING = (
    "thinking_token_budget is set but reasoning_config is not configured. Please set "
    "--reasoning-parser and/or --reasoning-config to use thinking_token_budget."
)
NO_TOOLS = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
THINKING = {"type": "enabled", "budget_tokens": 1024}
TOOLS = [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize(
    ("dialect", "sent", "said", "message", "param"),
    [
        ("messages", {"thinking": THINKING}, NO_THINKING, "no extended thinking", "thinking"),
        ("chat", {"thinking_token_budget": 9}, NO_THINKING, "no extended thinking",
         "thinking_token_budget"),
        ("chat", {"tools": TOOLS}, NO_TOOLS, "without tools; leave tools out", "tools"),
        ("chat", {"tools": TOOLS, "tool_choice": "required"}, NO_TOOLS, "leave tool_choice out",
         "tool_choice"),
        ("chat", {}, "Too long. Set VLLM_MAX_LEN or --max-len. Send less.", "Too long. Send less.",
         "x"),
        ("chat", {}, "Only --with-flags.", "isn't set up", "x"),
        ("chat", {}, "Max is 5; got 7.", "Max is 5; got 7.", "x"),
    ],
)  # fmt: skip
async def test_clients_hear_nothing_of_the_servers_flags(
    dialect: str, sent: dict[str, Any], said: str, message: str, param: str
) -> None:
    refused = {"error": {"message": said, "param": "x", "code": 400}}
    road = Road(lambda request: ScriptedReply.json(refused, 400))
    error = (await road.post(dialect, ask(dialect, "hi", **sent))).json()["error"]
    assert (error["gateway_code"], error["param"]) == ("VALIDATION_ERROR", param)
    assert message in error["message"]
    assert "--" not in error["message"]
    assert "VLLM" not in error["message"]


@pytest.mark.parametrize(
    ("dialect", "sent", "left", "dropped"),
    [
        ("messages", {"thinking": THINKING}, {}, ["thinking"]),
        ("messages", {"thinking": {"type": "adaptive"}}, {"thinking": {"type": "adaptive"}}, []),
        ("messages", {"thinking": {"type": "disabled"}}, {"thinking": {"type": "disabled"}}, []),
        ("chat", {"thinking_token_budget": -1}, {}, ["thinking_token_budget"]),
        ("chat", {"reasoning_effort": "high"}, {"reasoning_effort": "high"}, []),
    ],
)
async def test_a_tier_may_have_it_dropped(
    told: Told, dialect: str, sent: dict[str, Any], left: dict[str, Any], dropped: list[str]
) -> None:
    names = ("thinking", "thinking_token_budget", "reasoning_effort")
    road = Road(say("fine"), tiers={"default": {"thinking": "drop"}})
    assert (await road.post(dialect, ask(dialect, "hi", **sent))).status == 200
    reached = road.engine.requests[0].document
    assert {name: reached[name] for name in names if name in reached} == left
    assert told.calls[0][0].request.changes == [Change(name, "dropped") for name in dropped]


@pytest.mark.parametrize(
    ("thinking", "param"),
    [
        (True, "thinking"),
        ({"type": "enabled", "budget_tokens": 1023}, "thinking.budget_tokens"),
        ({"type": "enabled", "budget_tokens": 1024.5}, "thinking.budget_tokens"),
    ],
)
async def test_thinking_has_a_shape(thinking: Any, param: str) -> None:
    reply = await Road().post("messages", ask("messages", "hi", thinking=thinking))
    assert (reply.status, reply.json()["error"]["param"]) == (400, param)
