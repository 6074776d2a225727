"""The one table of errors: our code, its HTTP status, and the family that it belongs to.

How a protocol calls each family stands in that protocol's own module in ``wire``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

MAX_PARAM_CHARS = 256  # of a path in an error


class Family(Enum):
    """What kind of failure an error is. The closed set that each protocol has its own words for."""

    INVALID_REQUEST = auto()
    TOO_LARGE = auto()
    REQUEST_TIMEOUT = auto()  # the client was too slow
    AUTHENTICATION = auto()
    PERMISSION = auto()
    NOT_FOUND = auto()
    RATE_LIMIT = auto()
    UNAVAILABLE = auto()  # for now: the same call may succeed in a moment
    TIMEOUT = auto()  # the service was too slow
    INTERNAL = auto()


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table: HTTP status, family, and what the client is told."""

    status: int
    family: Family
    message: str


class Code(Enum):
    """Every error that the gateway can answer with; the name is the ``code`` a client sees."""

    VALIDATION_ERROR = Kind(400, Family.INVALID_REQUEST, "The request is not valid.")
    REQUEST_TOO_LARGE = Kind(413, Family.TOO_LARGE, "The request body is too large.")
    UNSUPPORTED_ENCODING = Kind(
        415, Family.INVALID_REQUEST, "The body's content coding is not supported."
    )
    HEADERS_TOO_LARGE = Kind(431, Family.INVALID_REQUEST, "The request's head is too large.")
    REQUEST_TIMEOUT = Kind(408, Family.REQUEST_TIMEOUT, "The request body did not arrive in time.")
    INVALID_API_KEY = Kind(
        401,
        Family.AUTHENTICATION,
        "Send a valid API key as 'Authorization: Bearer KEY' or 'x-api-key: KEY'.",
    )
    API_KEY_EXPIRED = Kind(
        401,
        Family.AUTHENTICATION,
        "This API key has expired. Ask your administrator for a new one.",
    )
    API_KEY_REVOKED = Kind(
        401,
        Family.AUTHENTICATION,
        "This API key was revoked. Ask your administrator for a new one.",
    )
    MODEL_NOT_ALLOWED = Kind(403, Family.PERMISSION, "This API key may not use this model.")
    OPERATOR_REQUIRED = Kind(403, Family.PERMISSION, "This needs a key with operator scope.")
    MODEL_NOT_FOUND = Kind(404, Family.NOT_FOUND, "No such model; GET /v1/models lists them.")
    KEY_NOT_FOUND = Kind(404, Family.NOT_FOUND, "No such key; GET /v1/keys lists them.")
    KEY_CONFLICT = Kind(409, Family.INVALID_REQUEST, "This key can't be changed in this way.")
    RESPONSE_NOT_FOUND = Kind(404, Family.NOT_FOUND, "This key has no such answer.")
    NOT_FOUND = Kind(404, Family.NOT_FOUND, "No such route; see /docs.")
    METHOD_NOT_ALLOWED = Kind(405, Family.INVALID_REQUEST, "This route doesn't accept this method.")
    RATE_LIMIT_EXCEEDED = Kind(429, Family.RATE_LIMIT, "Rate limit exceeded; try again later.")
    CONTENT_FILTERED = Kind(
        400, Family.INVALID_REQUEST, "The request was blocked by the content policy."
    )
    RESPONSE_FILTERED = Kind(
        400, Family.INVALID_REQUEST, "The answer was blocked by the content policy."
    )
    GENERATION_ERROR = Kind(503, Family.INTERNAL, "The model could not complete this request.")
    ENGINE_UNAVAILABLE = Kind(
        503, Family.UNAVAILABLE, "No model engine is ready; try again shortly."
    )
    ENGINE_OVERLOADED = Kind(503, Family.UNAVAILABLE, "All capacity is in use; try again shortly.")
    ENGINE_TIMEOUT = Kind(504, Family.TIMEOUT, "The model took too long.")
    LIMIT_STORE_UNAVAILABLE = Kind(
        503, Family.UNAVAILABLE, "Limits can't be checked now; try again shortly."
    )
    KEY_STORE_UNAVAILABLE = Kind(
        503, Family.UNAVAILABLE, "Keys can't be looked up now; try again shortly."
    )
    ALERT_STORE_UNAVAILABLE = Kind(
        503, Family.UNAVAILABLE, "Redis is unavailable; try again shortly."
    )
    SHUTTING_DOWN = Kind(503, Family.UNAVAILABLE, "This server is shutting down; try again.")
    INTERNAL_ERROR = Kind(503, Family.INTERNAL, "The server could not answer.")


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
