"""Input is taken as its clients mean it: numbers that are equal, fields that say nothing, and what
an engine would refuse though it has a meaning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gemma_gateway.core.call import Principal, Request
from gemma_gateway.core.dialect import Dialect
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.main import DIALECTS
from gemma_gateway.settings import Tier
from gemma_gateway.validation import fields
from gemma_gateway.validation.request import validate
from tests.calls import ask
from tests.road import Road

ROUTES = {dialect.name: dialect for dialect in DIALECTS}
TIER = Tier(max_tokens_cap=5000, max_stop=6, prompt_logprobs_tokens=10_000)
TOOLS = [{"type": "function", "name": "f", "function": {"name": "f"}, "input_schema": {}}]


def asked(route: str, **more: Any) -> dict[str, Any]:
    if route == "detokenize":
        return {"tokens": [1], **more}
    if route in ("tokenize", "count_tokens"):
        return {"messages": [{"role": "user", "content": "hi"}], **more}
    return ask(route, "hi", **more)


def sent_on(route: str, body: dict[str, Any], tier: Tier = TIER) -> dict[str, Any]:
    """What an engine gets of a body."""
    dialect: Dialect = ROUTES[route]
    fields.select(dialect, body, frozenset())
    request = Request(body=body, messages=dialect.messages(body))
    validate(dialect, request, Principal("key", "name", "default", tier), frozenset())
    return body


def refused(route: str, tier: Tier = TIER, **more: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        sent_on(route, asked(route, **more), tier)
    assert caught.value.code is Code.VALIDATION_ERROR
    return caught.value


# Every field that holds an integer: its path, and a value that is in bounds.
WHOLE: dict[tuple[Any, ...], int] = {
    ("max_tokens",): 1100,
    ("max_completion_tokens",): 1100,
    ("max_output_tokens",): 1100,
    ("min_tokens",): 3,
    ("thinking_token_budget",): 3,
    ("n",): 2,
    ("best_of",): 2,
    ("top_k",): 40,
    ("seed",): 42,
    ("logprobs",): 5,
    ("top_logprobs",): 5,
    ("prompt_logprobs",): 5,
    ("truncate_prompt_tokens",): 5,
    ("stream_interval",): 5,
    ("max_tool_calls",): 5,
    ("stop_token_ids", 1): 5,
    ("allowed_token_ids", 1): 5,
    ("prompt", 1): 5,
    ("prompt", 1, 1): 5,
    ("tokens", 1): 5,
    ("repetition_detection", "min_count"): 5,
    ("thinking", "budget_tokens"): 1024,
    ("chat_template_kwargs", "thinking_budget"): 5,
}


def nested(path: tuple[Any, ...], value: Any) -> Any:
    """A value at its place below the field; lists hold a fellow of it before."""
    fellow: Any = 7
    for step in reversed(path[1:]):
        if step == "budget_tokens":
            value = {"type": "enabled", step: value}
        elif isinstance(step, str):
            value = {step: value}
        else:
            value, fellow = [fellow, value], [fellow]
    return value


def found(body: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        body = body[step]
    return body


def places() -> Iterator[Any]:
    for route, dialect in ROUTES.items():
        for path, value in WHOLE.items():
            if path[0] in dialect.fields and (path[0] != "prompt" or dialect.scores):
                name = ".".join(map(str, path))
                yield pytest.param(route, path, value, id=f"{route}-{name}")


@pytest.mark.parametrize(("route", "path", "value"), places())
def test_numbers_that_are_equal_are_equal(route: str, path: tuple[Any, ...], value: int) -> None:
    body = sent_on(route, asked(route, **{path[0]: nested(path, float(value))}))
    there = found(body, path)
    assert (there, type(there)) == (value, int)


@pytest.mark.parametrize("odd", [0.5, 1e300, True, "5", [], {}], ids=repr)
@pytest.mark.parametrize(("route", "path", "value"), places())
def test_other_values_are_refused_at_their_place(
    route: str, path: tuple[Any, ...], value: int, odd: Any
) -> None:
    if (path[0] == "logprobs" and odd is True) or path[0] == "chat_template_kwargs":
        return  # a switch, or whatever a template's variable may be
    error = refused(route, **{path[0]: nested(path, odd)})
    assert error.param is not None
    assert error.param.startswith(str(path[0]))


def test_a_template_variable_is_no_fraction() -> None:
    error = refused("chat", chat_template_kwargs={"thinking_budget": 0.5})
    assert error.param == "chat_template_kwargs.thinking_budget"


@pytest.mark.parametrize("stop", ["", [""], [], ["", ""], None])
@pytest.mark.parametrize("field", ["stop", "stop_sequences", "bad_words"])
def test_empty_stop_strings_are_none(field: str, stop: Any) -> None:
    routes = [name for name, dialect in ROUTES.items() if field in dialect.fields]
    assert routes
    for route in routes:
        assert not sent_on(route, asked(route, **{field: stop})).get(field)
        assert sent_on(route, asked(route, **{field: ["", "END"]}))[field] == ["END"]


@pytest.mark.parametrize("field", ["stop", "stop_sequences"])
def test_a_tier_says_how_many_stop_strings_there_may_be(field: str) -> None:
    route = "messages" if field == "stop_sequences" else "chat"
    assert len(sent_on(route, asked(route, **{field: list("abcdef")}))[field]) == 6
    error = refused(route, **{field: list("abcdefg")})
    assert error.param == field
    assert "max_stop" in error.message
    assert refused(route, Tier(), **{field: list("abcde")}).param == field


@pytest.mark.parametrize("route", ["chat", "responses", "messages", "count_tokens", "tokenize"])
@pytest.mark.parametrize("choice", [{}, {"tool_choice": None}, {"tool_choice": "auto"},
                                    {"tool_choice": "none"}, {"tool_choice": {"type": "auto"}},
                                    {"tool_choice": {"type": "none"}}])  # fmt: skip
def test_an_empty_list_of_tools_is_none(route: str, choice: dict[str, Any]) -> None:
    body = sent_on(route, asked(route, tools=[], **choice))
    assert "tools" not in body
    assert "tool_choice" not in body
    assert sent_on(route, asked(route, tools=TOOLS))["tools"] == TOOLS


@pytest.mark.parametrize("choice", ["required", {"type": "any"}, {"type": "tool", "name": "f"},
                                    {"type": "function", "function": {"name": "f"}}])  # fmt: skip
def test_a_tool_can_t_be_chosen_of_none(choice: Any) -> None:
    assert refused("chat", tools=[], tool_choice=choice).param == "tool_choice"
    assert refused("messages", tools=[], tool_choice=choice).param == "tool_choice"


@pytest.mark.parametrize("route", ["chat", "completions"])
@pytest.mark.parametrize("stream", [{}, {"stream": False}, {"stream": None}])
def test_options_of_a_stream_go_without_one(route: str, stream: dict[str, Any]) -> None:
    options = {"include_usage": True}
    assert "stream_options" not in sent_on(route, asked(route, stream_options=options, **stream))
    body = sent_on(route, asked(route, stream_options=options, stream=True))
    assert body["stream_options"] == options


def test_null_within_an_option_is_as_if_absent() -> None:
    body = sent_on("chat", asked("chat", repetition_detection={"min_count": None}))
    assert body["repetition_detection"] == {}


def test_a_prompt_can_be_scored() -> None:
    scored = {"echo": True, "logprobs": 1, "max_tokens": 0}
    assert sent_on("completions", asked("completions", **scored))["max_tokens"] == 0
    zero = sent_on("completions", asked("completions", **scored | {"max_tokens": 0.0}))
    assert zero["max_tokens"] == 0


@pytest.mark.parametrize(
    ("route", "sent"),
    [
        ("completions", {"max_tokens": 0}),
        ("completions", {"max_tokens": 0, "echo": False}),
        ("completions", {"max_tokens": -1, "echo": True}),
        ("chat", {"max_tokens": 0, "echo": True}),
        ("chat", {"max_completion_tokens": 0}),
        ("chat", {"max_tokens": -1}),
        ("responses", {"max_output_tokens": 0}),
        ("messages", {"max_tokens": 0}),
    ],
)
def test_no_answer_at_all_is_refused_with_what_to_do(route: str, sent: dict[str, Any]) -> None:
    error = refused(route, **sent)
    assert error.param in sent
    assert "leave it out for this key's default" in error.message


@pytest.mark.parametrize("route", ["chat", "completions"])
def test_several_greedy_answers_are_sampled_from_one_token(route: str) -> None:
    """vLLM refuses n above 1 for a temperature of 0."""
    body = sent_on(route, asked(route, n=2, temperature=0))
    assert (body["n"], body["temperature"], body["top_k"]) == (2, 0.01, 1)
    cold = Tier(temperature=0)
    body = sent_on(route, asked(route, n=2.0, top_k=None), cold)
    assert (body["n"], body["temperature"], body["top_k"]) == (2, 0.01, 1)
    body = sent_on(route, asked(route), cold)
    assert (body["temperature"], body.get("top_k")) == (0, None)
    body = sent_on(route, asked(route, n=2, temperature=0.5), cold)
    assert (body["temperature"], body.get("top_k")) == (0.5, None)


def test_the_keys_of_a_bias_are_named() -> None:
    error = refused("chat", logit_bias={"5": 1, "abc": 1, "-1": 2})
    assert error.param == "logit_bias.abc"
    assert error.message.endswith("none: 'abc', '-1'.")
    many = refused("chat", logit_bias={f"k{number}": 1 for number in range(9)})
    assert many.message.endswith("'k3', 'k4'.")


@pytest.mark.parametrize("content", ["Sure: ", "Sure:\n", [{"type": "text", "text": "Sure: "}]])
@pytest.mark.parametrize("route", ["messages", "count_tokens"])
def test_an_answer_does_not_begin_with_white_space_at_its_end(route: str, content: Any) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": content}]
    where = "messages.1.content" + (".0.text" if isinstance(content, list) else "")
    assert refused(route, messages=turns).param == where
    later = [*turns, {"role": "user", "content": "go on "}]
    assert sent_on(route, asked(route, messages=later))["messages"] == later


@pytest.mark.parametrize("content", ["", None, [], "Sure:", [{"type": "text", "text": "{"}]])
def test_an_answer_may_have_begun(content: Any) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": content}]
    body = sent_on("messages", asked("messages", messages=turns))
    assert body["messages"][1]["content"] == (content if content is not None else "")


def test_a_call_that_gave_nothing_gave_an_empty_text() -> None:
    items = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None},
        {"type": "function_call_output", "call_id": "c", "output": None},
        {"type": "custom_tool_call_output", "call_id": "c"},
    ]
    body = sent_on("responses", asked("responses", input=items))
    assert [item.get("content", item.get("output")) for item in body["input"]] == ["hi", "", "", ""]


@pytest.mark.parametrize("more", [
    {"tools": [], "tool_choice": "none"},
    {"tools": [], "tool_choice": {"type": "auto"}},
    {"stop": ""},
    {"stop": ["", ""]},
    {"stop": ["", "x"]},
    {"stream_options": {"include_usage": True}},
])  # fmt: skip
@pytest.mark.parametrize("route", ["chat", "completions", "responses", "messages"])
async def test_what_was_left_out_is_no_text_either(route: str, more: dict[str, Any]) -> None:
    if route == "messages":  # its own name for them
        more = {name.replace("stop", "stop_sequences"): value for name, value in more.items()}
    reply = await Road().post(route, ask(route, "hi", **more))
    assert reply.status == 200, reply.body
