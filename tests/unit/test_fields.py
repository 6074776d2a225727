"""Which fields of a request go on to the engine; the rest is refused by name or left out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_gateway.core.dialect import Dialect
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.validation import fields
from gemma_gateway.wire.anthropic.count_tokens import CountTokens
from gemma_gateway.wire.anthropic.messages import Messages
from gemma_gateway.wire.openai.chat import Chat
from gemma_gateway.wire.openai.completions import Completions
from gemma_gateway.wire.openai.responses import Responses
from gemma_gateway.wire.vllm.tokenize import Detokenize, Tokenize

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        *(Chat(), Completions(), Responses(), Messages(), CountTokens()),
        *(Tokenize(), Detokenize()),
    )
}
NOBODY: frozenset[str] = frozenset()


def select(route: str, body: dict[str, Any], allow: frozenset[str] = NOBODY) -> list[str]:
    return fields.select(DIALECTS[route], body, allow)


def refused(route: str, name: str, value: Any) -> str:
    """The words of a refusal that names the field."""
    with pytest.raises(GatewayError) as caught:
        select(route, {"model": "m", name: value})
    assert (caught.value.code, caught.value.param) == (Code.VALIDATION_ERROR, name)
    return str(caught.value.message)


@pytest.mark.parametrize(
    ("route", "name", "value", "right"),
    [
        ("chat", "n_predict", -1, "max_tokens"),
        ("completions", "n_predict", 10**9, "max_tokens"),
        ("messages", "num_predict", 5, "max_tokens"),
        ("responses", "max_new_tokens", 5, "max_output_tokens"),
        ("responses", "max_tokens", 5, "max_output_tokens"),
        ("completions", "max_completion_tokens", 5, "max_tokens"),
        ("chat", "max_output_tokens", 5, "max_tokens"),
        ("chat", "maxOutputTokens", 5, "max_tokens"),
        ("chat", "max_length", 5, "max_tokens"),
        ("chat", "min_new_tokens", 5, "min_tokens"),
        ("chat", "num_ctx", 9, "context"),
        ("chat", "guided_json", {"a": 1}, "response_format"),
        ("completions", "guided_regex", "a", "structured_outputs"),
        ("chat", "guided_decoding_backend", "outlines", "response_format"),
        ("chat", "guided_anything_new", "x", "response_format"),
        ("responses", "guided_json", {"a": 1}, "text.format"),
        ("messages", "response_format", {"type": "json_object"}, "output_config.format"),
        ("responses", "response_format", {"type": "json_object"}, "text.format"),
        ("chat", "ebnf", "root ::= a", "response_format"),
        ("chat", "regex", "a", "response_format"),
        ("chat", "grammar", "a", "response_format"),
        ("chat", "json_schema", {"a": 1}, "response_format"),
        ("chat", "format", "json", "response_format"),
        ("chat", "samplers", ["top_k"], "temperature"),
        ("chat", "mirostat", 2, "temperature"),
        ("chat", "mirostat_tau", 5.0, "temperature"),
        ("chat", "typical_p", 0.5, "temperature"),
        ("chat", "tfs_z", 0.5, "temperature"),
        ("chat", "top_a", 0.5, "temperature"),
        ("chat", "dry_multiplier", 0.5, "temperature"),
        ("chat", "xtc_probability", 0.5, "temperature"),
        ("chat", "dynatemp_range", 0.5, "temperature"),
        ("chat", "repeat_penalty", 1.1, "repetition_penalty"),
        ("chat", "n_cmpl", 4, "send n"),
        ("chat", "num_return_sequences", 4, "send n"),
        ("chat", "best_of", 4, "send n"),
        ("chat", "lora", [{"id": 0}], "model"),
        ("chat", "stop_sequences", ["x"], "send stop"),
        ("messages", "stop", ["x"], "stop_sequences"),
        ("chat", "extra_body", {"top_k": 5}, "top level"),
        ("responses", "sampling_params", {"top_k": 5}, "top level"),
        ("chat", "return_logprob", True, "logprobs"),
        ("chat", "logprob_start_len", 0.5, "logprobs"),
        ("chat", "functions", [{"name": "f"}], "tools"),
        ("chat", "function_call", "auto", "tool_choice"),
        ("chat", "system", "Be kind.", "role system"),
        ("chat", "web_search_options", {"a": 1}, "web"),
        ("chat", "modalities", ["text", "audio"], "text"),
        ("messages", "mcp_servers", [{"url": "x"}], "MCP"),
        ("messages", "container", "c", "code"),
        ("chat", "keep_alive", -1, "internal"),
        ("chat", "options", {"num_predict": -1}, "internal"),
        ("chat", "cache_prompt", True, "internal"),
        ("chat", "id_slot", 1, "internal"),
        ("tokenize", "chat_template", "x", "internal"),
    ],
)
def test_other_servers_names_are_told_the_right_one(
    route: str, name: str, value: Any, right: str
) -> None:
    assert right in refused(route, name, value)
    body = {"model": "m", name: value}
    assert select(route, body, frozenset({name})) == []
    assert body[name] == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, None) for name in ("n_predict", "guided_json", "chat_template", "samplers")),
        *((name, False) for name in ("cache_prompt", "grammar_lazy", "use_beam_search")),
        *((name, []) for name in ("lora", "samplers", "mcp_servers", "functions")),
        *(("guided_regex", ""), ("options", {}), ("mirostat", 0), ("priority", 0)),
        *(("best_of", 1), ("n_cmpl", 1), ("modalities", ["text"])),
    ],
)
def test_what_asks_for_nothing_is_left_out(name: str, value: Any) -> None:
    body = {"model": "m", name: value}
    assert select("chat", body) == ([] if value is None else [name])
    assert body == {"model": "m"}


@pytest.mark.parametrize(
    ("route", "name"),
    [
        *(("chat", n) for n in ("store", "logit_processor", "service_tier", "safety_identifier")),
        *(("chat", n) for n in ("prompt_cache_key", "verbosity", "prediction", "odd", "input")),
        *(("messages", n) for n in ("context_management", "betas", "service_tier", "seed")),
        *(("responses", n) for n in ("safety_identifier", "context_management", "n")),
        *(("count_tokens", n) for n in ("max_tokens", "n_predict", "temperature")),
    ],
)
def test_any_other_field_is_left_out_and_told(route: str, name: str) -> None:
    body = {"model": "m", name: {"a": 1}}
    assert select(route, body) == [name]
    assert body == {"model": "m"}


def test_the_header_is_bounded_and_plain() -> None:
    assert fields.header(["b", "a"]) == "a, b"
    assert fields.header(["a", "x\r\nset-cookie: a", "ü", "", "b" * 65]) == "a, +4"
    assert fields.header(["\n"]) == "+1"
    many = fields.header([f"{'x' * 60}{i:03d}" for i in range(5000)])
    assert many.endswith(", +4984")
    assert len(many) < 1100


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.text() | st.floats()))
def test_nothing_unknown_stays(body: dict[str, Any]) -> None:
    for dialect in DIALECTS.values():
        sent = dict(body)
        try:
            ignored = fields.select(dialect, sent, NOBODY)
        except GatewayError as error:
            assert error.param in body  # noqa: PT017
        else:
            assert set(sent) <= dialect.fields
            assert fields.header(ignored).isascii()


def test_no_advice_names_a_field_that_the_route_takes() -> None:
    """What a route takes never comes to be looked up, whatever the table says of it."""
    for dialect in DIALECTS.values():
        for field in dialect.fields:
            assert fields.select(dialect, {field: "x"}, NOBODY) == []
