"""Reading an engine's own refusal, whatever server wrote it: what it says passes, the server's
inside doesn't."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

import orjson

from gemma_gateway.core import overflow
from gemma_gateway.core.errors import Code, GatewayError

MAX_MESSAGE_CHARS = 500
# OpenAI's codes for what is wrong with a request: a server's own may pass where it is one of them.
REASONS = frozenset(
    f"{kind}_{bound}"
    for kind in ("array", "decimal", "integer", "object", "string")
    for bound in ("above_max_length", "below_min_length", "above_max_value", "below_min_value")
) | frozenset(
    {
        *("content_filter", "content_policy_violation", "invalid_base64", "invalid_image_format"),
        *("invalid_encrypted_content", "invalid_function_parameters", "invalid_image_url"),
        *("invalid_json_schema", "invalid_prompt", "invalid_type", "invalid_value"),
        *("missing_required_parameter", "unknown_parameter", "unsupported_parameter"),
        *("unsupported_value", "model_not_found"),
    }
)
# Texts that are about how a server was started or written: flags, environment, Python.
_INSIDE = re.compile(
    r"(?<![\w-])--[a-z][a-z-]+|\b[A-Z]{2,}_[A-Z_]{3,}\b|Traceback|File \"|, line \d+|<class '"
    r"|\w\.py\b|\b(?:vllm|torch|transformers|sglang|pydantic|jinja2)\.\w|\bself\.\w| object at "
    r"|0x[0-9a-f]{6}|reasoning_config"
)
# What those that clients can meet mean to them: a word of the text, the fields that ask for what
# isn't there, and what to say.
_NOT_THERE = (
    (
        re.compile("thinking_token_budget"),
        ("thinking", "thinking_token_budget"),
        "This model has no extended thinking; leave {field} out.",
    ),
    (
        re.compile("tool.choice"),
        ("tool_choice", "tools"),
        "The server of this model was started without tools; leave {field} out.",
    ),
)
_SENTENCE = re.compile(r"(?<=[.!?;])\s+")
_ADDRESS = re.compile(
    r"\b[a-z][a-z0-9+.-]{1,15}://[^\s'\"<>)\]]+"  # URLs
    r"|(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b"
    r"|(?<![\w.-])(?:[a-z0-9-]+\.)+(?:(?:internal|local|svc|corp|lan)\b[\w.]*(?::\d+)?|[a-z]+:\d+)"
    r"|(?<![\w.-])(?:localhost\b(?::\d+)?|[a-z][a-z0-9-]*:\d{4,5}\b)",
    re.IGNORECASE,
)
_PATH = re.compile(r"(?<![\w<:/.])(?:[A-Za-z]:\\|~?/)[\w.@+-]+(?:[\\/][\w.@+-]+)+")
_ROUTE = re.compile(r"/?v1(?:/[a-z_]+)*/?")
_PARAM = re.compile(r"[A-Za-z_][\w.\[\]-]*")
_NO_MODEL = re.compile(
    r"\bmodels?\b.*(?:not found|not exist|no such|unknown|not available|not supported|invalid)"
    r"|(?:no such|unknown|invalid|unsupported) model\b",
    re.IGNORECASE | re.DOTALL,
)


def document(raw: bytes) -> dict[str, Any]:
    """The error object of an answer: OpenAI's ``{"error": {...}}``, vLLM's older flat one, or a
    bare text; empty where there is none."""
    try:
        doc = orjson.loads(raw)
    except ValueError:
        return {}
    return found(doc)


def found(doc: Any) -> dict[str, Any]:
    """The same in a decoded answer, or an event of a stream."""
    if not isinstance(doc, dict):
        return {}
    response = doc.get("response")
    error = (response if isinstance(response, dict) else doc).get("error", doc)
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}


def invalid(error: dict[str, Any], sent: Container[str] = ()) -> GatewayError:
    """What clients are told of a request that an engine finds wrong.

    Args:
        error: its error object.
        sent: names of the request's fields.

    Returns:
        CONTEXT_LENGTH_EXCEEDED or VALIDATION_ERROR, with the engine's words, its ``param``, and its
        ``code`` where that is one of OpenAI's; all without what is nobody else's business.
    """
    message, param = error.get("message"), error.get("param")
    text = message if isinstance(message, str) else ""
    field = param if isinstance(param, str) and _PARAM.fullmatch(param) else None
    if field:
        field = field.removeprefix("body.")
    exceeded = overflow.find(error)
    if exceeded is not None:
        return exceeded
    if _INSIDE.search(text):
        return _set_up(text, field, sent)
    code = error.get("code")
    reason = code if isinstance(code, str) and code in REASONS else ""
    return GatewayError(Code.VALIDATION_ERROR, plain(text), param=field, reason=reason)


def _set_up(text: str, field: str | None, sent: Container[str]) -> GatewayError:
    """What becomes of a text that tells how the server was started or written."""
    for mark, fields, words in _NOT_THERE:
        if mark.search(text):
            asked = next((name for name in fields if name in sent), None)
            message = words.format(field=asked or fields[0])
            return GatewayError(Code.VALIDATION_ERROR, message, param=asked or field or fields[0])
    kept = [] if "\n" in text else [s for s in _SENTENCE.split(text) if not _INSIDE.search(s)]
    message = plain(" ".join(kept)) or "This model's server isn't set up for this request."
    return GatewayError(Code.VALIDATION_ERROR, message, param=field)


def plain(text: str) -> str:
    """A text without addresses and paths."""
    text = _ADDRESS.sub("<address>", text[: 4 * MAX_MESSAGE_CHARS])
    return _PATH.sub(_hidden, text)[:MAX_MESSAGE_CHARS]


def _hidden(path: re.Match[str]) -> str:
    return path[0] if _ROUTE.fullmatch(path[0].rstrip(".")) else "<path>"


def names_no_model(error: dict[str, Any]) -> bool:
    """Whether a 404 says that the model isn't there, rather than the route."""
    message = error.get("message")
    return (
        error.get("code") == "model_not_found"
        or error.get("param") == "model"
        or (isinstance(message, str) and _NO_MODEL.search(message[:1000]) is not None)
    )
