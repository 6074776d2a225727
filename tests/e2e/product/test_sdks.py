"""The official clients against the whole product: real vLLM, real Gemma."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import jsonschema
import openai
import pytest

from tests.process import KEY, Gateway

MODEL = "gemma-3-270m"
TURN = [{"role": "user", "content": "Name three colours of the rainbow."}]


@pytest.fixture
def client(real: Gateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=real.url + "/v1", api_key=KEY, max_retries=0)


@pytest.fixture
def claude(real: Gateway) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=real.url, api_key=KEY, max_retries=0)


def test_models(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert [model.id for model in claude.models.list()] == [MODEL]


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=TURN, max_tokens=12, seed=1)
    assert answer.choices[0].message.content
    assert answer.usage
    assert answer.usage.completion_tokens <= 12


def test_chat_stream_says_the_same_as_the_whole_answer(client: openai.OpenAI) -> None:
    same = {"model": MODEL, "messages": TURN, "max_tokens": 24, "temperature": 0, "seed": 7}
    whole = client.chat.completions.create(**same)
    stream = client.chat.completions.create(
        **same, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage


def test_usage_events_come_only_when_asked_for(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(model=MODEL, messages=TURN, max_tokens=4, stream=True)
    )
    assert all(chunk.choices for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)


def test_parameters_reach_the_engine(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=TURN, max_tokens=6, n=2, logprobs=True, top_logprobs=3, seed=3,
        stop=["zzz"],
    )  # fmt: skip
    assert len(answer.choices) == 2
    logprobs = answer.choices[0].logprobs
    assert logprobs
    assert logprobs.content
    assert len(logprobs.content[0].top_logprobs) == 3


def test_structured_output(client: openai.OpenAI) -> None:
    schema = {"enum": [["red", 1], ["green", 2]]}  # no free white space: small models love it
    answer = client.chat.completions.create(
        model=MODEL,
        messages=TURN,
        max_tokens=40,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    )
    assert json.loads(answer.choices[0].message.content or "") in schema["enum"]


COLOUR = {"enum": ["red", "green", "blue"]}
SHAPES: list[dict[str, Any]] = [
    {"type": "object", "properties": {"colour": COLOUR, "warm": {"type": "boolean"}},
     "required": ["colour", "warm"], "additionalProperties": False},
    {"type": "array", "items": COLOUR, "minItems": 2, "maxItems": 3},
    {"type": "object", "properties": {"of": {"type": "object", "properties": {
        "n": {"type": "integer", "minimum": 1, "maximum": 7}}, "required": ["n"],
        "additionalProperties": False}}, "required": ["of"], "additionalProperties": False},
    {"anyOf": [{"type": "null"}, {"type": "array", "items": {"type": "integer"}, "maxItems": 2}]},
    {"type": "string", "maxLength": 12},
]  # fmt: skip


def test_an_answer_fits_its_schema_unless_it_was_cut(client: openai.OpenAI) -> None:
    endings = []
    for number, schema in enumerate(SHAPES):
        answer = client.chat.completions.create(
            model=MODEL,
            messages=TURN,
            max_tokens=48 if number else 3,  # of the first too few
            temperature=1.5,
            n=3,
            seed=number,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": schema, "strict": True},
            },
        )
        for choice in answer.choices:
            endings.append(choice.finish_reason)
            if choice.finish_reason != "length":
                jsonschema.validate(json.loads(choice.message.content or ""), schema)
    assert {"length", "stop"} == set(endings)
    assert endings.count("stop") > len(SHAPES)


def test_completions(client: openai.OpenAI) -> None:
    whole = client.completions.create(model=MODEL, prompt="The sea is", max_tokens=8, temperature=0)
    stream = client.completions.create(
        model=MODEL, prompt="The sea is", max_tokens=8, temperature=0, stream=True
    )
    assert "".join(c.choices[0].text for c in stream if c.choices) == whole.choices[0].text


def test_responses(client: openai.OpenAI) -> None:
    same = {"model": MODEL, "input": "The sea is", "max_output_tokens": 16, "temperature": 0}
    whole = client.responses.create(**same)
    assert whole.status in ("completed", "incomplete")
    assert whole.output_text
    events = list(client.responses.create(**same, stream=True))
    deltas = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert deltas == whole.output_text
    assert events[-1].type in ("response.completed", "response.incomplete")


def test_messages(claude: anthropic.Anthropic) -> None:
    same = {"model": MODEL, "messages": TURN, "max_tokens": 16, "extra_body": {"temperature": 0}}
    whole = claude.messages.create(**same)
    assert whole.content[0].type == "text"
    assert whole.usage.output_tokens > 0
    with claude.messages.stream(**same) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text
    assert final.stop_reason == whole.stop_reason


def test_count_tokens(claude: anthropic.Anthropic) -> None:
    short = claude.messages.count_tokens(model=MODEL, messages=TURN).input_tokens
    longer = claude.messages.count_tokens(model=MODEL, messages=TURN, system="Be brief.")
    assert longer.input_tokens > short > 3


def test_errors_are_the_sdks_own(
    client: openai.OpenAI, claude: anthropic.Anthropic, real: Gateway
) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nope", messages=TURN)
    assert missing.value.code == "model_not_found"
    assert missing.value.param == "model"
    with pytest.raises(openai.BadRequestError) as blocked:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "violence"}]
        )
    assert blocked.value.code == "content_policy_violation"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=real.url + "/v1", api_key="no", max_retries=0).models.list()
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(model="nope", messages=TURN, max_tokens=5)


def test_an_answer_that_hits_the_policy_is_cut(client: openai.OpenAI) -> None:
    """The model is made to write a blocked term by structured output."""
    words = {"structured_outputs": {"choice": ["peace and violence forever"]}}
    same = {"model": MODEL, "messages": TURN, "max_tokens": 30}
    with pytest.raises(openai.BadRequestError):  # the choice itself is input
        client.chat.completions.create(**same, extra_body=words)
    words = {"structured_outputs": {"regex": "peace and (v|V)iolence forever"}}
    whole = client.chat.completions.create(**same, extra_body=words)
    assert whole.choices[0].finish_reason == "content_filter"
    assert whole.choices[0].message.content == "peace and "
    chunks = list(client.chat.completions.create(**same, extra_body=words, stream=True))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "peace and "
    assert chunks[-1].choices[0].finish_reason == "content_filter"
