"""One HTTP exchange of an engine route: what the pipeline sees of its client."""

from __future__ import annotations

import asyncio
import time
from math import inf

from starlette.types import Message, Receive, Scope, Send

from gemma_gateway.api import intake
from gemma_gateway.api.deadlines import Deadlines
from gemma_gateway.api.intake import Intake
from gemma_gateway.core import changes
from gemma_gateway.core.call import Call
from gemma_gateway.core.errors import Code, GatewayError

JSON = (b"content-type", b"application/json")
OK = 200
EVENTS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would gather the stream
)
FAULT = "fault"  # in a scope's state: the error for which the server gave up a request's body


def response_headers(call: Call, *more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Raw response headers: the request id, the call's own and ``more``, and what was changed in
    the request."""
    call_id = call.id.encode()
    headers = [(name.encode(), value.encode()) for name, value in call.answer.headers.items()]
    for name in call.dialect.id_headers:
        headers.append((name, call_id))  # noqa: PERF401 - there is mostly one: a list costs more
    headers += more
    if call.request.changes:
        headers.append((changes.HEADER.encode(), changes.listed(call.request.changes).encode()))
    return headers


class Connection:
    """One HTTP exchange: the ``Client`` of the pipeline.

    A client that leaves, or a call that the gateway ends, cancels the task that made this object:
    cancellation is how it travels down the pipeline to the engine.

    Signs of life are a task's: each is written between the call's own writes, which are whole
    events, and none while one of these waits for a client that reads slowly.

    Args:
        scope: of the request.
        limit: largest body, in bytes.
        timeout: longest whole call, in seconds.
        bodies: counts what arrives in pieces.
        deadlines: looks after it.

    Attributes:
        over: its last word was said, or is about to be.
        wait: how long the client waits for the answer to begin once it has sent its body, seconds.
    """

    __slots__ = (
        "_bodies",
        "_call",
        "_deadlines",
        "_departure",
        "_held",
        "_life",
        "_limit",
        "_read",
        "_receive",
        "_scope",
        "_send",
        "_task",
        "_timeout",
        "late",
        "left",
        "over",
        "patience",
        "silent_since",
        "wait",
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
        deadlines: Deadlines,
    ) -> None:
        self._call = call
        self._scope = scope
        self._receive = receive
        self._send = send
        self._limit = limit
        self._timeout = self.patience = timeout
        self._bodies = bodies
        self._held = 0  # bytes that count in ``bodies``
        self._deadlines = deadlines
        self._task = asyncio.current_task()
        self._departure: asyncio.Future[Message] | None = None
        self._life: asyncio.Task[None] | None = None  # a sign of it on its way
        self._read = False
        self.late = Code.ENGINE_TIMEOUT
        self.silent_since = self.wait = inf
        self.left = self.over = False

    async def body(self) -> bytes:
        """See ``Client.body``."""
        self.late = Code.REQUEST_TIMEOUT
        self._allow(0)
        try:
            body, more = await self._part()
            if more:
                body = await self._rest(body)
        except asyncio.CancelledError:
            if self._call.ended is not Code.REQUEST_TIMEOUT:
                raise
            if self._task is not None:
                self._task.uncancel()
            raise too_late() from None
        self.patience, self.late = self._timeout, Code.ENGINE_TIMEOUT
        if self.wait < inf:
            until = time.perf_counter() - self._call.started + self.wait
            if until < self._timeout:
                self.patience, self.late = until, Code.CLIENT_DEADLINE
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
        body, more = bytearray(), True
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
                self._held += len(part)
                self._allow(self._held)
                part, more = await self._part()
        finally:
            if not self._bodies.until_over:
                self._give_back()

    def _give_back(self) -> None:
        if self._held:
            self._bodies.give_back(self._call.caller, self._held)
            self._held = 0

    def _allow(self, size: int) -> None:
        self.patience = min(self._timeout, intake.patience(size))

    def expect(self) -> None:
        """See ``Client.expect``."""
        self.silent_since = self._deadlines.now

    async def answer(self, call: Call, status: int, body: bytes) -> None:
        """See ``Client.answer``."""
        if self._life is not None:
            await self.quiet()
        self.silent_since = inf
        if call.answer.begun:
            raise GatewayError(Code.GENERATION_ERROR)
        kind = JSON if status != OK else (JSON[0], call.answer.media_type)
        headers = response_headers(call, kind, (b"content-length", b"%d" % len(body)))
        self.close()
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        self._begun()
        await self._send({"type": "http.response.body", "body": body})

    async def begin(self, call: Call) -> None:
        """See ``Client.begin``."""
        await self.quiet()
        if not call.answer.begun:
            await self._start()
        self.silent_since = self._deadlines.now

    async def write(self, data: bytes) -> None:
        """See ``Client.write``."""
        if self._life is not None:
            await self._life
        self.silent_since = inf
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self.silent_since = self._deadlines.now

    async def end(self) -> None:
        """See ``Client.end``."""
        await self.quiet()
        self.close()
        await self._send({"type": "http.response.body", "body": b""})

    async def _start(self) -> None:
        """Send the head of a stream."""
        headers = response_headers(self._call, *EVENTS)
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self._begun()

    def _begun(self) -> None:
        """The head was sent: nobody waits for the answer to begin any longer."""
        self._call.answer.begun = True
        self.patience, self.late = self._timeout, Code.ENGINE_TIMEOUT

    def show_life(self) -> None:
        """See ``Watched.show_life``."""
        self.silent_since = inf
        self._life = asyncio.create_task(self._ping())

    async def _ping(self) -> None:
        try:
            if not self._call.answer.begun:
                await self._start()
            ping = self._call.dialect.ping
            await self._send({"type": "http.response.body", "body": ping, "more_body": True})
            self.silent_since = self._deadlines.now
        finally:
            self._life = None

    async def quiet(self) -> None:
        """From now on it shows no life by itself; a sign on its way has left."""
        while self._life is not None:
            await self._life
        self.silent_since = inf

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
        self._give_back()
        self._read, self.over = False, True
        if self._life is not None:
            self._life.cancel()
            self._life = None
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
