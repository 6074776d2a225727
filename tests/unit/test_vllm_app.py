"""What an operator is told when an engine does not start, and which counts a call has."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from gemma_gateway.engines.local.vllm_app import (
    GUIDANCE,
    Work,
    _continue_answers,
    _with_options,
    explain,
)


class GatedRepoError(Exception):
    """Named as huggingface_hub's, which the core install has not."""


def chained(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module named 'vllm'"), "install the cpu or cuda extra"),
        (
            chained(OSError("can't load"), GatedRepoError("403")),
            "google/x is gated: accept the license at https://huggingface.co/google/x and set HF_T",
        ),
        (
            RuntimeError("Engine core initialization failed. Failed core proc(s): {}"),
            "killed for lack of memory",
        ),
        (ValueError("no\n  such   thing"), "could not be started, .* no such thing"),
    ],
)
def test_a_failed_start_is_explained(error: Exception, said: str) -> None:
    assert re.search(said, explain(error, "google/x"))


def test_a_ring_of_causes_comes_to_an_end() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert "first" in explain(first, "m")


def test_counts_add_up_over_choices_and_prompts() -> None:
    def state(prompt: int, generated: int, parent: object = None) -> SimpleNamespace:
        written = SimpleNamespace(num_output_tokens=lambda: generated)
        return SimpleNamespace(parent_req=parent, prompt_len=prompt, detokenizer=written)

    parent = object()
    work = Work(engine=None, states=[state(7, 3, parent), state(7, 4, parent), state(5, 2)])
    assert work.counts() == (12, 9)
    assert Work(engine=None).counts() == (0, 0)


@pytest.mark.parametrize("schema", [{"type": "object"}, '{"type": "object"}'])
def test_schemas_bring_the_librarys_options(schema: object) -> None:
    assert _with_options(schema) == {"type": "object", "x-guidance": GUIDANCE}


@pytest.mark.parametrize("schema", [True, "true", "{", "[]", 5])
def test_what_is_no_schema_is_left_to_the_engine(schema: object) -> None:
    assert _with_options(schema) == schema


TEXT = {"type": "text", "text": "One,"}
CALL = {"type": "tool_use", "id": "t", "name": "f", "input": {}}


@pytest.mark.parametrize(
    ("turns", "goes_on"),
    [
        ([("user", "Count.")], False),
        ([("user", "Count."), ("assistant", "One,")], True),
        ([("user", "Count."), ("assistant", [TEXT])], True),
        ([("user", "Count."), ("assistant", [TEXT, TEXT])], True),
        ([("user", "Count."), ("assistant", "")], False),
        ([("user", "Count."), ("assistant", [])], False),
        ([("user", "Count."), ("assistant", [TEXT, CALL])], False),
        ([("user", "Count."), ("assistant", "One,"), ("user", "Go on.")], False),
    ],
)
def test_an_answer_that_has_begun_goes_on(turns: list[tuple[str, Any]], goes_on: bool) -> None:
    protocol = pytest.importorskip("vllm.entrypoints.anthropic.protocol")
    serving = pytest.importorskip("vllm.entrypoints.anthropic.serving").AnthropicServingMessages
    messages = SimpleNamespace(to_chat_completion_request=serving.to_chat_completion_request)
    _continue_answers(messages)
    request = protocol.AnthropicMessagesRequest(
        model="m",
        max_tokens=5,
        messages=[{"role": role, "content": content} for role, content in turns],
    )
    chat = messages.to_chat_completion_request(request, merge_inline_system=True)
    assert (chat.continue_final_message, chat.add_generation_prompt) == (goes_on, not goes_on)
