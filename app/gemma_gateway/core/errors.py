"""The one table of errors: our code, its HTTP status, its family, and whether to try again.

How a protocol calls each family stands in that protocol's own module in ``wire``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from math import ceil

MAX_PARAM_CHARS = 256  # of a path in an error
MAX_QUOTED_CHARS = 128
LONGEST_WAIT = 60  # seconds that a client may sleep through by itself


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
    """One row of the table: what the client is told.

    Args:
        status: HTTP status.
        family: what kind of failure it is.
        message: for people.
        wait: seconds after which the same call may succeed; 0: trying again doesn't help.
    """

    status: int
    family: Family
    message: str
    wait: float = 0


class Code(Enum):
    """Every error that the gateway can answer with; the name is what clients see as
    ``gateway_code``, and operators as the outcome."""

    VALIDATION_ERROR = Kind(400, Family.INVALID_REQUEST, "The request is not valid.")
    CONTEXT_LENGTH_EXCEEDED = Kind(
        400, Family.INVALID_REQUEST, "The prompt is longer than the model's context."
    )
    REQUEST_TOO_LARGE = Kind(413, Family.TOO_LARGE, "The request body is too large.")
    UNSUPPORTED_ENCODING = Kind(
        415, Family.INVALID_REQUEST, "The body's content coding is not supported."
    )
    HEADERS_TOO_LARGE = Kind(431, Family.INVALID_REQUEST, "The request's head is too large.")
    REQUEST_TIMEOUT = Kind(
        408, Family.REQUEST_TIMEOUT, "The request body did not arrive in time.", wait=1
    )
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
    MODEL_NOT_FOUND = Kind(404, Family.NOT_FOUND, "This model does not exist.")
    KEY_NOT_FOUND = Kind(404, Family.NOT_FOUND, "No such key; GET /v1/keys lists them.")
    KEY_CONFLICT = Kind(409, Family.INVALID_REQUEST, "This key can't be changed in this way.")
    PROMPT_NOT_FOUND = Kind(
        404, Family.NOT_FOUND, "There is no such preset; GET /v1/prompts lists them."
    )
    RESPONSE_NOT_FOUND = Kind(404, Family.NOT_FOUND, "This key has no such answer.")
    NOT_FOUND = Kind(404, Family.NOT_FOUND, "No such route; see /docs.")
    METHOD_NOT_ALLOWED = Kind(405, Family.INVALID_REQUEST, "This route doesn't accept this method.")
    RATE_LIMIT_EXCEEDED = Kind(
        429, Family.RATE_LIMIT, "Rate limit exceeded; try again later.", wait=1
    )
    CONTENT_FILTERED = Kind(
        400, Family.INVALID_REQUEST, "The request was blocked by the content policy."
    )
    RESPONSE_FILTERED = Kind(
        400, Family.INVALID_REQUEST, "The answer was blocked by the content policy."
    )
    GENERATION_ERROR = Kind(
        503, Family.INTERNAL, "The model could not complete this request.", wait=1
    )
    ENGINE_UNAVAILABLE = Kind(
        503, Family.UNAVAILABLE, "No model engine is ready; try again shortly.", wait=1
    )
    ENGINE_OVERLOADED = Kind(
        503, Family.UNAVAILABLE, "All capacity is in use; try again shortly.", wait=1
    )
    # The SDKs would have the engine work for these three times.
    ENGINE_TIMEOUT = Kind(504, Family.TIMEOUT, "The model took too long.")
    CLIENT_DEADLINE = Kind(
        504, Family.TIMEOUT, "The answer did not begin within the time that the client gave."
    )
    UPSTREAM_ROUTE_MISSING = Kind(
        501, Family.INTERNAL, "The server of this model doesn't have this route."
    )
    UPSTREAM_KEY_REFUSED = Kind(
        502,
        Family.INTERNAL,
        "The server of this model refuses the gateway's own key or account; its operator has to "
        "mend that.",
    )
    UPSTREAM_ANSWER_INVALID = Kind(
        502, Family.INTERNAL, "The server of this model gave an answer that can't be read."
    )
    LIMIT_STORE_UNAVAILABLE = Kind(
        503, Family.UNAVAILABLE, "Limits can't be checked now; try again shortly.", wait=1
    )
    KEY_STORE_UNAVAILABLE = Kind(
        503, Family.UNAVAILABLE, "Keys can't be looked up now; try again shortly.", wait=1
    )
    ALERT_STORE_UNAVAILABLE = Kind(
        503, Family.UNAVAILABLE, "Redis is unavailable; try again shortly.", wait=1
    )
    SHUTTING_DOWN = Kind(
        503, Family.UNAVAILABLE, "This server is shutting down; try again.", wait=1
    )
    INTERNAL_ERROR = Kind(503, Family.INTERNAL, "The server could not answer.", wait=1)


class GatewayError(Exception):
    """An error that a client is told about.

    Args:
        code: row of the table.
        message: what to tell the client; the row's own text when empty. Never holds internals.
        param: the field at fault, as a path such as ``messages.0.content``; cut where the client's
            own keys make it long.
        reason: what exactly is wrong, where clients have a word for it: a ``code`` of OpenAI's,
            such as ``string_above_max_length``. Empty: what the row says is all.
        headers: extra response headers.
        wait: seconds after which to try again, instead of the row's.

    Attributes:
        headers: those, and for every client whether to try again (``x-should-retry``) and when
            (``retry-after``, seconds; ``retry-after-ms``). The official SDKs would sleep through
            any wait, so they are kept from a long one.
    """

    def __init__(
        self,
        code: Code,
        message: str = "",
        *,
        param: str | None = None,
        reason: str = "",
        headers: dict[str, str] | None = None,
        wait: float | None = None,
    ) -> None:
        super().__init__(message or code.value.message)
        self.code = code
        self.message = message or code.value.message
        self.param = param[:MAX_PARAM_CHARS] if param else param
        self.reason = reason
        self.wait = code.value.wait if wait is None else wait
        self.headers = {**(headers or {}), **_retry(self.wait)}

    @property
    def status(self) -> int:
        """HTTP status code."""
        return self.code.value.status


def _retry(wait: float) -> dict[str, str]:
    if wait <= 0:
        return {"x-should-retry": "false"}
    return {
        "x-should-retry": "true" if wait <= LONGEST_WAIT else "false",
        "retry-after": str(ceil(wait)),
        "retry-after-ms": str(ceil(wait * 1000)),
    }


def quoted(text: str) -> str:
    """A name that a client sent, for a message to the same client: short, plain and in quotes."""
    plain = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return f'"{plain[:MAX_QUOTED_CHARS]}{"..." * (len(plain) > MAX_QUOTED_CHARS)}"'
