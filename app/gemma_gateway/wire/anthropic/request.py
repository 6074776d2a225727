"""Requests of Anthropic's Messages API: their texts, their fields, and their OpenAPI models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gemma_gateway.core.dialect import Json, Media, Message, Where
from gemma_gateway.wire.media import check_role, is_source
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
        if media:
            check_role("system", media)
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
        if media:
            check_role(role, media)
            _check_images(turn, role, (where, "content"), media)
        found.append(Message(where, role, texts, media))
    _check_beginning(turns)
    return found + asides(body, TABLE)


def _check_images(turn: Json, role: str, content: Where, media: list[Media]) -> None:
    """Images stand in a message, or in a tool's result in one of the user's: vLLM leaves those that
    stand elsewhere out of the prompt."""
    for each in media:
        if each.kind != "image":
            continue
        # messages.0.content, 1, source, data
        holder: Any = each.where[0][0][0] if is_source(each) else None
        if holder == content:
            continue
        if holder.__class__ is tuple and holder[0][0] == content and role == "user":
            block = turn["content"][holder[0][1]]
            if holder[1] == "content" and block.get("type") == "tool_result":
                continue
        raise invalid(
            "An image is a block of type image in a message, or in a tool_result of the user's.",
            place(each.where),
        )


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
