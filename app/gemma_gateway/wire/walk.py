"""One walker for every text of a request, in every dialect.

Messages, items and parts hold texts beside names and opaque data. What stands there in free form
(tool calls, schemas, template variables) is text altogether, its keys too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gemma_gateway.core.dialect import Json, Media, Message, ReadOnlyText, TextPart, Where
from gemma_gateway.wire.media import check_detail, check_url
from gemma_gateway.wire.openai.openai import invalid
from gemma_gateway.wire.place import place
from gemma_gateway.wire.stored import check_part, check_tools

# Fields of messages and parts whose strings name things: ids, kinds. A longer one is a text.
NAMES = frozenset(
    {
        *("role", "id", "type", "call_id", "tool_call_id", "tool_use_id", "index"),
        *("finish_reason", "status", "detail", "media_type", "format", "cache_control"),
    }
)
MAX_NAME_CHARS = 128
# Base64, signatures and the like: nothing that a model reads as text, of any length.
DATA = frozenset({"data", "file_data"})
OPAQUE = DATA | {"signature", "encrypted_content"}
# Where parts point to media; under ``url`` when it stands in one of these objects.
LINKS = frozenset({"image_url", "video_url", "audio_url", "file_url", "source"})
# What stands under them; a ``source`` is what its part's type says.
KINDS = {"image_url": "image", "video_url": "video", "audio_url": "audio", "input_audio": "audio"}
# Objects and lists in parts that have a form of their own: arguments of calls, schemas.
FREE = frozenset({"input", "arguments", "definition", "input_schema", "parameters"})
# Keys of the texts that a part of a message says.
SAID = frozenset({"text", "refusal"})
# Keys that every tool call has; no client chose them.
CALL_KEYS = frozenset({"id", "type", "index", "function", "name", "arguments"})
MAX_ASIDE_CHARS = 512 * 1024  # beside the messages: twice Gemma's longest context in English

_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})(?:\\u([dD][c-fC-F][0-9a-fA-F]{2}))?|.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Table:
    """Where the requests of one dialect keep texts beside their messages.

    A name with a dot leads into an object: ``text.format``.

    Args:
        shown: what templates show to the model.
        binding: what binds an answer or comes back in it: judged, but never rewritten.
    """

    shown: tuple[str, ...] = ()
    binding: tuple[str, ...] = ()


def content_texts(
    holder: Json, where: Where, channel: Where, media: list[Media], key: str = "content"
) -> list[TextPart]:
    """Texts of ``holder[key]``, which is a string or a list of parts.

    Args:
        holder: a message, or the body for a system text of its own.
        where: path of ``holder``; may be empty.
        channel: of its plain texts: the model reads a message's parts as one text.
        media: gets what the parts hold beside texts.
        key: name of the field.

    Raises:
        GatewayError: VALIDATION_ERROR where it has another shape or remote media.
    """
    at: Where = (where, key) if where else key
    content = holder.get(key)
    if content.__class__ is str:
        return [TextPart(holder, key, at, channel, spoken=True)]
    if content.__class__ is not list:
        raise invalid(f"{key} must be a string or a list of parts.", place(at))
    for i, part in enumerate(content):
        if part.__class__ is not dict:
            raise invalid("A content part must be an object.", place((at, i)))
    texts = part_texts(content, at, media)
    for text_part in texts:
        if text_part.key in SAID:
            text_part.channel = channel
            text_part.spoken = text_part.where[0][0] is at  # in a part itself, no tool's result
    return texts


def part_texts(root: Any, where: Where, media: list[Media]) -> list[TextPart]:
    """Every text in a part, a list of parts, or an item with parts.

    Args:
        root: decoded JSON, a dict or list.
        where: its path.
        media: gets what stands there beside texts.

    Raises:
        GatewayError: VALIDATION_ERROR where media would be loaded from elsewhere, or something is
            only named.
    """
    found: list[TextPart] = []
    stack: list[tuple[Any, Where, str, Any]] = [(root, where, "", None)]
    while stack:
        node, at, parent, holder = stack.pop()
        if node.__class__ is dict:
            check_part(node, at)
        children: list[tuple[Any, Where, str, Any]] = []
        for key, value in _pairs(node):
            if value.__class__ is str:
                if _is_link(key, parent):
                    media.append(_linked(node, key, (at, key), _kind(key, parent, holder), holder))
                elif not _is_name(key, value) or _is_plain_source(node, key):
                    found.append(_slot(node, key, at))
                elif key in DATA:
                    media.append(Media(node, key, (at, key), _kind(key, parent, holder)))
            elif value.__class__ is dict or value.__class__ is list:
                if key in FREE:
                    found += free_texts(value, (at, key))
                else:
                    name = key if key.__class__ is str else parent
                    children.append((value, (at, key), name, node))
        stack.extend(reversed(children))
    return found


def other_texts(entry: Json, where: Where) -> list[TextPart]:
    """What a message holds beside its role and content: names, thoughts, refusals, tool calls and
    whatever else a template may read."""
    found: list[TextPart] = []
    for key, value in entry.items():
        if key == "content":
            continue
        if value.__class__ is str:
            if not _is_name(key, value):
                found.append(_slot(entry, key, where))
        elif value.__class__ is dict or value.__class__ is list:
            found += free_texts(value, (where, key), CALL_KEYS)
    return found


def free_texts(root: Any, where: Where, known: frozenset[str] = frozenset()) -> list[TextPart]:
    """Every string, and every key that isn't ``known``, in JSON of any form; a node's own strings
    first."""
    found: list[TextPart] = []
    keys: list[str] = []
    stack: list[tuple[Any, Where]] = [(root, where)]
    while stack:
        node, at = stack.pop()
        children: list[tuple[Any, Where]] = []
        for key, value in _pairs(node):
            if value.__class__ is str:
                found.append(_slot(node, key, at))
            elif value.__class__ is dict or value.__class__ is list:
                children.append((value, (at, key)))
        if node.__class__ is dict:
            keys += [key for key in node if key not in known]
        stack.extend(reversed(children))
    if keys:
        found.append(ReadOnlyText(["\n".join(keys)], 0, where))
    return found


def asides(body: Json, table: Table) -> list[Message]:
    """Texts that reach the model, or bind it, beside the messages; these don't count as messages.

    Raises:
        GatewayError: VALIDATION_ERROR where a field holds more than ``MAX_ASIDE_CHARS``, or a tool
            isn't the client's own.
    """
    found: list[Message] = []
    if body.get("tools"):
        check_tools(body["tools"])
    for name in table.shown:
        holder, key = _field(body, name)
        value = holder.get(key)
        if value.__class__ is str:
            found.append(Message(name, "system", [TextPart(holder, key, name)], counts=False))
        elif value.__class__ is dict or value.__class__ is list:
            found.append(Message(name, "system", free_texts(value, name), counts=False))
    for name in table.binding:
        holder, key = _field(body, name)
        if value := holder.get(key):
            text_part = ReadOnlyText([words([value])], 0, name)
            found.append(Message(name, "system", [text_part], counts=False))
    for message in found:
        if sum([len(text_part.text) for text_part in message.texts]) > MAX_ASIDE_CHARS:
            name = message.where
            raise invalid(f"{name} holds more than {MAX_ASIDE_CHARS} characters.", name)
    return found


def words(root: Any) -> str:
    """All object keys and strings below a node, one a line."""
    found: list[str] = []
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            found.extend(node)
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, str):
            found.append(node)
    return "\n".join(found)


def _linked(node: Any, key: Any, where: Where, kind: str, holder: Any) -> Media:
    """What a link points to."""
    check_url(node[key], where, kind)
    if kind == "image":
        check_detail(node, where[0])
        if key == "url" and holder.__class__ is dict:
            check_detail(holder, where[0][0])
    return Media(node, key, where, kind)


def _kind(key: Any, parent: str, holder: Any) -> str:
    """What a string of media is.

    Args:
        key: its own.
        parent: key of the object that it stands in.
        holder: what that object stands in.
    """
    if parent == "source" and key != "source":
        return "image" if holder.__class__ is dict and holder.get("type") == "image" else "file"
    return KINDS.get(key) or KINDS.get(parent) or "file"


def _pairs(node: Any) -> Iterator[tuple[Any, Any]] | Any:
    return node.items() if node.__class__ is dict else enumerate(node)


def _slot(node: Any, key: Any, at: Where) -> TextPart:
    if key == "arguments" and "\\" in node[key]:
        node[key] = _ESCAPED.sub(_spelt, node[key])
    return TextPart(node, key, (at, key))


def _spelt(found: re.Match[str]) -> str:
    r"""A JSON escape as the character that it stands for, where that needs none.

    Templates decode the arguments of calls, so policy and sanitiser must see in them what the
    model will: no ``\u0068``.
    """
    first, second = found.groups()
    if first is None:
        return found[0]
    code = int(first, 16)
    if 0xD800 <= code < 0xDC00 and second:
        return chr(0x10000 + ((code & 0x3FF) << 10) + (int(second, 16) & 0x3FF))
    if code < 0x20 or code in (0x22, 0x5C) or 0xD800 <= code < 0xE000:
        return found[0]
    rest = f"\\u{second}" if second else ""
    return chr(code) + rest


def _field(body: Json, name: str) -> tuple[Json, str]:
    """The object that holds a field, and its key there."""
    head, _, rest = name.partition(".")
    if not rest:
        return body, head
    holder = body.get(head)
    return (holder, rest) if isinstance(holder, dict) else ({}, rest)


def _is_name(key: Any, value: str) -> bool:
    return key in OPAQUE or (key in NAMES and len(value) <= MAX_NAME_CHARS)


def _is_plain_source(node: Json, key: Any) -> bool:
    """Anthropic's plain-text documents: {type: text, media_type: text/plain, data: the text}."""
    return key == "data" and bool(node.get("type") == "text")


def _is_link(key: Any, parent: str) -> bool:
    if key == "url":
        return parent in LINKS
    if key == "source":  # search results name their source; a document's is an object
        return False
    return key in LINKS
