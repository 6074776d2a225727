"""The one table of errors: our code, HTTP status, and how OpenAI and Anthropic clients call it.

Sources: OpenAI error object (``message``, ``type``, ``param``, ``code``), Anthropic error types
(``invalid_request_error``, ``authentication_error``, ...).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

MAX_PARAM_CHARS = 256  # of a path in an error


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table."""

    status: int
    openai: str
    anthropic: str
    message: str


class Code(Enum):
    """Every error that the gateway can answer with; the name is the ``code`` a client sees."""

    VALIDATION_ERROR = Kind(
        400, "invalid_request_error", "invalid_request_error", "The request is not valid."
    )
    REQUEST_TOO_LARGE = Kind(
        413, "invalid_request_error", "request_too_large", "The request body is too large."
    )
    HEADERS_TOO_LARGE = Kind(
        431, "invalid_request_error", "invalid_request_error", "The request's head is too large."
    )
    REQUEST_TIMEOUT = Kind(
        408, "invalid_request_error", "timeout_error", "The request body did not arrive in time."
    )
    INVALID_API_KEY = Kind(
        401,
        "authentication_error",
        "authentication_error",
        "Send a valid API key as 'Authorization: Bearer KEY' or 'x-api-key: KEY'.",
    )
    API_KEY_EXPIRED = Kind(
        401,
        "authentication_error",
        "authentication_error",
        "This API key has expired. Ask your administrator for a new one.",
    )
    API_KEY_REVOKED = Kind(
        401,
        "authentication_error",
        "authentication_error",
        "This API key was revoked. Ask your administrator for a new one.",
    )
    MODEL_NOT_ALLOWED = Kind(
        403, "permission_error", "permission_error", "This API key may not use this model."
    )
    OPERATOR_REQUIRED = Kind(
        403, "permission_error", "permission_error", "This needs a key with operator scope."
    )
    MODEL_NOT_FOUND = Kind(
        404, "invalid_request_error", "not_found_error", "No such model; GET /v1/models lists them."
    )
    KEY_NOT_FOUND = Kind(
        404, "invalid_request_error", "not_found_error", "No such key; GET /v1/keys lists them."
    )
    KEY_CONFLICT = Kind(
        409, "invalid_request_error", "invalid_request_error", "This key can't be changed so."
    )
    RESPONSE_NOT_FOUND = Kind(
        404, "invalid_request_error", "not_found_error", "No such answer of this key's."
    )
    NOT_FOUND = Kind(404, "invalid_request_error", "not_found_error", "No such route; see /docs.")
    METHOD_NOT_ALLOWED = Kind(
        405, "invalid_request_error", "invalid_request_error", "This route takes another method."
    )
    RATE_LIMIT_EXCEEDED = Kind(
        429, "rate_limit_error", "rate_limit_error", "Rate limit exceeded; try again later."
    )
    CONTENT_FILTERED = Kind(
        400,
        "invalid_request_error",
        "invalid_request_error",
        "The request was blocked by the content policy.",
    )
    RESPONSE_FILTERED = Kind(
        400,
        "invalid_request_error",
        "invalid_request_error",
        "The answer was blocked by the content policy.",
    )
    GENERATION_ERROR = Kind(
        503, "server_error", "api_error", "The model could not complete this request."
    )
    ENGINE_UNAVAILABLE = Kind(
        503, "server_error", "overloaded_error", "No model engine is ready; try again shortly."
    )
    ENGINE_OVERLOADED = Kind(
        503, "server_error", "overloaded_error", "All capacity is in use; try again shortly."
    )
    ENGINE_TIMEOUT = Kind(504, "server_error", "timeout_error", "The model took too long.")
    LIMIT_STORE_UNAVAILABLE = Kind(
        503, "server_error", "overloaded_error", "Limits can't be checked now; try again shortly."
    )
    KEY_STORE_UNAVAILABLE = Kind(
        503, "server_error", "overloaded_error", "Keys can't be looked up now; try again shortly."
    )
    ALERT_STORE_UNAVAILABLE = Kind(
        503, "server_error", "overloaded_error", "Redis is away; try again shortly."
    )
    SHUTTING_DOWN = Kind(
        503, "server_error", "overloaded_error", "This server is shutting down; try again."
    )
    INTERNAL_ERROR = Kind(503, "server_error", "api_error", "The server could not answer.")


LONGEST_WAIT = 60  # seconds of retry-after that an SDK may sleep through by itself


class GatewayError(Exception):
    """An error that a client is told about.

    Args:
        code: row of the table.
        message: what to tell the client; the row's own text when empty. Never holds internals.
        param: the field at fault, as a path such as ``messages.0.content``; cut where the client's
            own keys make it long.
        headers: extra response headers, such as ``retry-after`` (seconds), which every 503 has.
    """

    def __init__(
        self,
        code: Code,
        message: str = "",
        *,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message or code.value.message)
        self.code = code
        self.message = message or code.value.message
        self.param = param[:MAX_PARAM_CHARS] if param else param
        self.headers = headers or {}
        if self.status == 503:
            self.headers = {"retry-after": "1", **self.headers}

    @property
    def status(self) -> int:
        """HTTP status code."""
        return self.code.value.status

    @property
    def worth_a_retry(self) -> bool:
        """False where the same call again soon can only fail again, after a long wait or at once.
        The official SDKs would sleep through any ``retry-after``, and repeat a time-out twice."""
        wait = int(self.headers.get("retry-after", "0"))
        return self.code is not Code.ENGINE_TIMEOUT and wait <= LONGEST_WAIT
