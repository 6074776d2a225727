"""A conversation with tools as plain turns of text.

The family's chat template writes it, as it does for a model in process, so that both read the same;
here its own marks of turns and media are replaced by some that no text can hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from os import urandom
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment

from gemma_gateway.core.dialect import Json
from gemma_gateway.engines.families.gemma3 import CHAT_TEMPLATE

_TURN, _END, _MEDIA = (f"<{name} {urandom(16).hex()}>" for name in ("turn", "end", "media"))
_MARKS = {
    "<start_of_turn>": _TURN,
    "<end_of_turn>\\n": _END,
    "<start_of_image>": _MEDIA,
    "<image_soft_token>": _MEDIA,
}
# Parts for which the template has a mark; those of a system message it passes over.
_MEDIA_TYPES = frozenset(
    {*("image", "image_url", "input_image"), *("audio", "audio_url", "input_audio")}
)
_SYSTEM = frozenset({"system", "developer"})
_ROLES = {"user": "user", "model": "assistant"}


def turns(messages: Sequence[Json], tools: Sequence[Json]) -> list[Json]:
    """Messages of the user and the assistant, in turn, that hold all of a conversation.

    Args:
        messages: of chat completions, checked.
        tools: as chat completions have them.

    Returns:
        Messages whose content is a text, or texts and media where there are any.
    """
    read = [_read(message) for message in messages]
    media = _media(read)
    values = {"bos_token": "", "add_generation_prompt": False, "audio_token": _MEDIA}
    told = _TEMPLATE.render(messages=read, tools=tools, **values)
    found = []
    for turn in told.split(_TURN)[1:]:
        side, _, text = turn.removesuffix(_END).partition("\n")
        found.append({"role": _ROLES[side], "content": _content(text, media)})
    return found


def _content(text: str, media: Iterator[Json]) -> str | list[Json]:
    first, *others = text.split(_MEDIA)
    if not others:
        return first
    parts = [_text(first)]
    for following in others:
        parts += (next(media), _text(following))
    return [part for part in parts if part.get("text") != ""]


def _read(message: Json) -> Json:
    """A message as the template takes it: arguments as objects, contents as parts with a type."""
    read, content = dict(message), message.get("content")
    if isinstance(content, list):
        read["content"] = [_part(part) for part in content]
    if calls := message.get("tool_calls"):
        read["tool_calls"] = [_call(call) for call in calls]
    return read


def _part(part: Any) -> Json:
    if isinstance(part, str):
        return _text(part)
    return _text(part["refusal"]) if part.get("type") == "refusal" else part


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _call(call: Json) -> Json:
    function = call.get("function") or {}
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:  # the model's own mistake, which it is to see
            return {"function": function}
    return {"function": {"name": function.get("name"), "arguments": arguments}}


def _media(messages: Sequence[Json]) -> Iterator[Json]:
    for message in messages:
        content = message.get("content")
        if isinstance(content, list) and message.get("role") not in _SYSTEM:
            yield from (part for part in content if part.get("type") in _MEDIA_TYPES)


def _tojson(value: Any, indent: int | None = None) -> str:
    """As transformers has it, for HTML's sake nothing is escaped."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _template() -> Any:
    source = CHAT_TEMPLATE.read_text("utf-8")
    for mark, own in _MARKS.items():
        source = source.replace(mark, own)
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = _tojson
    return environment.from_string(source)


_TEMPLATE = _template()
