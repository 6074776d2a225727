"""Bounds, defaults and engine internals, the same in every dialect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_gateway.core.call import Principal, Request
from gemma_gateway.core.dialect import Dialect
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.main import DIALECTS
from gemma_gateway.settings import Tier
from gemma_gateway.validation import fields
from gemma_gateway.validation.fields import INTERNALS
from gemma_gateway.validation.parameters import CHECKS
from gemma_gateway.validation.request import validate
from gemma_gateway.wire.openai.chat import Chat
from gemma_gateway.wire.openai.completions import Completions
from gemma_gateway.wire.vllm.tokenize import Detokenize, Tokenize

TIER = Tier()


def checked(
    body: dict[str, Any],
    dialect: Dialect | None = None,
    tier: Tier = TIER,
    allow: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    dialect = dialect or Chat()
    if dialect.name == "chat":
        body = {"messages": [{"role": "user", "content": "hi"}], **body}
    fields.select(dialect, body, allow)
    caller = Principal("key", "name", "default", tier)
    request = Request(body=body, messages=dialect.messages(body))
    validate(dialect, request, caller, allow)
    return body


def refusal(body: dict[str, Any], **kwargs: Any) -> str | None:
    with pytest.raises(GatewayError) as caught:
        checked(body, **kwargs)
    assert caught.value.code is Code.VALIDATION_ERROR
    return caught.value.param


def test_the_tiers_defaults_stand_where_the_client_says_nothing() -> None:
    body = checked({})
    assert body["max_tokens"] == 512
    assert (body["temperature"], body["top_p"], body["repetition_penalty"]) == (0.7, 0.9, 1.05)
    body = checked({"temperature": None, "max_tokens": None})
    assert (body["temperature"], body["max_tokens"]) == (0.7, 512)


def test_the_clients_own_values_stay() -> None:
    sent = {
        "temperature": 0,
        "top_p": 1,
        "repetition_penalty": 1.0,
        "max_tokens": 7,
    }
    body = checked(dict(sent))
    assert {key: body[key] for key in sent} == sent


def test_max_tokens_is_capped_under_each_of_its_names() -> None:
    body = checked({"max_tokens": 5000, "max_completion_tokens": 9000})
    assert (body["max_tokens"], body["max_completion_tokens"]) == (1024, 1024)
    tier = Tier(max_tokens_default=10, max_tokens_cap=20)
    assert checked({"prompt": "x"}, Completions(), tier)["max_tokens"] == 10
    assert checked({"prompt": "x", "max_tokens": 21}, Completions(), tier)["max_tokens"] == 20


@pytest.mark.parametrize(
    ("sent", "bound"),
    [
        ({}, 512),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 5}, 5),
        ({"max_completion_tokens": None, "max_tokens": 7}, 7),
        ({"max_completion_tokens": 9000}, 1024),
        ({"max_completion_tokens": 6, "max_tokens": 5000}, 6),
        ({"max_completion_tokens": 5000, "max_tokens": 6}, 1024),
    ],
)
def test_chat_sends_one_bound_under_both_names(sent: dict[str, Any], bound: int) -> None:
    body = checked(dict(sent))
    assert (body["max_tokens"], body["max_completion_tokens"]) == (bound, bound)


def test_tokens_that_run_along_stay_within_max_tokens() -> None:
    body = checked({"max_tokens": 9, "min_tokens": 50, "thinking_token_budget": 1000})
    assert (body["min_tokens"], body["thinking_token_budget"]) == (9, 9)
    assert checked({"thinking_token_budget": -1})["thinking_token_budget"] == -1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", ""),
        ("model", 5),
        ("model", "a" * 257),
        ("stream", "true"),
        ("stream", 1),
        ("stream_options", True),
        ("stream_options", {"include_usage": "yes"}),
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("max_tokens", True),
        ("max_tokens", 1.5),
        ("max_tokens", "10"),
        ("max_tokens", 2**40),
        ("max_completion_tokens", 0),
        ("min_tokens", -1),
        ("thinking_token_budget", -2),
        ("n", 0),
        ("n", 9),
        ("n", True),
        ("best_of", 9),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", "hot"),
        ("temperature", True),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_p", 0),
        ("top_p", 1.1),
        ("min_p", -1),
        ("top_k", -2),
        ("top_k", 1.5),
        ("repetition_penalty", 0),
        ("presence_penalty", 3),
        ("frequency_penalty", [1]),
        ("seed", 2**63),
        ("seed", 1.5),
        ("seed", 2.0**63),
        ("logprobs", "yes"),
        ("top_logprobs", -1),
        ("top_logprobs", 21),
        ("prompt_logprobs", -1),
        ("stop", ["a"] * 5),
        ("stop", "a" * 257),
        ("stop", [1]),
        ("stop", {"a": 1}),
        ("bad_words", ["a"] * 129),
        ("logit_bias", [1]),
        ("logit_bias", {"a": 1}),
        ("logit_bias", {"5": "x"}),
        ("logit_bias", {str(i): 1 for i in range(1025)}),
        ("stop_token_ids", [1] * 1025),
        ("allowed_token_ids", ["a"]),
        ("repetition_detection", {"max_pattern_size": 33}),
        ("repetition_detection", {"min_count": 257}),
        ("structured_outputs", "x"),
        ("structured_outputs", {"regex": "a" * 3000}),
        ("structured_outputs", {"regex": "a"}),
        ("structured_outputs", {"_backend": "outlines"}),
        ("stream_options", {"odd": True}),
        ("chat_template_kwargs", {"bos_token": "x"}),
        ("chat_template_kwargs", {"messages": []}),
        ("chat_template_kwargs", {"enable_thinking": "<start_of_turn>"}),
        ("chat_template_kwargs", {"enable_thinking": [True]}),
        ("chat_template_kwargs", [1]),
        ("structured_outputs", {"regex": 5}),
        ("structured_outputs", {"choice": ["x" * 70_000]}),
        ("response_format", {"type": "json_schema", "json_schema": {"x": "y" * 70_000}}),
        ("ignore_eos", "no"),
    ],
)
def test_values_out_of_bounds_name_their_field(field: str, value: Any) -> None:
    param = refusal({field: value})
    assert param is not None
    assert param.partition(".")[0] == field


@pytest.mark.parametrize("field", sorted(INTERNALS))
def test_engine_internals_need_the_operators_word(field: str) -> None:
    value = "x" if field in ("chat_template", "cache_salt") else 5
    assert refusal({field: value}) == field
    assert checked({field: value}, allow=frozenset({field}))[field] == value
    assert field not in checked({field: None})


def test_template_variables_need_the_operators_word() -> None:
    sent = {"chat_template_kwargs": {"date_string": "26 July 2027", "enable_thinking": None}}
    assert refusal(sent) == "chat_template_kwargs"
    allow = frozenset({"chat_template_kwargs.date_string"})
    assert checked(dict(sent), allow=allow)["chat_template_kwargs"] == sent["chat_template_kwargs"]


def test_what_vllm_knows_passes_untouched() -> None:
    sent: dict[str, Any] = {
        "model": "google/gemma-3-4b-it:latest",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "logprobs": True,
        "top_logprobs": 5,
        "n": 2,
        "seed": -1,
        "stop": ["\n", "END"],
        "stream": True,
        "stream_options": {"include_usage": True},
        "structured_outputs": {"choice": ["yes", "no"]},
        "chat_template_kwargs": {"enable_thinking": True},
        "logit_bias": {"5": -100},
        "top_k": -1,
        "min_p": 0.1,
        "user": "u",
        "temperature": 0.2,
        "top_p": 0.5,
        "repetition_penalty": 1.0,
        "max_tokens": 5,
        "max_completion_tokens": 5,
    }
    body = checked(dict(sent))
    assert {key: body[key] for key in sent} == sent
    assert set(body) == {*sent, "messages"}


def chat(*contents: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content} for content in contents]}


def test_one_to_fifty_messages() -> None:
    assert refusal(chat()) == "messages"
    assert refusal({**chat(), "tools": [{"function": {"name": "f"}}]}) == "messages"
    assert refusal(chat(*["x"] * 51)) == "messages"
    assert checked(chat(*["x"] * 50))
    many = {**chat(*["x"] * 50), "tools": [{"function": {"name": "f"}}], "stop": "x"}
    assert checked(many)


def test_long_messages_are_refused_or_cut() -> None:
    assert checked(chat("é" * 8192))
    assert refusal(chat("x", "é" * 8193)) == "messages.1"
    parts = [{"type": "text", "text": "a" * 5000}, {"type": "text", "text": "b" * 5000}]
    assert refusal(chat(parts)) == "messages.0"
    body = checked(chat(parts), tier=Tier(too_long="truncate"))
    first, second = body["messages"][0]["content"]
    assert (len(first["text"]), len(second["text"])) == (5000, 3192)
    tools = [{"type": "function", "function": {"name": "f", "description": "x" * 20_000}}]
    assert checked({"tools": tools})


def test_prompts_count_as_messages_and_as_generations() -> None:
    completions = Completions()
    assert checked({"prompt": ["a"] * 8}, completions)
    assert refusal({"prompt": ["a"] * 9}, dialect=completions) == "prompt"
    assert checked({"prompt": ["a"] * 4, "n": 2}, completions)
    assert refusal({"prompt": ["a"] * 4, "n": 3}, dialect=completions) == "n"
    assert refusal({"prompt": "a" * 8193}, dialect=completions) == "prompt"
    assert refusal({"prompt": ["a", "a" * 8193]}, dialect=completions) == "prompt.1"
    assert refusal({"prompt": "a", "logprobs": 21}, dialect=completions) == "logprobs"


def test_routes_that_generate_nothing_get_no_generation_fields() -> None:
    body = checked({"prompt": "a"}, Tokenize())
    assert body == {"prompt": "a"}
    assert refusal({"prompt": "a", "stream": True}, dialect=Tokenize()) == "stream"
    assert refusal({"prompt": "a", "chat_template": "x"}, dialect=Tokenize()) == "chat_template"


FIELDS = [dialect.fields for dialect in DIALECTS]
NAMED = sorted({*CHECKS, *INTERNALS, "n_predict", "guided_json", "odd"}.union(*FIELDS))
NAMES = ["role", "content", "type", "text", "name", "function", "arguments", "tool_calls"]
names = st.sampled_from([*NAMES, "image_url", "file", "url", "user", "assistant"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
    | st.text(max_size=5) | names,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5),
    max_leaves=15,
)  # fmt: skip
entries = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "tool"]) | values},
        optional={
            "content": values,
            "tool_calls": values,
            "function_call": values,
            "name": values,
            "reasoning": values,
            "refusal": values,
            "tomorrow": values,
        },
    ),
    max_size=3,
)
bodies = st.builds(
    lambda body, found: {**body, "messages": found},
    st.dictionaries(st.sampled_from(NAMED), values, max_size=6),
    entries | values,
)


@given(bodies)
def test_hostile_shapes_are_refused_and_never_crash(body: dict[str, Any]) -> None:
    for dialect in (Chat(), Completions(), Tokenize(), Detokenize()):
        try:
            fields.select(dialect, body, frozenset())
            messages = dialect.messages(body)
            caller = Principal("key", "name", "default", TIER)
            request = Request(body=body, messages=messages)
            validate(dialect, request, caller, frozenset())
        except GatewayError as error:
            assert (error.code, bool(error.param)) == (Code.VALIDATION_ERROR, True)  # noqa: PT017
        else:
            found = {s.text for m in messages for s in m.texts}
            for message in body["messages"] if dialect.name == "chat" else ():
                assert set(written(message)) - {""} <= found  # null became an empty text


def written(node: Any) -> Iterator[str]:
    """What a message says, but for the words of the protocol in its parts."""
    fields = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in fields:
        if isinstance(value, str):
            if key not in ("role", "type", "image_url", "url"):
                yield value
        elif isinstance(value, dict | list):
            yield from written(value)
