"""What a request's head says of it: its id, its key, and the trace that it belongs to."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from os import urandom

from gemma_gateway.core.call import Credentials
from gemma_gateway.core.errors import Code, GatewayError

Fields = dict[bytes, bytes]

ID_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-")
MAX_ID_CHARS = 128
# Whoever takes no part in a trace passes these on as they are (W3C Trace Context, 3 and 4). Baggage
# isn't: it is the caller's own data, and no engine reads it.
TRACE_FIELDS = (b"traceparent", b"tracestate")
MAX_TRACE_CHARS = 4096  # of one; servers refuse heads with more than 8 KiB. At least 512: W3C
PROCESS = urandom(8).hex()
numbers = itertools.count(1)


def fields(headers: Sequence[tuple[bytes, bytes]]) -> Fields:
    """Values by name in lower case; of a field that comes more than once the list of its values
    (RFC 9110, 5.3)."""
    found = dict(headers)
    if len(found) == len(headers):
        return found
    lists: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        lists.setdefault(name, []).append(value)
    return {name: b", ".join(values) for name, values in lists.items()}


def request_id(head: Fields) -> str:
    """The client's own ``x-request-id`` if it is sane, else a new one."""
    value = head.get(b"x-request-id")
    if value is not None:
        text = value.decode("latin-1")
        if 0 < len(text) <= MAX_ID_CHARS and ID_CHARS.issuperset(text):
            return text
    return f"req-{PROCESS}-{next(numbers):x}"


def credentials(head: Fields) -> Credentials:
    """How the caller says who it is. ``api-key`` is what clients made for Azure write.

    Raises:
        GatewayError: INVALID_API_KEY: two fields of one meaning say different things.
    """
    key = head.get(b"x-api-key")
    if (other := head.get(b"api-key")) is not None:
        if key is not None and key != other:
            raise GatewayError(Code.INVALID_API_KEY, "The x-api-key and api-key headers differ.")
        key = other
    return head.get(b"authorization"), key


def trace_context(head: Fields) -> dict[str, str]:
    """The caller's trace, for a gateway that makes no spans of its own."""
    found = {}
    for name in TRACE_FIELDS:
        if (value := head.get(name)) is not None and len(value) <= MAX_TRACE_CHARS:
            text = value.decode("latin-1")
            if text.isascii() and text.isprintable():
                found[name.decode()] = text
    return found
