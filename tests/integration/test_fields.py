"""The table of fields in docs/api.md, row by row: what it says of a field is tried."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from gemma_gateway.core.engine import EngineRequest
from gemma_gateway.core.form import FormDialect
from gemma_gateway.engines.scripted import ScriptedReply
from gemma_gateway.main import DIALECTS
from gemma_gateway.validation.fields import INTERNALS
from tests import sounds
from tests.calls import MODEL, Json
from tests.process import AUTH, KEY
from tests.road import Reply, Road

ROOT = Path(__file__).parents[2]
ROUTES = {dialect.path: dialect for dialect in DIALECTS}
TURN = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
BODIES: dict[str, Json] = {
    "/v1/chat/completions": {"messages": TURN},
    "/v1/completions": {"prompt": "hi"},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"messages": TURN, "max_tokens": 9},
    "/v1/messages/count_tokens": {"messages": TURN},
    "/tokenize": {"prompt": "hi"},
    "/detokenize": {"tokens": [1]},
}
# A value of each field, and what goes with it.
SAMPLES: dict[str, Any] = {
    "allowed_token_ids": [1, 2],
    "bad_words": ["no"],
    "best_of": 1,
    "chat_template_kwargs": {"enable_thinking": False},
    "documents": [{"text": "a page"}],
    "frequency_penalty": 0.5,
    "include": [],
    "instructions": "Be brief.",
    "language": "de",
    "length_penalty": 1.5,
    "logit_bias": {"1": 2},
    "logprobs": True,
    "max_completion_tokens": 7,
    "max_output_tokens": 7,
    "max_tokens": 7,
    "max_tool_calls": 3,
    "metadata": {"a": "b"},
    "min_p": 0.1,
    "min_tokens": 2,
    "model": MODEL,
    "n": 2,
    "output_config": {"effort": "low"},
    "presence_penalty": 0.5,
    "prompt": "hi",
    "prompt_cache_key": "k",
    "prompt_logprobs": 1,
    "reasoning": {"effort": "low"},
    "reasoning_effort": "low",
    "repetition_detection": {"max_pattern_size": 3, "min_pattern_size": 1, "min_count": 2},
    "repetition_penalty": 1.2,
    "response_format": {"type": "json_object"},
    "return_token_strs": True,
    "seed": 3,
    "service_tier": "auto",
    "stop": ["END"],
    "stop_sequences": ["END"],
    "stop_token_ids": [5],
    "stream_interval": 2,
    "structured_outputs": {"choice": ["a", "b"]},
    "suffix": "end",
    "system": "Be brief.",
    "temperature": 0.3,
    "text": {"format": {"type": "text"}},
    "thinking": {"type": "disabled"},
    "thinking_token_budget": 5,
    "tool_choice": "auto",
    "top_k": 5,
    "top_logprobs": 2,
    "top_p": 0.4,
    "truncate_prompt_tokens": 5,
    "truncation": "disabled",
    "truncation_side": "left",
    "user": "somebody",
    **dict.fromkeys(
        (
            *("add_generation_prompt", "add_special_tokens", "echo", "ignore_eos", "stream"),
            *("include_reasoning", "include_stop_str_in_output", "parallel_tool_calls"),
            *("skip_special_tokens", "spaces_between_special_tokens"),
        ),
        True,
    ),
    "continue_final_message": False,
    "background": True,
    "conversation": "c",
    "previous_response_id": "r",
    "store": False,
    "timestamp_granularities": ["segment"],
}  # fmt: skip
OF_ROUTE: dict[tuple[str, str], Any] = {
    ("/v1/chat/completions", "prompt"): {"id": "multimodal", "variables": {"text_query": "tea"}},
    ("/v1/responses", "prompt"): {"id": "multimodal", "variables": {"text_query": "tea"}},
    ("/v1/completions", "logprobs"): 2,
    ("/v1/audio/transcriptions", "response_format"): "verbose_json",
    ("/v1/audio/translations", "response_format"): "verbose_json",
}
WITH: dict[str, Json] = {
    "best_of": {"n": 1},
    "stream_options": {"stream": True},
    "top_logprobs": {"logprobs": True},
    "tool_choice": {"tools": [TOOL]},
    "timestamp_granularities": {"response_format": "verbose_json"},
}
SAMPLES["stream_options"] = {"include_usage": True}
SAMPLES["tools"] = [TOOL]
# Of protocols in which tools look otherwise.
FLAT = {"type": "function", "name": "f", "parameters": {"type": "object"}}
CLAUDE = {"name": "f", "input_schema": {"type": "object"}}
TOOLS = {"/v1/responses": FLAT, "/v1/messages": CLAUDE, "/v1/messages/count_tokens": CLAUDE}


class Row(NamedTuple):
    """One of the table's."""

    route: str
    fields: tuple[str, ...]
    supported: str
    tested_by: tuple[str, ...]


def table() -> Iterator[Row]:
    text = (ROOT / "docs" / "api.md").read_text().partition("| Route | Field | Supported |")[2]
    for line in text.partition("\n\n")[0].splitlines()[2:]:
        route, fields, supported, tested_by = line.strip("| ").split(" | ")
        names = re.compile(r"`([^`]+)`")
        yield Row(
            *names.findall(route),
            tuple(names.findall(fields)),
            supported,
            tuple(names.findall(tested_by)),
        )


TABLE = tuple(table())


def test_the_table_names_every_field_of_every_route_once() -> None:
    found: dict[str, list[str]] = {}
    for row in TABLE:
        found.setdefault(row.route, []).extend(row.fields)
    assert found.keys() - {"*"} == ROUTES.keys()
    for route, dialect in ROUTES.items():
        own = {"file"} if isinstance(dialect, FormDialect) else set()
        assert sorted(found[route]) == sorted(dialect.fields | own), route
    assert set(found["*"]) == INTERNALS


def test_what_it_says_to_be_tested_is() -> None:
    for row in TABLE:
        assert row.tested_by
        texts = [(ROOT / "tests" / each).read_text() for each in row.tested_by]
        if str(Path(__file__).relative_to(ROOT / "tests")) in row.tested_by:
            continue
        for name in row.fields:
            assert any(re.search(rf"\b{name}\b", text) for text in texts), (name, row.tested_by)


class Asked:
    """An engine that keeps what it was asked."""

    def __init__(self) -> None:
        self.document: Json | None = None

    def __call__(self, request: EngineRequest) -> ScriptedReply:
        self.document = request.document
        return ScriptedReply.json({"text": "hi", "segments": []}, 200)


TIER = {"grammars": True, "prompt_logprobs_tokens": 8192, "max_tokens_cap": None}


async def send(route: str, field: str) -> tuple[Reply, Any, Json | None]:
    """Send one field: the answer, what was sent of it, and what the engine got."""
    asked = Asked()
    road = Road(asked, api_keys=(KEY,), tiers={"default": TIER})
    value = OF_ROUTE.get((route, field), SAMPLES.get(field))
    known = ROUTES[route].fields
    more = {name: each for name, each in WITH.get(field, {}).items() if name in known}
    if route in TOOLS and field in ("tools", "tool_choice"):
        more |= {"tools": [TOOLS[route]]}
        value = more.pop("tools") if field == "tools" else value
        if field == "tool_choice" and route.startswith("/v1/messages"):
            value = {"type": "auto"}
    if field == "messages" and route == "/tokenize":
        reply = await road.post(route, {"messages": TURN})
        return reply, TURN, asked.document
    if isinstance(ROUTES[route], FormDialect):
        lists = {"timestamp_granularities": "timestamp_granularities[]"}
        data = {lists.get(k, k): v for k, v in ({field: value} | more).items() if k != "file"}
        texts = {k: str(v).lower() if v is True else v for k, v in data.items()}
        form = httpx.Request(
            "POST", "http://gateway", data=texts, files={"file": ("a.wav", sounds.wav(0.2))}
        )
        headers = AUTH | {"content-type": form.headers["content-type"]}
        try:
            return await road.post(route, form.read(), headers), value, asked.document
        finally:
            await road.parts.media.stop()
    body = {**BODIES[route], **more}
    if field not in BODIES[route] or field in SAMPLES:
        body[field] = value
    reply = await road.post(route, body)
    return reply, body[field], asked.document


CASES = [
    (row.route, row.supported, field)
    for row in TABLE
    if row.route != "*"
    for field in row.fields
    if field != "file"  # integration/test_speech.py
]


@pytest.mark.parametrize(("route", "supported", "field"), CASES)
async def test_a_field_fares_as_the_table_says(route: str, supported: str, field: str) -> None:
    reply, sent, got = await send(route, field)
    if supported == "refused":
        assert (reply.status, got) == (400, None), reply.body
        assert (reply.json()["error"]["param"] or "").partition(".")[0] == field
        return
    assert reply.status != 400, reply.body
    assert got is not None
    assert "x-gateway-ignored" not in reply.headers
    if supported == "reaches the engine":
        assert got[field] == sent
    else:
        assert supported == "ends here"
        assert field not in got


@pytest.mark.parametrize("field", sorted(INTERNALS))
async def test_internals_of_engines_are_refused_everywhere(field: str) -> None:
    for route, body in BODIES.items():
        reply = await Road().post(route, {**body, field: "x"})
        assert (reply.status, reply.json()["error"]["param"]) == (400, field)
