"""OpenAI's errors: their types, their bodies, and the base of the dialects that speak so.

Source: OpenAI's error object (``message``, ``type``, ``param``, ``code``).
"""

from __future__ import annotations

import orjson
from pydantic import BaseModel

from gemma_gateway.core.dialect import Dialect, Json
from gemma_gateway.core.errors import Family, GatewayError

TYPES = {
    Family.INVALID_REQUEST: "invalid_request_error",
    Family.TOO_LARGE: "invalid_request_error",
    Family.REQUEST_TIMEOUT: "invalid_request_error",
    Family.AUTHENTICATION: "authentication_error",
    Family.PERMISSION: "permission_error",
    Family.NOT_FOUND: "invalid_request_error",
    Family.RATE_LIMIT: "rate_limit_error",
    Family.UNAVAILABLE: "server_error",
    Family.TIMEOUT: "server_error",
    Family.INTERNAL: "server_error",
}


class OpenAIErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(BaseModel):
    """Error body of the OpenAI routes."""

    error: OpenAIErrorDetail


class OpenAIDialect(Dialect):
    """A route whose errors are OpenAI's."""

    error_model = OpenAIError

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """See Dialect. OpenAI names the request in the ``x-request-id`` header only."""
        del request_id
        return error_body(error)


def error_body(error: GatewayError) -> bytes:
    """JSON body of an error."""
    return orjson.dumps({"error": error_object(error)})


def error_object(error: GatewayError) -> Json:
    """OpenAI's error object: message, type, param, code."""
    return {
        "message": error.message,
        "type": TYPES[error.code.value.family],
        "param": error.param,
        "code": error.code.name,
    }
