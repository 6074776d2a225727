"""Reading an engine's own error body, whatever server wrote it."""

from __future__ import annotations

import orjson

MAX_MESSAGE_CHARS = 500


def read(raw: bytes) -> tuple[str, str | None]:
    """The message and field of an engine's 4xx answer.

    Args:
        raw: OpenAI's ``{"error": {...}}``, vLLM's older flat object, or FastAPI's ``detail``.

    Returns:
        (message, param); an empty message where none could be read.
    """
    try:
        doc = orjson.loads(raw)
    except ValueError:
        return "", None
    if not isinstance(doc, dict):
        return "", None
    error = doc.get("error", doc)
    if isinstance(error, str):
        return error[:MAX_MESSAGE_CHARS], None
    if not isinstance(error, dict):
        return "", None
    message, param = error.get("message"), error.get("param")
    return (
        message[:MAX_MESSAGE_CHARS] if isinstance(message, str) else "",
        param if isinstance(param, str) else None,
    )
