"""The HTTP/1.1 protocol of the server: uvicorn's, with strict framing and bounds on all of it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gemma_gateway.api import framing, refusal
from gemma_gateway.api.connection import FAULT
from gemma_gateway.api.cors import Cors
from gemma_gateway.api.errors import ErrorBodies
from gemma_gateway.api.outlet import Outlet
from gemma_gateway.core.errors import Code, GatewayError

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

MAX_HEAD_BYTES = 64 * 1024  # also of what stands around a body: chunk extensions and trailers
HEAD_SECONDS = 10.0
CHUNK_LINE = 16  # bytes of framing that one byte of content may need: a chunk of one takes 6
MAX_DUE = 64  # requests on one connection that wait for their answers
# After an answer that didn't wait for the request's end, so much of the rest is read and dropped:
# a client that still sends would meet a reset instead of the answer (RFC 9112, 9.6).
LINGER_BYTES = 32 * 1024 * 1024
LINGER_SECONDS = 30.0


class BoundedHttp(HttpToolsProtocol):
    """A connection on which neither side can take one message's end for another's.

    ``Upgrade`` is ignored: llhttp stops behind such a head and would take the content for a new
    request, so it is given the head again without that field. Everything else that is odd is
    refused in ``api.framing``, and then the connection ends. What is no content is bounded in
    bytes, what a client still owes in seconds: it could fill the memory before it is known at all.

    Attributes:
        leaving: the process is about to stop: connections end with their next answer, so that
            clients that keep theirs find another process.
        errors: tells the reason of a refusal in the protocol of its path; ``cli.serve`` sets it, as
            ``cors``.
        cors: tells pages of other origins who may read it; None: they may not call.
    """

    leaving: ClassVar[bool] = False
    errors: ClassVar[ErrorBodies] = ErrorBodies(())
    cors: ClassVar[Cors | None] = None
    _inside = True  # a head is being received
    _extra = 0  # bytes since the head began, or in a body beside its content
    _again = b""  # the head that asked for an upgrade, without that
    _due = 0  # answers that the client still waits for
    _running: RequestResponseCycle | None = None  # whose answer is the next
    _expecting = False  # ... 100 Continue, which wasn't said yet
    _refusal: bytes | None = None  # what to say after the last answer that is due; then it ends
    _deaf = False  # all was said; what still comes is dropped
    _rest = LINGER_BYTES  # bytes that may still come without being of use
    _idle_since = 0.0  # loop time of the last answer's end
    _deadline: asyncio.TimerHandle | None = None  # for a head in pieces, or for the rest

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody connects, and has to say something."""
        super().connection_made(transport)
        self.url = b""
        self._outlet = Outlet(transport, self.loop, self._finish)
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, also for the answer that is being made while others wait behind it."""
        self._in_time()
        self._unset_keepalive_if_required()
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)
        # Circles, that would keep bodies until the garbage collector comes by.
        self._running = self.cycle = None  # type: ignore[assignment]
        self.pipeline.clear()
        self._outlet.part()

    def data_received(self, data: bytes) -> None:
        """Parse; what is still no whole head afterwards may only be so long, and take so long."""
        if not (self._inside or self._due) or self._deaf or self._refusal is not None:
            self._rest -= len(data)
            if self._rest < 0:
                self.transport.close()
            if self._rest < 0 or self._deaf or self._refusal is not None:
                return
        self._extra += len(data)
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self._ignore(upgrade, memoryview(data))
        except httptools.HttpParserError as error:
            self._refuse(refusal.reason(error))
            return
        if self._extra and not self.transport.is_closing():
            if self._extra > MAX_HEAD_BYTES:
                self._refuse(GatewayError(Code.HEADERS_TOO_LARGE))
            elif self._inside and self._deadline is None:
                self._deadline = self.loop.call_later(HEAD_SECONDS, self._late)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head. Those behind a body are of no use here."""
        if self._inside:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole.

        Raises:
            GatewayError: it is refused; the parser hands this on.
        """
        parser = self.parser
        method, version = parser.get_method(), parser.get_http_version()
        if parser.should_upgrade() and method != b"CONNECT":
            self._again = framing.without_upgrade(method, self.url, version, self.headers)
            return
        if self._due >= MAX_DUE:
            raise framing.refused(f"More than {MAX_DUE} requests are waiting on this connection.")
        target, waits, length = framing.check(method, self.url, version, self.headers)
        raw_path, _, query = target.partition(b"?")
        path = raw_path.decode("ascii")
        if self._deadline is not None:
            self._in_time()
        self._inside, self._extra = False, 0
        scope = self.scope
        scope["method"], scope["http_version"] = method.decode("ascii"), version
        scope["path"], scope["raw_path"] = unquote(path) if "%" in path else path, raw_path
        scope["query_string"] = query
        keeps = version == "1.1" and not self.leaving and parser.should_keep_alive()
        keeps = keeps and length <= LINGER_BYTES  # an early answer's client must know that it ends
        self.cycle = cycle = RequestResponseCycle(
            scope=scope,
            transport=self._outlet,  # type: ignore[arg-type]
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=waits,
            keep_alive=keeps and not waits,
            on_response=self.on_response_complete,
        )
        self._expecting = waits and keeps
        if version == "1.0":
            cycle.chunked_encoding = False
            cycle.send = partial(_send_unframed, cycle)  # type: ignore[method-assign]
        self._due += 1
        if self._due == 1:
            self._start(cycle)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def on_body(self, body: bytes) -> None:
        """Content. A client that sends it unasked, or when asked, may go on after the answer; one
        that was refused while it waited needn't send it, so nobody could tell what comes next."""
        if self._extra:
            self._extra = max(0, self._extra - (1 + CHUNK_LINE) * len(body))
        cycle = self.cycle
        if self._expecting:
            self._expecting = False
            if not cycle.response_started:
                cycle.keep_alive = True
        if not cycle.response_complete:
            cycle.body += body
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        """The next thing to come is another head; what of it came already is not counted."""
        if self._again:
            return
        if self._due:
            self.cycle.more_body = False
            self.cycle.message_event.set()
        else:  # the answer went out before
            self._in_time()
            self._rest = LINGER_BYTES
            self._keep()
        self._inside, self._extra = True, 0

    def on_response_complete(self) -> None:
        """An answer is out: now the next, or the last words, or what is left of the request."""
        self._due -= 1
        self._running = None
        if self._deaf or self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start(self.pipeline.pop()[0])
        elif self._refusal is not None:
            self._end(self._refusal)
        elif self._inside:
            self._keep()
        else:
            self._in_time()
            self._deadline = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _start(self, cycle: RequestResponseCycle) -> None:
        self._running = cycle
        self._outlet.begin()
        task = self.loop.create_task(cycle.run_asgi(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _keep(self) -> None:
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_again(self.timeout_keep_alive)

    def _look_again(self, seconds: float) -> None:
        """One timer looks after a connection that is used again and again: a new one for each
        answer would cost more than all that is said of it."""
        self.timeout_keep_alive_task = self.loop.call_later(
            seconds, self.timeout_keep_alive_handler
        )

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection, if it was idle for that long."""
        self.timeout_keep_alive_task = None
        if self._due or self._extra or not self._inside:
            return  # ``_keep`` comes after that
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._look_again(left)
        else:
            super().timeout_keep_alive_handler()

    def shutdown(self) -> None:
        """The server stops: what is due is still sent."""
        if self._due:
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    def _ignore(self, upgrade: httptools.HttpParserUpgrade, data: memoryview) -> None:
        """Go on behind a head that asked for an upgrade, as if it hadn't."""
        while True:
            data = data[upgrade.args[0] :]
            head, self._again = self._again, b""
            self.parser = httptools.HttpRequestParser(self)  # behind "close" the old one is deaf
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.parser.feed_data(head)
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as another:
                upgrade = another

    def _refuse(self, error: GatewayError) -> None:
        """Read no further. The client is told why, after the answers to its earlier requests."""
        if not self._inside and self._due:  # the fault is in the body of the last request
            self._due -= 1
            if self.pipeline:
                self.pipeline.popleft()  # which waits for the one before
            else:
                cycle, self._running = self.cycle, None
                cycle.scope["state"][FAULT] = error
                cycle.disconnected = True  # what the call says now doesn't leave any more
                cycle.message_event.set()
                if cycle.response_started:
                    self.transport.close()
                    return
        elif not self._inside:
            self.transport.close()  # it has had its answer
            return
        more, asked = self.server_state.default_headers, self.headers or []
        if self.cors is not None:
            more = [*more, *self.cors.headers(asked)]
        self._refusal = refusal.answer(error, self.url, asked, more, self.errors)
        if not self._due:
            self._end(self._refusal)

    def _finish(self) -> None:
        """Close after the last answer, but not while the client still sends what it answers."""
        if (self._inside and not self._extra) or self.transport.is_closing():
            self._outlet.flush()
            self.transport.close()
        else:
            self._end()

    def _end(self, words: bytes = b"") -> None:
        self._deaf = True
        self._in_time()
        self._unset_keepalive_if_required()
        self._outlet.flush()
        if words:
            self.transport.write(words)
        self._outlet.shut()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._deadline = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        if not self._due:  # else it is early: pipelined
            self.transport.close()


async def _send_unframed(cycle: RequestResponseCycle, message: ASGISendEvent) -> None:
    """``send`` to HTTP/1.0, which knows no chunks: the answer ends with the connection."""
    if message["type"] == "http.response.body":
        cycle.expected_content_length = len(message.get("body", b""))
    await RequestResponseCycle.send(cycle, message)
