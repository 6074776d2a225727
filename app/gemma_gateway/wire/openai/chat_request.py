"""Every text of a chat request that reaches the model: messages, tools, template variables."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from gemma_gateway.core.dialect import Json, Media, Message, TextPart, Where
from gemma_gateway.wire.media import check_file, check_role, check_url
from gemma_gateway.wire.openai.openai import invalid
from gemma_gateway.wire.place import place
from gemma_gateway.wire.request import Text
from gemma_gateway.wire.walk import SAID, Table, asides, other_texts, part_texts, words

TOOL_ROLES = frozenset({"tool", "function"})
ROLES = frozenset({"system", "developer", "user", "assistant"}) | TOOL_ROLES
# Kinds of content parts, with the field that such a part must have.
PARTS = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
    "thinking": "thinking",
    "tool_reference": "name",
    "image_url": "image_url",
    "input_image": "image_url",
    "audio_url": "audio_url",
    "video_url": "video_url",
    "input_audio": "input_audio",
    "file": "file",
}
# vLLM takes media by these names in a part of any kind, so each is looked at in every part.
MEDIA = ("image_url", "audio_url", "video_url")
# Vectors that stand for text or images, and references into a cache that callers share.
UNREADABLE = frozenset(
    {"image_embeds", "audio_embeds", "video_embeds", "prompt_embeds", "image_pil", "uuid"}
)
TABLE = Table(
    shown=(
        *("tools", "functions", "documents", "chat_template_kwargs", "tool_choice"),
        "chat_template",
    ),
    binding=("response_format", "structured_outputs", "stop"),
)
_OUTSIDE = frozenset({*TABLE.shown, *TABLE.binding})
# What may stand in an assistant's message in place of content.
_INSTEAD = ("tool_calls", "function_call", "refusal", "reasoning", "reasoning_content")


class ChatMessage(BaseModel):
    model_config = ConfigDict(extra="allow")
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | None = None


def read_messages(body: Json) -> list[Message]:
    """The messages, then the texts beside them (these don't count as messages).

    Raises:
        GatewayError: VALIDATION_ERROR with the path of the field that has the wrong shape.
    """
    entries = body.get("messages")
    if entries is None and body.get("prompt"):  # a preset's are all there is
        entries = body["messages"] = []
    if entries.__class__ is not list:
        what = "must be a list" if "messages" in body else "is missing"
        raise invalid(f"messages {what}.", "messages")
    found = [_message(entry, f"messages.{number}") for number, entry in enumerate(entries)]
    return found if _OUTSIDE.isdisjoint(body) else found + asides(body, TABLE)


def prepend(body: Json, messages: list[Message], turns: list[Json]) -> dict[str, str]:
    """See ``Dialect``."""
    own, first = body["messages"], len(turns)
    body["messages"] = [*turns, *own]
    messages[:0] = [_message(turn, f"prompt.messages.{n}") for n, turn in enumerate(turns)]
    places = {f"messages.{n}": f"prompt.messages.{n}" for n in range(first)}
    return places | {f"messages.{first + n}": f"messages.{n}" for n in range(len(own))}


def _message(entry: Any, where: str) -> Message:
    if entry.__class__ is not dict:
        raise invalid("A message must be an object.", where)
    role = entry.get("role")
    if role.__class__ is not str or role not in ROLES:
        known = ", ".join(sorted(ROLES))
        raise invalid(f"A role must be one of {known}.", place((where, "role")))
    content = entry.get("content")
    media: list[Media] = []
    if content.__class__ is str:
        spoken = role not in TOOL_ROLES
        texts = [TextPart(entry, "content", (where, "content"), spoken=spoken)]
    else:
        texts = _content(entry, content, role, (where, "content"), media)
        check_role(role, media)
    if len(entry) > 2 or "content" not in entry:
        texts += other_texts(entry, where)
    return Message(where, role, texts, media)


def _content(
    entry: Json, content: Any, role: str, where: Where, media: list[Media]
) -> list[TextPart]:
    """Texts of content that is no string. All parts are one text: templates join them."""
    if content is None:
        if role == "assistant" and any(entry.get(name) for name in _INSTEAD):
            return []
        if entry.get("audio"):
            raise invalid("audio: no sound is kept here: send its text as content.", place(where))
        if role in ("assistant", "tool", "function"):  # it said nothing
            entry["content"] = ""
            return []
        raise invalid("A message needs content.", place(where))
    if content.__class__ is not list:
        raise invalid("content must be a string or a list of parts.", place(where))
    texts: list[TextPart] = []
    for number, part in enumerate(content):
        if part.__class__ is str:
            texts.append(TextPart(content, number, (where, number)))
        elif part.__class__ is dict:
            _check_part(part, (where, number))
            texts += part_texts(part, (where, number), media)
            if part["type"] == "image_url":
                _spell_out(part, media)
        else:
            raise invalid("A content part must be an object with a type.", place((where, number)))
    for text_part in texts:
        text_part.channel = where
        # A part is a text, or an object that has one.
        within = text_part.container is content or text_part.key in SAID
        text_part.spoken = within and role not in TOOL_ROLES
    return texts


def _check_part(part: Json, where: Where) -> None:
    kind = part.get("type")
    field = PARTS.get(kind) if isinstance(kind, str) else None
    if field is None:
        raise invalid(f"A part's type must be one of {', '.join(PARTS)}.", place((where, "type")))
    value = part.get(field)
    takes = str | dict if kind in (*MEDIA, "input_audio", "file") else str
    if not isinstance(value, takes):
        raise invalid(f"A part of type {kind} needs {field}.", place((where, field)))
    if not UNREADABLE.isdisjoint(part):
        name = min(UNREADABLE.intersection(part))
        raise invalid(
            f"{name} can't be checked by the content policy; send the content itself.",
            place((where, name)),
        )
    for name in MEDIA:
        if name in part:
            _check_media(part[name], (where, name))
            if name != field:
                raise invalid(f"A part of type {kind} has no {name}.", place((where, name)))
    check_file(words(part.get("file")), (where, "file"))


def _spell_out(part: Json, media: list[Media]) -> None:
    """An image whose URL stands by itself, in the form that has a type: vLLM takes no other."""
    if part["image_url"].__class__ is str:
        part["image_url"] = {"url": part["image_url"]}
        for each in media:
            if each.container is part and each.key == "image_url":
                each.container, each.key = part["image_url"], "url"


def _check_media(value: Any, where: Where) -> None:
    url = value.get("url") if isinstance(value, dict) else value
    if url is None:
        raise invalid("A media part needs a URL.", place(where))
    check_url(url, where, "image" if where[-1] == "image_url" else "")
