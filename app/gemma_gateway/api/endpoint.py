"""The engine routes as a plain ASGI endpoint: HTTP to ``Call``, and the answer back to HTTP."""

from __future__ import annotations

import asyncio
from math import inf

from starlette.types import Receive, Scope, Send

from gemma_gateway.api import head
from gemma_gateway.api.connection import JSON, Connection, too_large
from gemma_gateway.api.deadlines import WAITS, Deadlines, client_patience
from gemma_gateway.api.intake import Intake
from gemma_gateway.core.call import Call
from gemma_gateway.core.dialect import Dialect
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.form import FormDialect
from gemma_gateway.pipeline.gateway import Gateway
from gemma_gateway.telemetry.log import logger
from gemma_gateway.telemetry.tracing import Tracer
from gemma_gateway.wire import coding, multipart

TOLD, TRACED = frozenset(WAITS), frozenset(head.TRACE_FIELDS)


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
        self._form = isinstance(dialect, FormDialect)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fields = head.fields(scope["headers"])
        engine_id = f"call-{head.PROCESS}-{next(head.numbers):x}"
        call = Call(head.request_id(fields), self.dialect, engine_id)
        if scope["client"] is not None:
            call.client_address = scope["client"][0]
        connection = Connection(
            call, scope, receive, send, self._limit, self._timeout, self._bodies, self._deadlines
        )
        self._deadlines.add(connection)
        try:
            try:
                connection.wait = self._read_head(call, scope["method"], fields)
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
            elif not call.answer.begun:
                await self._fail(call, connection, GatewayError(call.ended))
        except Exception:
            logger.exception("call failed")
            if connection.over:
                raise
            await self._fail(call, connection, GatewayError(Code.INTERNAL_ERROR))
        finally:
            self._deadlines.discard(connection)
            connection.close()

    def _read_head(self, call: Call, method: str, fields: head.Fields) -> float:
        """Hold the head to HTTP's own rules, and note what it says of the call; how long the client
        waits, seconds."""
        length = fields.get(b"content-length")
        if length is not None and length.isdigit() and int(length[:18]) > self._limit:
            raise too_large(self._limit)
        if method != "POST":
            raise GatewayError(Code.METHOD_NOT_ALLOWED, headers={"allow": "POST"})
        content_type = fields.get(b"content-type", b"")
        if self._form:
            if not multipart.is_form(content_type):
                raise GatewayError(Code.VALIDATION_ERROR, multipart.SEND)
            call.request.media_type = content_type
        elif content_type != JSON[1] and b"json" not in content_type.partition(b";")[0].lower():
            raise GatewayError(
                Code.VALIDATION_ERROR, "Send JSON with 'content-type: application/json'."
            )
        if b"content-encoding" in fields:
            call.request.coding = coding.read(fields[b"content-encoding"])
        if self._tracer is None and not TRACED.isdisjoint(fields):
            call.request.headers = head.trace_context(fields)
        call.credentials = head.credentials(fields)
        return inf if TOLD.isdisjoint(fields) else client_patience(fields)

    async def _fail(self, call: Call, connection: Connection, error: GatewayError) -> None:
        await connection.quiet()
        if call.answer.begun:  # with a sign of life, when there was no status yet
            await connection.write(self.dialect.stream(hide_usage=False).failure(error))
            await connection.end()
            return
        call.answer.headers = {**call.answer.headers, **error.headers}
        body = self.dialect.error(error, call.id)
        await connection.answer(call, error.status, body)
