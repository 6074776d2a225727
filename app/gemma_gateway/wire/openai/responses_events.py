"""Vocabulary of the Responses API: its events, where they keep texts, and what they are about.

Source: OpenAI's ``ResponseStreamEvent`` types and what vLLM's ``streaming_events.py`` writes.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from gemma_gateway.core.dialect import Json, TextPart
from gemma_gateway.core.usage import Usage
from gemma_gateway.wire.logprobs import text_logprobs
from gemma_gateway.wire.openai import openai

# Keys whose strings name things or are opaque: nothing that a reader takes for the model's words.
SKIP = openai.NAMES | {
    "item_id",
    "status",
    "object",
    "model",
    "token",  # logprobs: checked beside their text, see ChatLogprobs
    "encrypted_content",
    "obfuscation",
    "result",  # generated images, base64
    "partial_image_b64",
}
PLACES = ("item_id", "output_index", "content_index", "summary_index", "command_index")
BINARY = frozenset({"response.audio.delta"})  # base64 in ``delta``
BEGINS = frozenset({"response.created", "response.queued", "response.in_progress"})
ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
ADDED = "response.output_item.added"
DONE = "response.output_item.done"
PARTS = frozenset({"response.content_part.added", "response.reasoning_summary_part.added"})
# The done event of a part, by the list of the item that holds it.
PART_DONE = {
    "content": "response.content_part.done",
    "summary": "response.reasoning_summary_part.done",
}

# Item id or output index, part index, type of its deltas (and the field, where that is an object).
Channel = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """Where an item keeps the text of one kind of delta: ``item[holder][n][key]``, or
    ``item[key]`` where there is no holder."""

    key: str
    holder: str = ""
    kind: str = ""  # ``type`` of the part, or of the item where there is no holder


FAMILIES = {
    "response.output_text.delta": Family("text", "content", "output_text"),
    "response.refusal.delta": Family("refusal", "content", "refusal"),
    "response.reasoning_text.delta": Family("text", "content", "reasoning_text"),
    "response.reasoning_summary_text.delta": Family("text", "summary", "summary_text"),
    "response.function_call_arguments.delta": Family("arguments", kind="function_call"),
    "response.mcp_call_arguments.delta": Family("arguments", kind="mcp_call"),
    "response.custom_tool_call_input.delta": Family("input", kind="custom_tool_call"),
    "response.code_interpreter_call_code.delta": Family("code", kind="code_interpreter_call"),
}
BY_KIND = {family.kind: (delta, family) for delta, family in FAMILIES.items()}


def texts(node: Any, where: str) -> list[TextPart]:
    """Every text of the model below a node (item, output, event), with its logprobs."""
    text_parts = openai.leaves(node, where, SKIP) if isinstance(node, dict | list) else []
    for text_part in text_parts:
        if text_part.key in ("text", "refusal"):
            text_part.logprobs = text_logprobs(text_part.container)
    return text_parts


def place(doc: Json) -> tuple[Hashable, int]:
    """The item (by id, else by index) and the part that an event is about."""
    part = next((doc[name] for name in PLACES[2:] if isinstance(doc.get(name), int)), 0)
    item = doc.get("item")
    name = item.get("id") if isinstance(item, dict) else doc.get("item_id")
    return (name if isinstance(name, str) and name else doc.get("output_index", -1)), part


def read_usage(response: Any) -> Usage | None:
    """Counts of a Responses ``usage`` object, or None where there is none."""
    usage = response.get("usage") if isinstance(response, dict) else None
    if not isinstance(usage, dict):
        return None
    details = usage.get("input_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    details = usage.get("output_tokens_details")
    reasoning = details.get("reasoning_tokens") if isinstance(details, dict) else 0
    return Usage(
        prompt_tokens=int(usage.get("input_tokens") or 0),
        completion_tokens=int(usage.get("output_tokens") or 0),
        cached_tokens=int(cached or 0),
        reasoning_tokens=int(reasoning or 0),
    )


def read_finish(response: Any) -> str:
    """``completed``, or the reason why a response is incomplete."""
    if not isinstance(response, dict):
        return ""
    details = response.get("incomplete_details")
    reason = openai.short_name(details.get("reason")) if isinstance(details, dict) else ""
    return reason or openai.short_name(response.get("status"))
