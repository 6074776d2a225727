"""Reading an engine's own error body, whatever server wrote it."""

from __future__ import annotations

import re
from collections.abc import Container

import orjson

MAX_MESSAGE_CHARS = 500
# What vLLM says of how its server was started, which its clients can't change: a mark of it, the
# fields that ask for what isn't there, and the words for it.
_NOT_THERE = (
    (
        "reasoning_config is not configured",
        ("thinking", "thinking_token_budget"),
        "This model has no extended thinking; leave {field} out.",
    ),
    (
        "--tool-call-parser",
        ("tool_choice", "tools"),
        "The server of this model was started without tools; leave {field} out.",
    ),
)
_SENTENCE = re.compile(r"(?<=[.!?;])\s+")
_FLAG = re.compile(r"--[a-z][a-z-]+|\bVLLM_[A-Z_]+")


def read(raw: bytes, sent: Container[str] = ()) -> tuple[str, str | None]:
    """The message and field of an engine's 4xx answer.

    Args:
        raw: OpenAI's ``{"error": {...}}``, vLLM's older flat object, or FastAPI's ``detail``.
        sent: names of the request's fields.

    Returns:
        (message, param); an empty message where none could be read. It tells of no flag of the
        server.
    """
    try:
        doc = orjson.loads(raw)
    except ValueError:
        return "", None
    if not isinstance(doc, dict):
        return "", None
    error = doc.get("error", doc)
    if isinstance(error, str):
        return _for_clients(error)[:MAX_MESSAGE_CHARS], None
    if not isinstance(error, dict):
        return "", None
    message, param = error.get("message"), error.get("param")
    message = message if isinstance(message, str) else ""
    for mark, fields, words in _NOT_THERE:
        if mark in message and (field := next((f for f in fields if f in sent), None)):
            return words.format(field=field), field
    return _for_clients(message)[:MAX_MESSAGE_CHARS], param if isinstance(param, str) else None


def _for_clients(message: str) -> str:
    """A message without the sentences that tell an operator what to set."""
    if not _FLAG.search(message):
        return message
    return " ".join(part for part in _SENTENCE.split(message) if not _FLAG.search(part))
