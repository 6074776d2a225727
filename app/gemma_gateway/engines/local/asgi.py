"""One call to an ASGI application in this process, as an engine's reply: no HTTP in between."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from gemma_gateway.core.engine import EngineFailed, EngineRequest

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Message, Receive, Send], Awaitable[None]]

PENDING_CHUNKS = 64  # a slow reader holds the engine's front end back, which then merges tokens
ABORT_GRACE = 0.05  # seconds the application gets to wind a call up by itself

log = logging.getLogger(__name__)


class Generation(Protocol):
    """What goes on in the engine for one call, beside its bytes."""

    def counts(self) -> tuple[int, int]:
        """Prompt tokens and tokens generated so far."""
        ...

    def dead(self) -> bool:
        """Whether the engine that works on it has died. Called for every chunk: cheap."""
        ...

    async def abort(self) -> None:
        """Stop it in the engine. Idempotent."""
        ...


class AsgiReply:
    """A call in flight; implements ``core.engine.EngineReply``.

    Args:
        app: the ASGI application.
        request: what to ask it.
        generation: counts, death and abort of this call's work in the engine.
        first_token_timeout: longest silence before the first token, seconds. Silent means no bytes
            while somebody waits for them, and no token generated either (a whole answer is silent
            until its end).
        idle_timeout: longest silence after that, seconds.
    """

    status = 0
    content_type = ""
    retry_after = ""  # vLLM tells none

    def __init__(
        self,
        app: AsgiApp,
        request: EngineRequest,
        generation: Generation,
        first_token_timeout: float,
        idle_timeout: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._generation = generation
        self._body: list[bytes] = [request.body]
        self._pending: deque[bytes] = deque()
        self._started: asyncio.Future[None] = loop.create_future()
        self._gone = asyncio.Event()  # we left: the application sees http.disconnect
        self._wanted: asyncio.Future[None] | None = None  # chunks() waits for bytes
        self._room: asyncio.Future[None] | None = None  # the application waits for the reader
        self._over = False  # no further bytes will come; ``_error`` says whether that is well
        self._error: EngineFailed | None = None
        self._aborting: asyncio.Task[None] | None = None
        self._first_token_timeout = first_token_timeout
        self._idle_timeout = idle_timeout
        self._tick = min(first_token_timeout, idle_timeout) / 4
        self._heard = loop.time()
        self._progress = 0
        self._watch = loop.call_later(self._tick, self._check_silence)
        self._task = loop.create_task(self._run(app, _scope(request)))

    async def begin(self) -> None:
        """Wait for the status line. Cancelled, it aborts the call.

        Raises:
            EngineFailed: the engine died or fell silent before it.
        """
        try:
            await self._started
        except asyncio.CancelledError:
            self._leave()
            raise

    async def chunks(self) -> AsyncIterator[bytes]:
        """Body bytes as the application writes them, once. Leaving the loop early aborts the call.

        Raises:
            EngineFailed: the engine died, fell silent, or cut the body short.
        """
        pending, loop = self._pending, asyncio.get_running_loop()
        try:
            while True:
                while pending:
                    chunk = pending.popleft()
                    if self._room is not None and not pending:
                        _wake(self._room)
                    yield chunk
                if self._over:
                    break
                self._heard = loop.time()
                self._wanted = loop.create_future()
                await self._wanted
                self._wanted = None
            if self._error is not None:
                raise self._error
        finally:
            if not self._over:
                self._leave()

    def speaks(self) -> None:
        """Nothing to do: the engine itself counts its tokens."""

    async def abort(self) -> None:
        """Stop generating now. Idempotent; does nothing after the body has ended."""
        self._leave()
        if self._aborting is not None:
            await asyncio.shield(self._aborting)

    def generated(self) -> int | None:
        """Tokens generated so far, all choices together; stays true after the end."""
        return self._generation.counts()[1]

    def prompt_tokens(self) -> int | None:
        """Tokens of the prompts, once the engine has tokenised them."""
        return self._generation.counts()[0]

    def fail(self, error: EngineFailed) -> None:
        """End the call with an error, after the bytes that are already here."""
        self._finish(error)

    def on_end(self, callback: Callable[[AsgiReply], None]) -> None:
        """Call back once the application has let go of the call."""
        self._task.add_done_callback(lambda _: callback(self))

    # what the application sees

    async def _run(self, app: AsgiApp, scope: Message) -> None:
        try:
            await app(scope, self._receive, self._send)
        except Exception as error:  # of any kind: it is the application's, told as a failed call
            log.error("the engine's application failed: %s", type(error).__name__)
        finally:
            self._finish(EngineFailed("died", "the engine cut the body short"))

    async def _receive(self) -> Message:
        if self._body:
            return {"type": "http.request", "body": self._body.pop(), "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._over:
            return
        if self._generation.dead():  # vLLM would go on to say an error, then a clean [DONE]
            self._finish(EngineFailed("died", "the engine died during the call"))
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.content_type = _content_type(message["headers"])
            _wake(self._started)
        elif message["type"] == "http.response.body":
            body = message.get("body")
            if body:
                self._pending.append(body)
                if self._wanted is not None:
                    _wake(self._wanted)
            if not message.get("more_body"):
                self._finish(None)
            elif len(self._pending) >= PENDING_CHUNKS:
                self._room = asyncio.get_running_loop().create_future()
                await self._room
                self._room = None

    # how it ends

    def _finish(self, error: EngineFailed | None) -> None:
        """No further bytes: the one place where a call ends."""
        if self._over:
            return
        self._over, self._error = True, error
        self._watch.cancel()
        if not self._started.done():
            self._started.set_exception(error or EngineFailed("died", "no status"))
            self._started.exception()  # seen: nobody may be waiting any more
        for waiter in (self._wanted, self._room):
            if waiter is not None:
                _wake(waiter)

    def _leave(self) -> None:
        """Give the call up: synchronous, so that it works in a task that is being cancelled."""
        if self._over:
            return
        self._finish(EngineFailed("aborted", "the caller left"))
        self._pending.clear()
        self._gone.set()
        self._aborting = asyncio.get_running_loop().create_task(self._wind_up())

    async def _wind_up(self) -> None:
        """The application aborts the generation when it sees the disconnect; whatever it has not
        aborted then (work in background tasks, handlers that don't listen) is aborted directly."""
        await asyncio.wait([self._task], timeout=ABORT_GRACE)
        self._task.cancel()
        await self._generation.abort()

    def _check_silence(self) -> None:
        loop = asyncio.get_running_loop()
        generated = self._generation.counts()[1]
        waiting = self._wanted is not None or not self._started.done()
        if generated != self._progress or not waiting:
            self._progress, self._heard = generated, loop.time()
        limit = self._idle_timeout if generated else self._first_token_timeout
        if loop.time() - self._heard < limit:
            self._watch = loop.call_later(self._tick, self._check_silence)
            return
        self._finish(EngineFailed("timeout", f"silent for {limit:g} s"))
        self._gone.set()
        self._aborting = loop.create_task(self._wind_up())


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _content_type(headers: list[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name.lower() == b"content-type":
            return value.decode("latin-1")
    return ""


def _scope(request: EngineRequest) -> Message:
    """An ASGI HTTP scope (asgi.readthedocs.io). Version 2.3 of the specification makes Starlette
    listen for the disconnect message while it streams."""
    headers = {
        "content-type": "application/json",
        **request.headers,
        "content-length": str(len(request.body)),
        "x-request-id": request.id,
    }
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in headers.items()],
        "client": None,
        "server": None,
        "state": {},
    }
