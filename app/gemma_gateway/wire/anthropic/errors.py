"""Anthropic's errors: their types, their bodies, and the base of the dialects that speak so.

Source: Anthropic's error types (``invalid_request_error``, ``authentication_error``, ...).
"""

from __future__ import annotations

from typing import Literal

import orjson
from pydantic import BaseModel

from gemma_gateway.core.dialect import Dialect, Json
from gemma_gateway.core.errors import Family, GatewayError

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
    code: str
    param: str | None


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

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """See Dialect."""
        return orjson.dumps(error_doc(error, request_id))


def error_doc(error: GatewayError, request_id: str = "") -> Json:
    """Anthropic's error body, with the gateway's ``code`` and ``param`` as further fields."""
    doc: Json = {
        "type": "error",
        "error": {
            "type": TYPES[error.code.value.family],
            "message": error.message,
            "code": error.code.name,
            "param": error.param,
        },
    }
    if request_id:
        doc["request_id"] = request_id
    return doc
