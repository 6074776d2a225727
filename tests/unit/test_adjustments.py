"""What vLLM does otherwise here than in its own server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gemma_gateway.engines.local.adjustments import GUIDANCE, _with_options, continue_answers


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
    continue_answers(messages)
    request = protocol.AnthropicMessagesRequest(
        model="m",
        max_tokens=5,
        messages=[{"role": role, "content": content} for role, content in turns],
    )
    chat = messages.to_chat_completion_request(request, merge_inline_system=True)
    assert (chat.continue_final_message, chat.add_generation_prompt) == (goes_on, not goes_on)
