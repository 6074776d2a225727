"""The engine routes as a plain ASGI endpoint: HTTP to ``Call``, and the answer back to HTTP."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from os import urandom
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from gemma_gateway.api import intake
from gemma_gateway.api.deadlines import Deadlines
from gemma_gateway.api.intake import Intake
from gemma_gateway.core import changes
from gemma_gateway.core.call import Call, Credentials
from gemma_gateway.core.dialect import Dialect
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.pipeline.gateway import Gateway
from gemma_gateway.telemetry.log import logger
from gemma_gateway.telemetry.tracing import Tracer

JSON = (b"content-type", b"application/json")
EVENTS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would gather the stream
)
ID_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-")
MAX_ID_CHARS = 128
FAULT = "fault"  # in a scope's state: the error for which the server gave up a request's body
PROCESS = urandom(8).hex()
numbers = itertools.count(1)


def request_id(scope: Mapping[str, Any]) -> str:
    """The client's own ``x-request-id`` if it is sane, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            if 0 < len(text) <= MAX_ID_CHARS and ID_CHARS.issuperset(text):
                return str(text)
    return f"req-{PROCESS}-{next(numbers):x}"


def head(call: Call, *more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Raw response headers: the request id, the call's own and ``more``, and what was changed in
    the request."""
    headers = [(b"x-request-id", call.id.encode()), *more]
    headers += [(name.encode(), value.encode()) for name, value in call.answer.headers.items()]
    if call.request.changes:
        headers.append((changes.HEADER.encode(), changes.listed(call.request.changes).encode()))
    return headers


class Connection:
    """One HTTP exchange: the ``Client`` of the pipeline.

    A client that leaves, or a call that the gateway ends, cancels the task that made this object:
    cancellation is how it travels down the pipeline to the engine.

    Args:
        scope: of the request.
        limit: largest body, in bytes.
        timeout: longest whole call, in seconds.
        bodies: counts what arrives in pieces.
    """

    __slots__ = (
        "_bodies",
        "_call",
        "_departure",
        "_limit",
        "_read",
        "_receive",
        "_scope",
        "_send",
        "_task",
        "_timeout",
        "begun",
        "left",
        "patience",
    )

    def __init__(
        self,
        call: Call,
        scope: Scope,
        receive: Receive,
        send: Send,
        limit: int,
        timeout: float,
        bodies: Intake,
    ) -> None:
        self._call = call
        self._scope = scope
        self._receive = receive
        self._send = send
        self._limit = limit
        self._timeout = self.patience = timeout
        self._bodies = bodies
        self._task = asyncio.current_task()
        self._departure: asyncio.Future[Message] | None = None
        self._read = False
        self.begun = False
        self.left = False

    async def body(self) -> bytes:
        """See ``Client.body``."""
        self._allow(0)
        try:
            body, more = await self._part()
            if more:
                body = await self._rest(body)
        except asyncio.CancelledError:
            if self._call.ended is not Code.ENGINE_TIMEOUT:
                raise
            self._call.ended = Code.REQUEST_TIMEOUT
            if self._task is not None:
                self._task.uncancel()
            raise too_late() from None
        self.patience = self._timeout
        self._read = True
        return body

    async def _part(self) -> tuple[bytes, bool]:
        """Some of the body, and whether more will come."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            if FAULT in self._scope.get("state", ()):
                raise self._scope["state"].pop(FAULT)  # the server has told the client already
            self.left = True
            raise asyncio.CancelledError
        return message.get("body", b""), message.get("more_body", False)

    async def _rest(self, first: bytes) -> bytes:
        """A body that doesn't come in one piece."""
        body, more, taken = bytearray(), True, 0
        key_id = self._call.caller
        part = first
        try:
            while True:
                body += part
                if len(body) > self._limit:
                    raise too_large(self._limit)
                if not more:
                    return bytes(body)
                self._bodies.take(key_id, len(part))
                taken += len(part)
                self._allow(taken)
                part, more = await self._part()
        finally:
            self._bodies.give_back(key_id, taken)

    def _allow(self, size: int) -> None:
        self.patience = min(self._timeout, intake.patience(size))

    async def answer(self, call: Call, status: int, body: bytes) -> None:
        """See ``Client.answer``."""
        headers = head(call, JSON)
        headers.append((b"content-length", b"%d" % len(body)))
        self.close()
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        self.begun = True
        await self._send({"type": "http.response.body", "body": body})

    async def begin(self, call: Call) -> None:
        """See ``Client.begin``."""
        await self._send(
            {"type": "http.response.start", "status": 200, "headers": head(call, *EVENTS)}
        )
        self.begun = True

    async def write(self, data: bytes) -> None:
        """See ``Client.write``."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """See ``Client.end``."""
        self.close()
        await self._send({"type": "http.response.body", "body": b""})

    def listen(self) -> None:
        """Wait for the client's departure, once its body was read."""
        if self._read and self._departure is None:
            self._departure = asyncio.ensure_future(self._receive())
            self._departure.add_done_callback(self._gone)

    def stop(self, reason: Code) -> None:
        """See ``Watched.stop``. A call that is being ended already keeps its reason."""
        if self._task is not None and self._call.ended is None and not self.left:
            self._call.ended = reason
            self._task.cancel()

    def close(self) -> None:
        """Stop listening: the call is over."""
        self._read = False
        if self._departure is not None:
            self._departure.remove_done_callback(self._gone)
            self._departure.cancel()
            self._departure = None

    def _gone(self, departure: asyncio.Future[Message]) -> None:
        if not departure.cancelled() and self._task is not None:
            self.left = True
            self._task.cancel()


def too_late() -> GatewayError:
    """The error for a body that took too long; nobody waits for the rest (RFC 9110, 15.5.9)."""
    return GatewayError(Code.REQUEST_TIMEOUT, headers={"connection": "close"})


def too_large(limit: int) -> GatewayError:
    """The error for a body over ``limit`` bytes."""
    return GatewayError(Code.REQUEST_TOO_LARGE, f"The request body is over {limit} bytes.")


class EngineEndpoint:
    """ASGI application of one engine route.

    Args:
        deadlines: looks after the open connections.
        bodies: counts the bodies that arrive in pieces.
        timeout: longest whole call, in seconds.
        tracer: begins each call's trace; None: calls are not traced.
    """

    def __init__(
        self,
        gateway: Gateway,
        dialect: Dialect,
        deadlines: Deadlines,
        bodies: Intake,
        timeout: float,
        tracer: Tracer | None = None,
    ) -> None:
        self.gateway = gateway
        self.dialect = dialect
        self._deadlines = deadlines
        self._tracer = tracer
        self._timeout = timeout
        self._limit = bodies.body_bytes
        self._bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(request_id(scope), self.dialect, f"call-{PROCESS}-{next(numbers):x}")
        if scope["client"] is not None:
            call.client_address = scope["client"][0]
        connection = Connection(
            call, scope, receive, send, self._limit, self._timeout, self._bodies
        )
        self._deadlines.add(connection)
        try:
            try:
                call.credentials = self._credentials(scope)
            except GatewayError as error:
                self.gateway.turned_away(call, error)
                raise
            if self._tracer is not None:
                call.trace = self._tracer.begin(call, scope["headers"])
            await self.gateway.handle(call, connection)
        except GatewayError as error:
            await self._fail(call, connection, error)
        except asyncio.CancelledError:
            if call.ended is None:
                if not connection.left:
                    raise
            elif not connection.begun:
                await self._fail(call, connection, GatewayError(call.ended))
        except Exception:
            logger.exception("call failed")
            if connection.begun:
                raise
            await self._fail(call, connection, GatewayError(Code.INTERNAL_ERROR))
        finally:
            self._deadlines.discard(connection)
            connection.close()

    def _credentials(self, scope: Scope) -> Credentials:
        """Credentials; method and content type are checked on the way."""
        authorization = x_api_key = content_type = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"x-api-key":
                x_api_key = value
            elif name == b"content-type":
                content_type = value
            elif name == b"content-length" and value.isdigit() and int(value[:18]) > self._limit:
                raise too_large(self._limit)
        if scope["method"] != "POST":
            raise GatewayError(Code.METHOD_NOT_ALLOWED, headers={"allow": "POST"})
        if content_type is None or b"json" not in content_type.partition(b";")[0].lower():
            raise GatewayError(
                Code.VALIDATION_ERROR, "Send JSON with 'content-type: application/json'."
            )
        return authorization, x_api_key

    async def _fail(self, call: Call, connection: Connection, error: GatewayError) -> None:
        call.answer.headers = {**call.answer.headers, **error.headers}
        if not error.worth_a_retry:
            call.answer.headers["x-should-retry"] = "false"
        body = self.dialect.error(error, call.id)
        await connection.answer(call, error.status, body)
