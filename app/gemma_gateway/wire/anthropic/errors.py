"""Anthropic's errors: their types, their bodies, and the base of the dialects that speak so.

Source: Anthropic's error types (``invalid_request_error``, ``authentication_error``, ...).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from math import ceil
from typing import Literal

import orjson
from pydantic import BaseModel

from gemma_gateway.core.dialect import Dialect, Json
from gemma_gateway.core.errors import Family, GatewayError
from gemma_gateway.core.overflow import ContextExceeded

TYPES = {
    Family.INVALID_REQUEST: "invalid_request_error",
    Family.TOO_LARGE: "request_too_large",
    Family.REQUEST_TIMEOUT: "timeout_error",
    Family.AUTHENTICATION: "authentication_error",
    Family.PERMISSION: "permission_error",
    Family.NOT_FOUND: "not_found_error",
    Family.RATE_LIMIT: "rate_limit_error",
    Family.UNAVAILABLE: "overloaded_error",
    Family.TIMEOUT: "timeout_error",
    Family.INTERNAL: "api_error",
}


class AnthropicErrorDetail(BaseModel):
    type: str
    message: str
    param: str | None
    gateway_code: str


class AnthropicError(BaseModel):
    """Error body of the Anthropic routes."""

    type: Literal["error"]
    error: AnthropicErrorDetail
    request_id: str


class AnthropicDialect(Dialect):
    """A route whose errors are Anthropic's."""

    error_model = AnthropicError
    id_headers = (b"x-request-id", b"request-id")  # Anthropic's clients read the second one
    client_header = b"anthropic-version"

    def limit_headers(self, limit: int, remaining: int, reset: float) -> dict[str, str]:
        """See Dialect. Source: Anthropic's "Rate limits"; the time is RFC 3339's."""
        at = datetime.fromtimestamp(ceil(time.time() + reset), UTC)
        return {
            "anthropic-ratelimit-requests-limit": str(limit),
            "anthropic-ratelimit-requests-remaining": str(remaining),
            "anthropic-ratelimit-requests-reset": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """See Dialect."""
        return error_body(error, request_id)


def error_body(error: GatewayError, request_id: str) -> bytes:
    """JSON body of an error."""
    return orjson.dumps(error_doc(error, request_id))


def error_doc(error: GatewayError, request_id: str = "") -> Json:
    """Anthropic's error body, with ``param`` and ``gateway_code`` as further fields."""
    message = error.message
    if isinstance(error, ContextExceeded):  # Anthropic's sentence: what clients compact a prompt at
        message = "prompt is too long"
        if error.maximum:
            message += f": {error.tokens} tokens > {error.maximum} maximum"
    doc: Json = {
        "type": "error",
        "error": {
            "type": TYPES[error.code.value.family],
            "message": message,
            "param": error.param,
            "gateway_code": error.code.name,
        },
    }
    if request_id:
        doc["request_id"] = request_id
    return doc
