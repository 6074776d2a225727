"""Requests of Anthropic's Messages API: their texts, their fields, and their OpenAPI models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gemma_gateway.core.dialect import Json, Media, Message
from gemma_gateway.wire.openai.openai import invalid
from gemma_gateway.wire.place import place
from gemma_gateway.wire.request import Body, Text
from gemma_gateway.wire.walk import Table, asides, content_texts, other_texts

ROLES = frozenset({"user", "assistant", "system"})  # system inside messages: as vLLM takes it
TABLE = Table(
    shown=("tools", "tool_choice", "output_config.format", "chat_template_kwargs"),
    binding=("structured_outputs", "stop_sequences"),
)
PROMPT_FIELDS = frozenset(
    {
        *("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config"),
        *("chat_template_kwargs", "stream"),
    }
)


class AnthropicMessage(BaseModel):
    model_config = ConfigDict(extra="allow")
    role: Literal["user", "assistant", "system"]
    content: Text


class CountTokensRequest(Body):
    """Anthropic token count."""

    messages: list[AnthropicMessage] = Field(min_length=1)
    system: Text | None = None
    tools: list[dict[str, Any]] | None = None


class MessagesRequest(CountTokensRequest):
    """Anthropic message."""

    max_tokens: int | None = Field(
        None, ge=1, le=2**31 - 1, description="Default and cap: the key's tier"
    )
    stream: bool = False
    temperature: float | None = Field(None, ge=0, le=2, description="Default: the key's tier")
    top_p: float | None = Field(None, gt=0, le=1, description="Default: the key's tier")
    stop_sequences: list[str] | None = None


def read_messages(body: Json) -> list[Message]:
    """The system text and the messages, then the texts beside them.

    Raises:
        GatewayError: VALIDATION_ERROR with the path of the field that has the wrong shape.
    """
    found: list[Message] = []
    if body.get("system") is not None:
        media: list[Media] = []
        texts = content_texts(body, "", "system", media, "system")
        found.append(Message("system", "system", texts, media))
    turns = body.get("messages")
    if not isinstance(turns, list):
        raise invalid("messages must be a list.", "messages")
    for i, turn in enumerate(turns):
        where = f"messages.{i}"
        if not isinstance(turn, dict):
            raise invalid("A message must be an object.", where)
        role = turn.get("role")
        if not isinstance(role, str) or role not in ROLES:
            known = ", ".join(sorted(ROLES))
            raise invalid(f"role must be one of {known}.", place((where, "role")))
        if role == "assistant" and turn.get("content") is None:
            turn["content"] = ""
        # The engine puts all system texts together into one.
        channel = "system" if role == "system" else where
        media = []
        texts = content_texts(turn, where, channel, media) + other_texts(turn, where)
        found.append(Message(where, role, texts, media))
    _check_beginning(turns)
    return found + asides(body, TABLE)


def _check_beginning(turns: list[Json]) -> None:
    """The beginning of an answer, in a last message of the assistant's, which the engine goes on
    with: Anthropic refuses one that ends in white space, as no token begins there."""
    if not turns or turns[-1]["role"] != "assistant":
        return
    text, where = turns[-1]["content"], f"messages.{len(turns) - 1}.content"
    if text.__class__ is list and text and text[-1].get("type") == "text":
        text, where = text[-1].get("text"), f"{where}.{len(text) - 1}.text"
    if text.__class__ is str and text != text.rstrip():
        raise invalid("The beginning of an answer must not end with white space.", where)
