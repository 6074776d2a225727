"""Every text of a chat request that reaches the model: messages, tools, template variables."""

from __future__ import annotations

from typing import Any

import orjson

from app.wire.dialect import Json, Message, Slot
from app.wire.openai import invalid, leaves, reading, words

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
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
PART_NO_TEXT = frozenset({"type", "detail", "cache_control", "input_audio", "file_data", *MEDIA})
# Outside of the messages: what templates show to the model, ...
SHOWN = ("tools", "functions", "documents", "chat_template_kwargs", "tool_choice", "chat_template")
# ... and what binds its answer, or comes back in it. Checked, but never rewritten.
BINDING = ("response_format", "structured_outputs", "stop")
_OUTSIDE = frozenset({*SHOWN, *BINDING})


def read_messages(body: Json) -> list[Message]:
    """The messages, then the texts beside them (these don't count as messages).

    Raises:
        GatewayError: VALIDATION_ERROR with the path of the field that has the wrong shape.
    """
    entries = body.get("messages")
    if entries.__class__ is not list:
        what = "must be a list" if "messages" in body else "is missing"
        raise invalid(f"messages {what}.", "messages")
    found = [_message(entry, place) for place, entry in enumerate(entries)]
    return found if _OUTSIDE.isdisjoint(body) else found + _shown(body) + constraints(body)


def constraints(body: Json) -> list[Message]:
    """Texts that bind an answer: schemas, grammars, choices, stop strings."""
    return [
        Message(key, "system", [reading(words([body[key]]), key)], counts=False)
        for key in BINDING
        if body.get(key)
    ]


def _shown(body: Json) -> list[Message]:
    found = []
    for key in SHOWN:
        value = body.get(key)
        if isinstance(value, str):
            slots = [Slot(body, key, key, key)]
        elif isinstance(value, dict | list):
            slots = [*leaves(value, key, frozenset()), reading(words(value, keys_only=True), key)]
        else:
            continue
        found.append(Message(key, "system", slots, counts=False))
    return found


def _message(entry: Any, place: int) -> Message:
    where = f"messages.{place}"
    if entry.__class__ is not dict:
        raise invalid("A message must be an object.", where)
    role = entry.get("role")
    if role.__class__ is not str or role not in ROLES:
        raise invalid(f"A role must be one of {', '.join(sorted(ROLES))}.", f"{where}.role")
    content = entry.get("content")
    if content.__class__ is str:
        at = f"{where}.content"
        slots = [Slot(entry, "content", at, at)]
    else:
        slots = _content(entry, content, role, where)
    if len(entry) > 2:
        slots += _other_fields(entry, where)
    return Message(where, role, slots)


def _content(entry: Json, content: Any, role: str, where: str) -> list[Slot]:
    """Slots of content that is no string. All parts are one text: templates join them."""
    where += ".content"
    if content is None:
        others = ("tool_calls", "function_call", "refusal", "reasoning", "reasoning_content")
        if role == "assistant" and any(entry.get(name) for name in others):
            return []
        raise invalid("A message needs content.", where)
    if content.__class__ is not list:
        raise invalid("content must be a string or a list of parts.", where)
    slots: list[Slot] = []
    for place, part in enumerate(content):
        at = f"{where}.{place}"
        if part.__class__ is str:
            slots.append(Slot(content, place, at, where))
        elif part.__class__ is dict:
            _check_part(part, at)
            slots += leaves(part, at, PART_NO_TEXT, lambda _: where)
        else:
            raise invalid("A content part must be an object with a type.", at)
    return slots


def _check_part(part: Json, where: str) -> None:
    kind = part.get("type")
    field = PARTS.get(kind) if isinstance(kind, str) else None
    if field is None:
        raise invalid(f"A part's type must be one of {', '.join(PARTS)}.", f"{where}.type")
    value = part.get(field)
    takes = str | dict if field in (*MEDIA, "input_audio", "file") else str
    if not isinstance(value, takes):
        raise invalid(f"A part of type {kind} needs {field}.", f"{where}.{field}")
    if not UNREADABLE.isdisjoint(part):
        name = min(UNREADABLE.intersection(part))
        raise invalid(
            f"{name} can't be checked by the content policy; send the content itself.",
            f"{where}.{name}",
        )
    for name in MEDIA:
        if name in part:
            _check_media(part[name], f"{where}.{name}")
    if "://" in words(part.get("file")):
        raise invalid("Remote media is off: send the file itself, in base64.", f"{where}.file")


def _check_media(value: Any, where: str) -> None:
    """Only media that travel in the request itself: the engine must fetch nothing for a client."""
    url = value.get("url") if isinstance(value, dict) else value
    if url is None:
        raise invalid("A media part needs a URL.", where)
    if not isinstance(url, str) or not url[:5].lower() == "data:":
        raise invalid(
            "Remote media is off: send a data: URL such as data:image/png;base64,...", where
        )


def _other_fields(entry: Json, where: str) -> list[Slot]:
    """Names, thoughts, refusals, tool calls and whatever else a template may read."""
    slots: list[Slot] = []
    for key, value in entry.items():
        if key in ("role", "content"):
            continue
        at = f"{where}.{key}"
        if value.__class__ is str:
            slots.append(Slot(entry, key, at, at))
        elif isinstance(value, dict | list) and value:
            found = leaves(value, at, frozenset())
            slots += found
            slots += (slot for slot in map(_unescaped, found) if slot)
            slots.append(reading(words(value, keys_only=True), at))
    return slots


def _unescaped(slot: Slot) -> Slot | None:
    r"""What a JSON text in a string says once its ``\u0068`` are read, as templates read it."""
    text = slot.text
    if "\\" not in text or slot.key != "arguments":
        return None
    try:
        return reading(words([orjson.loads(text)]), slot.where)
    except orjson.JSONDecodeError:
        return None
