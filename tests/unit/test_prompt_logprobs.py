"""Logprobs of a prompt cost the engine megabytes a token: refused, or the prompt is bounded."""

from __future__ import annotations

from typing import Any

import pytest

from gemma_gateway.core.dialect import Dialect
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.settings import Tier
from gemma_gateway.validation.prompt_logprobs import check_prompt_logprobs
from gemma_gateway.wire.anthropic.messages import Messages
from gemma_gateway.wire.openai.chat import Chat
from gemma_gateway.wire.openai.completions import Completions
from gemma_gateway.wire.openai.responses import Responses

CHAT, COMPLETIONS = Chat(), Completions()
SAID = {"messages": [{"role": "user", "content": "hi"}]}
OPEN = Tier(prompt_logprobs_tokens=100)


def refusal(dialect: Dialect, body: dict[str, Any], tier: Tier) -> str | None:
    with pytest.raises(GatewayError) as caught:
        check_prompt_logprobs(dialect, body, tier)
    assert caught.value.code is Code.VALIDATION_ERROR
    return caught.value.param


ASKING: list[tuple[Dialect, dict[str, Any], str]] = [
    (COMPLETIONS, {"prompt": "hi", "prompt_logprobs": 20}, "prompt_logprobs"),
    (COMPLETIONS, {"prompt": "hi", "prompt_logprobs": 0}, "prompt_logprobs"),
    (COMPLETIONS, {"prompt": "hi", "echo": True, "logprobs": 1}, "echo"),
    (COMPLETIONS, {"prompt": "hi", "echo": True, "logprobs": 0}, "echo"),
    (COMPLETIONS, {"prompt": "hi", "echo": True, "logprobs": False}, "echo"),
    (CHAT, {**SAID, "prompt_logprobs": 1}, "prompt_logprobs"),
    (CHAT, {**SAID, "echo": True}, "echo"),
    (CHAT, {**SAID, "echo": True, "logprobs": False}, "echo"),
]


@pytest.mark.parametrize(("dialect", "body", "field"), ASKING)
def test_each_way_to_ask_needs_the_operators_word(
    dialect: Dialect, body: dict[str, Any], field: str
) -> None:
    assert refusal(dialect, body, Tier()) == field
    check_prompt_logprobs(dialect, body, OPEN)


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (COMPLETIONS, {"prompt": "x" * 5000, "echo": True}),
        (COMPLETIONS, {"prompt": "x" * 5000, "logprobs": 5, "echo": False}),
        (COMPLETIONS, {"prompt": "x" * 5000, "prompt_logprobs": None}),
        (CHAT, {**SAID, "logprobs": True, "top_logprobs": 20, "echo": False}),
        (Messages(), {"messages": []}),
        (Responses(), {"input": "x", "top_logprobs": 5}),
    ],
)
def test_logprobs_of_answers_need_none(dialect: Dialect, body: dict[str, Any]) -> None:
    check_prompt_logprobs(dialect, body, Tier())


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (COMPLETIONS, {"prompt": "x" * 100, "prompt_logprobs": 0}),
        (COMPLETIONS, {"prompt": "é" * 50, "prompt_logprobs": 0}),
        (COMPLETIONS, {"prompt": ["x" * 30] * 4, "prompt_logprobs": 0}),
        (COMPLETIONS, {"prompt": "x" * 30, "n": 4, "prompt_logprobs": 0}),
        (COMPLETIONS, {"prompt": "x" * 30, "best_of": 4, "prompt_logprobs": 0}),
        (COMPLETIONS, {"prompt": "x" * 30, "suffix": "x" * 90, "prompt_logprobs": 0}),
        (CHAT, {**SAID, "tools": [{"x": "x" * 90}], "echo": True}),
        (CHAT, {**SAID, "documents": [{"text": "x" * 90}], "echo": True}),
        (CHAT, {"messages": [{"role": "user", "content": "x" * 90}], "echo": True}),
    ],
)
def test_the_prompt_is_bounded_by_its_bytes(dialect: Dialect, body: dict[str, Any]) -> None:
    assert refusal(dialect, body, OPEN) in ("prompt_logprobs", "echo")
    check_prompt_logprobs(dialect, body, Tier(prompt_logprobs_tokens=1000))


def test_an_image_is_many_tokens_in_few_bytes() -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    body = {"messages": [{"role": "user", "content": [part]}], "prompt_logprobs": 0}
    assert refusal(CHAT, body, Tier(prompt_logprobs_tokens=10_000)) == "prompt_logprobs"
