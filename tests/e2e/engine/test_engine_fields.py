"""The gateway's lists of fields beside the request models of the vLLM that is installed."""

from __future__ import annotations

import dataclasses
import importlib

import pytest

from gemma_gateway.main import DIALECTS
from gemma_gateway.validation.constraints import STRUCTURED
from gemma_gateway.validation.fields import INTERNALS
from tests.e2e.conftest import need

VLLM = "vllm.entrypoints"
FIELDS = {dialect.name: dialect.fields for dialect in DIALECTS}
MODELS = {
    "chat": (f"{VLLM}.openai.chat_completion.protocol", "ChatCompletionRequest"),
    "completions": (f"{VLLM}.openai.completion.protocol", "CompletionRequest"),
    "responses": (f"{VLLM}.openai.responses.protocol", "ResponsesRequest"),
    "messages": (f"{VLLM}.anthropic.protocol", "AnthropicMessagesRequest"),
    "count_tokens": (f"{VLLM}.anthropic.protocol", "AnthropicCountTokensRequest"),
    "tokenize": (f"{VLLM}.serve.tokenize.protocol", "TokenizeChatRequest"),
    "detokenize": (f"{VLLM}.serve.tokenize.protocol", "DetokenizeRequest"),
}
# Beside vLLM's own: of OpenAI, and what ends in the gateway.
OTHERS = {
    "chat": {"metadata", "prompt"},
    "completions": {"best_of"},
    "responses": {"conversation"},
    "count_tokens": {"stream"},
    "tokenize": {"stream"},
    "detokenize": {"stream"},
}


def known(module: str, name: str) -> set[str]:
    need("vllm", "no engine in process (make setup)")
    return set(getattr(importlib.import_module(module), name).model_fields)


@pytest.mark.parametrize("route", MODELS)
def test_every_field_of_vllms_own_models_is_decided(route: str) -> None:
    fields = known(*MODELS[route])
    if route == "tokenize":
        fields |= known(MODELS[route][0], "TokenizeCompletionRequest")
    assert fields - INTERNALS - FIELDS[route] == set(), "neither passed on nor an internal"
    assert FIELDS[route] - fields == OTHERS.get(route, set()), "passed on, but vLLM has no such"
    assert not FIELDS[route] & INTERNALS


def test_every_kind_of_constraint_is_known() -> None:
    need("vllm", "no engine in process (make setup)")
    from vllm.sampling_params import StructuredOutputsParams

    own = {field.name for field in dataclasses.fields(StructuredOutputsParams) if field.init}
    assert own == STRUCTURED
