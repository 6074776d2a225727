"""What reaches the engine of a request's fields, and what its sender is told of the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.calls import DIALECTS, PATHS, ask, post, state
from tests.process import Engine, Gateway

BOUND = {
    "chat": "max_tokens",
    "completions": "max_tokens",
    "responses": "max_output_tokens",
    "messages": "max_tokens",
}


@DIALECTS
@pytest.mark.parametrize("stream", [False, True])
async def test_unknown_fields_stay_here_and_the_answer_says_so(
    gateway: Gateway, engine: Engine, dialect: str, stream: bool
) -> None:
    odd = {"zebra": 1, "a\r\nset-cookie: x": 2, "apple": {"b": [1]}, "nothing": None}
    status, _, headers = await post(gateway, dialect, ask(dialect, "hi", stream=stream, **odd))
    assert status == 200
    assert headers["x-gateway-ignored"] == "apple, zebra, +1"
    assert "set-cookie" not in headers
    assert not odd.keys() & (await state(engine))["body"].keys()
    status, _, headers = await post(gateway, dialect, ask(dialect, "hi", stream=stream))
    assert (status, headers.get("x-gateway-ignored")) == (200, None)


async def test_errors_say_so_too(gateway: Gateway) -> None:
    status, _, headers = await post(gateway, "chat", ask("chat", "hi", zebra=1, temperature=9))
    assert (status, headers["x-gateway-ignored"]) == (400, "zebra")


@DIALECTS
@pytest.mark.parametrize("field", ["n_predict", "max_new_tokens", "guided_regex", "samplers"])
async def test_other_servers_fields_are_refused_in_the_callers_dialect(
    gateway: Gateway, dialect: str, field: str
) -> None:
    status, raw, _ = await post(gateway, dialect, ask(dialect, "hi", **{field: "x"}))
    error = json.loads(raw)["error"]
    assert (status, error["gateway_code"], error["param"]) == (400, "VALIDATION_ERROR", field)
    if field in ("n_predict", "max_new_tokens"):
        assert BOUND[dialect] in error["message"]


@pytest.mark.parametrize("sent", [{"max_completion_tokens": 3}, {"max_completion_tokens": 10**6}])
async def test_chats_bound_holds_for_servers_that_know_only_its_older_name(
    gateway: Gateway, engine: Engine, sent: dict[str, Any]
) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], **sent}
    assert (await post(gateway, "chat", body))[0] == 200
    reached = (await state(engine))["body"]
    bound = min(1024, sent["max_completion_tokens"])
    assert (reached["max_tokens"], reached["max_completion_tokens"]) == (bound, bound)


@pytest.mark.parametrize(
    ("dialect", "sent", "param"),
    [
        ("completions", {"prompt_logprobs": 0}, "prompt_logprobs"),
        ("completions", {"echo": True, "logprobs": 1}, "echo"),
        ("chat", {"echo": True}, "echo"),
        ("chat", {"structured_outputs": {"regex": "a+"}}, "structured_outputs.regex"),
        ("messages", {"tools": "x"}, "tools"),
        ("responses", {"text": {"format": {"type": "json_schema", "schema": {
            "type": "string", "pattern": "((a{1,1000}){1,1000}){1,1000}"}}}}, "text.format"),
    ],
)  # fmt: skip
async def test_what_the_engine_can_t_afford_never_reaches_it(
    gateway: Gateway, engine: Engine, dialect: str, sent: dict[str, Any], param: str
) -> None:
    calls = (await state(engine))["calls"]
    status, raw, _ = await post(gateway, dialect, {**ask(dialect, "hi"), **sent})
    error = json.loads(raw)["error"]
    assert (status, error["gateway_code"], error["param"]) == (400, "VALIDATION_ERROR", param)
    assert (await state(engine))["calls"] == calls


async def test_counting_takes_a_whole_message_body(gateway: Gateway) -> None:
    """Clients count the body that they are about to send."""
    body = ask("messages", "hi", temperature=0.5, stop_sequences=["x"])
    status, _, headers = await post(gateway, PATHS["messages"] + "/count_tokens", body)
    assert status == 200
    assert headers["x-gateway-ignored"] == "max_tokens, stop_sequences, temperature"
