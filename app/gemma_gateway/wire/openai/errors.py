"""OpenAI's errors: their types, their bodies, and the base of the dialects that speak so.

Source: OpenAI's error object (``message``, ``type``, ``param``, ``code``) and its "Error codes".
"""

from __future__ import annotations

import orjson
from pydantic import BaseModel

from gemma_gateway.core.dialect import Dialect, Json
from gemma_gateway.core.errors import Code, Family, GatewayError

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
# OpenAI's own codes, on which clients act; where it has none, null. LiteLLM, for one, falls back to
# another model at ``content_policy_violation``.
CODES = {
    Code.CONTEXT_LENGTH_EXCEEDED: "context_length_exceeded",
    Code.INVALID_API_KEY: "invalid_api_key",
    Code.API_KEY_EXPIRED: "invalid_api_key",
    Code.API_KEY_REVOKED: "invalid_api_key",
    Code.MODEL_NOT_ALLOWED: "model_not_found",
    Code.MODEL_NOT_FOUND: "model_not_found",
    Code.NOT_FOUND: "unknown_url",
    Code.METHOD_NOT_ALLOWED: "method_not_supported",
    Code.RATE_LIMIT_EXCEEDED: "rate_limit_exceeded",
    Code.CONTENT_FILTERED: "content_policy_violation",
    Code.RESPONSE_FILTERED: "content_policy_violation",
}


class OpenAIErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None
    gateway_code: str


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
    """OpenAI's error object: message, type, param, code; and the gateway's own code."""
    return {
        "message": error.message,
        "type": TYPES[error.code.value.family],
        "param": error.param,
        "code": error.reason or CODES.get(error.code),
        "gateway_code": error.code.name,
    }
