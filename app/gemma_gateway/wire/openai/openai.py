"""What OpenAI's routes share: texts, usage."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from gemma_gateway.core.dialect import Json, TextPart, Where
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.usage import Usage
from gemma_gateway.wire import large_json

# String leaves of answers and messages that name things and hold no text of the model's.
MAX_NAME_CHARS = 32
NAMES = frozenset({"role", "id", "type", "call_id", "tool_call_id", "index", "finish_reason"})


def invalid(message: str, param: str | None = None) -> GatewayError:
    """A VALIDATION_ERROR (400) about one field."""
    reason = "invalid_value" if param else ""
    return GatewayError(Code.VALIDATION_ERROR, message, param=param, reason=reason)


def decode(data: bytes) -> Json | None:
    """A JSON object, or None where the data is anything else (``[DONE]``, a broken line)."""
    try:
        doc = large_json.loads(data)
    except ValueError:
        return None
    return doc if isinstance(doc, dict) else None


def leaves(
    root: Any,
    where: Where,
    skip: frozenset[str] = NAMES,
    channel: Callable[[tuple[Hashable, ...]], Hashable] | None = None,
) -> list[TextPart]:
    """Every string below a dict or list of an answer: a node's own strings first.

    Args:
        root: decoded JSON; a list's entries that carry an ``index`` go by it in the path.
        where: path of ``root`` for error messages.
        skip: keys whose values are no texts.
        channel: makes a channel from the path below ``root``; None: the place is the channel.
    """
    found: list[TextPart] = []
    stack: list[tuple[Any, Where, tuple[Hashable, ...]]] = [(root, where, ())]
    while stack:
        node, at, path = stack.pop()
        pairs = node.items() if node.__class__ is dict else enumerate(node)
        children = []
        for key, value in pairs:
            if value is None or key in skip:
                continue
            if value.__class__ is str:
                here = (at, key)
                found.append(TextPart(node, key, here, channel((*path, key)) if channel else here))
            elif value and (value.__class__ is dict or value.__class__ is list):
                place = value.get("index", key) if value.__class__ is dict else key
                place = place if isinstance(place, int | str) else key
                children.append((value, (at, key), (*path, place)))
        if children:
            stack.extend(reversed(children))
    return found


def read_usage(doc: Any) -> Usage | None:
    """Counts from OpenAI's ``usage`` object, or None where there is none."""
    usage = doc.get("usage") if isinstance(doc, dict) else None
    if not isinstance(usage, dict):
        return None
    return Usage(
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        cached_tokens=_detail(usage.get("prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=_detail(usage.get("completion_tokens_details"), "reasoning_tokens"),
    )


def short_name(value: Any) -> str:
    """A short word of the protocol, such as a finish reason; empty for anything else."""
    return value[:MAX_NAME_CHARS] if isinstance(value, str) else ""


def _count(value: Any) -> int:
    return value if value.__class__ is int and value > 0 else 0


def _detail(holder: Any, key: str) -> int:
    return _count(holder.get(key)) if holder.__class__ is dict else 0


def ask_usage(body: Json) -> bool:
    """Set ``stream_options.include_usage``. True: the client had not asked for it, so that usage in
    every event (``continuous_usage_stats``) counts for nothing, as in vLLM."""
    options = body.get("stream_options")
    options = options if isinstance(options, dict) else {}
    if options.get("include_usage") is True:
        return False
    others = {key: value for key, value in options.items() if key != "continuous_usage_stats"}
    body["stream_options"] = {**others, "include_usage": True}
    return True
