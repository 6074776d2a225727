"""Content parts and blocks of a request: their texts, and what they may point to."""

from __future__ import annotations

from typing import Any

from app.wire import openai
from app.wire.dialect import Json, Message, Slot

# Strings that name things, or are opaque (base64, signatures): no text for the model.
SKIP = openai.NAMES | {
    "tool_use_id",
    "status",
    "detail",
    "media_type",
    "format",
    "data",
    "file_data",
    "signature",
    "encrypted_content",
    "cache_control",
}
# Where parts point to media; under ``url`` when it stands in one of these objects.
LINKS = frozenset({"image_url", "video_url", "audio_url", "file_url", "source"})


def block_texts(node: Any, where: str) -> list[Slot]:
    """Every text in a part, a list of parts, or an item with parts.

    Args:
        node: decoded JSON.
        where: its path.

    Raises:
        GatewayError: VALIDATION_ERROR where media would be loaded from elsewhere: only ``data:``
            URLs pass, the engine fetches nothing on a client's behalf.
    """
    found: list[Slot] = []
    stack: list[tuple[Any, str, str]] = [(node, where, "")]
    while stack:
        node, at, parent = stack.pop()
        children: list[tuple[Any, str, str]] = []
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            here = f"{at}.{key}"
            if isinstance(value, str):
                if _is_link(node, key, parent):
                    if not value.lower().startswith("data:"):
                        raise openai.invalid("Remote media is not loaded; send a data: URL.", here)
                elif key not in SKIP or _is_plain_source(node, key):
                    found.append(Slot(node, key, here, here))
            elif isinstance(value, dict | list):
                if key == "input" and isinstance(node, dict) and node.get("type") == "tool_use":
                    found += data_texts(value, here)
                else:
                    children.append((value, here, key if isinstance(key, str) else parent))
        stack.extend(reversed(children))
    return found


def data_texts(node: Any, where: str) -> list[Slot]:
    """Every string and every key in free-form JSON (tool arguments, schemas)."""
    keys = openai.words(node, keys_only=True)
    slots = openai.leaves(node, where, frozenset())
    return [*slots, openai.reading(keys, f"{where} (keys)")] if keys else slots


def content_texts(holder: Json, where: str, channel: str, key: str = "content") -> list[Slot]:
    """Texts of ``holder[key]``, which is a string or a list of parts.

    Args:
        holder: a message, or the body for a system text of its own.
        where: path of ``holder``; may be empty.
        channel: of its plain texts: the model reads a message's parts as one text.
        key: name of the field.

    Raises:
        GatewayError: VALIDATION_ERROR where it has another shape or remote media.
    """
    at = f"{where}.{key}" if where else key
    content = holder.get(key)
    if isinstance(content, str):
        return [Slot(holder, key, at, channel)]
    if not isinstance(content, list):
        raise openai.invalid(f"{key} must be a string or a list of parts.", at)
    for i, part in enumerate(content):
        if not isinstance(part, dict):
            raise openai.invalid("A content part must be an object.", f"{at}.{i}")
    slots = block_texts(content, at)
    for slot in slots:
        if slot.key in ("text", "refusal"):
            slot.channel = channel
    return slots


def asides(parts: dict[str, Any]) -> list[Message]:
    """Texts that reach the model beside its messages: tools, schemas, template variables.

    Args:
        parts: decoded JSON by path; what is no list or object is passed over.
    """
    return [
        Message(where, "system", data_texts(node, where), counts=False)
        for where, node in parts.items()
        if isinstance(node, list | dict) and node
    ]


def _is_plain_source(node: Any, key: Any) -> bool:
    """Anthropic's plain-text documents: {type: text, media_type: text/plain, data: the text}."""
    return key == "data" and isinstance(node, dict) and node.get("type") == "text"


def _is_link(node: Any, key: Any, parent: str) -> bool:
    if key == "url":
        return parent in LINKS
    if key == "source":  # search results name their source; a document's is an object
        return False
    return key in LINKS
