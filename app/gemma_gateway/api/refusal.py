"""What the protocol itself says to a client whose request can't be read on."""

from __future__ import annotations

from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from gemma_gateway.api import framing, head
from gemma_gateway.api.errors import ErrorBodies
from gemma_gateway.core.errors import GatewayError
from gemma_gateway.telemetry.log import logger


def reason(error: httptools.HttpParserError) -> GatewayError:
    """Why the parser gave up: our own refusal of a head, or bytes that are no HTTP."""
    cause: Any = error.__context__
    if isinstance(cause, GatewayError):
        return cause
    if cause is not None and not isinstance(cause, UnicodeError):
        logger.error("a request's head was not understood", exc_info=cause)
    return framing.refused(framing.MALFORMED)


def answer(
    error: GatewayError,
    target: bytes,
    headers: framing.Headers,
    more: framing.Headers,
    bodies: ErrorBodies,
) -> bytes:
    """The whole answer, after which the connection ends.

    Args:
        target: of the request, as far as it is known.
        headers: of the request, as far as they are known.
        more: headers that every answer has.
        bodies: tells errors in the protocol of a path.
    """
    path, fields = target.partition(b"?")[0].decode("latin-1"), head.fields(headers)
    call_id = head.request_id(fields)
    body = bodies.body(path, fields, error, call_id)
    lines = [
        *more,
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *((name, call_id.encode()) for name in bodies.id_headers(path, fields)),
        *[(name.encode(), value.encode()) for name, value in error.headers.items()],
        (b"connection", b"close"),
    ]
    written = b"".join(b"%s: %s\r\n" % line for line in lines)
    return STATUS_LINE[error.status] + written + b"\r\n" + body
