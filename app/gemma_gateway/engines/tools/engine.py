"""Tool calls for servers that know none: tools are told as text, and calls found in the answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import orjson
from jinja2 import TemplateError

from gemma_gateway.core.ask import collect
from gemma_gateway.core.dialect import Json
from gemma_gateway.core.engine import EngineFailed, EngineReply, EngineRequest
from gemma_gateway.core.heavy import INLINE_BYTES
from gemma_gateway.core.sse import Splitter, event, payload
from gemma_gateway.engines.tools import messages, responses
from gemma_gateway.engines.tools.answer import Answer
from gemma_gateway.engines.tools.request import Asked, Invalid, concerns_tools, without_tools
from gemma_gateway.engines.wrapper import WrapperEngine, WrapperReply

CHAT = "/v1/chat/completions"
MOST_BYTES = 64 * 1024 * 1024  # of a whole answer
MOST_EVENT_BYTES = 8 * 1024 * 1024
# What reading a document raises that isn't as its protocol has it.
_BROKEN = (LookupError, TypeError, AttributeError, ValueError, TemplateError)

T = TypeVar("T")


class Teller(Protocol):
    """Tells one answer of chat completions as another protocol has it."""

    def whole(self, answer: Json) -> Json:
        """A whole answer."""
        ...

    def chunk(self, chunk: Json) -> bytes:
        """The events for a chunk of a stream."""
        ...

    def end(self) -> bytes:
        """The events that end a stream; none where it broke off."""
        ...


class ChatTeller:
    """Chat completions as they are."""

    def whole(self, answer: Json) -> Json:
        """See ``Teller``."""
        return answer

    def chunk(self, chunk: Json) -> bytes:
        """See ``Teller``."""
        return event(chunk)

    def end(self) -> bytes:
        """See ``Teller``: the server's own end stays."""
        return b""


class Route(NamedTuple):
    """A route whose calls may have tools.

    Args:
        chat: its request as one of chat completions.
        teller: makes what tells an answer to such a request; None: the answer stays.
        back: the chat request, once its tools are text, as one of the route; None: the server gets
            it as a chat.
    """

    chat: Callable[[Json], Json]
    teller: Callable[[Json], Teller] | None
    back: Callable[[Json, Json], Json] | None = None


ROUTES = {
    CHAT: Route(lambda document: document, lambda document: ChatTeller()),
    "/v1/responses": Route(responses.chat, responses.ResponsesTeller),
    "/v1/messages": Route(messages.chat, lambda document: messages.MessagesTeller()),
    "/v1/messages/count_tokens": Route(messages.chat, None, messages.prompt),
    "/tokenize": Route(lambda document: document, None, lambda document, told: told),
}


@dataclass(frozen=True, slots=True)
class _Call:
    """A call as the server gets it.

    Args:
        request: for the server.
        asked: what the caller asked of tools.
        teller: of the answer; None: it stays as it is.
    """

    request: EngineRequest
    asked: Asked
    teller: Teller | None


class ToolCalls(WrapperEngine):
    """Lets calls with tools reach the engine behind it as chats without any, and brings the answers
    back as the caller's protocol has them. Other calls pass as they are."""

    def send(self, request: EngineRequest) -> Coroutine[Any, Any, EngineReply]:
        """See ``Engine``."""
        route = ROUTES.get(request.path)
        if route is None or not ("messages" in request.document or "input" in request.document):
            return self.inner.send(request)
        return self._send(request, route)

    async def _send(self, request: EngineRequest, route: Route) -> EngineReply:
        try:
            call = await _aside(len(request.body), partial(_call, request, route))
        except Invalid as error:
            return _Refusal(error)
        except _BROKEN:  # a server would find it wrong, too
            return _Refusal(Invalid("The messages or tools are not as this route has them."))
        if call is None:
            return await self.inner.send(request)
        reply = await self.inner.send(call.request)
        if reply.status != 200 or call.teller is None:
            return reply
        if reply.content_type.startswith("text/event-stream"):
            return _Stream(reply, Answer(call.asked), call.teller)
        return _Whole(reply, Answer(call.asked), call.teller)


def _call(request: EngineRequest, route: Route) -> _Call | None:
    """The call as the server gets it; None: it has nothing to do with tools.

    Raises:
        Invalid: it can't be answered.
    """
    document = request.document
    chat = route.chat(document)
    if not concerns_tools(chat):
        return None
    told, asked = without_tools(chat)
    path, teller = CHAT, None
    if route.back is not None:
        path, told = request.path, route.back(document, told)
    elif route.teller is not None and (asked.tools or request.path != CHAT):
        teller = route.teller(document)
    sent = replace(request, path=path, document=told, body=request.write(told))
    return _Call(sent, asked, teller)


async def _aside(size: int, work: Callable[[], T]) -> T:
    """Do work in a thread where it would hold up the event loop.

    Args:
        size: of what it reads, bytes.
    """
    return work() if size <= INLINE_BYTES else await asyncio.to_thread(work)


class _Whole(WrapperReply):
    """A whole answer."""

    def __init__(self, inner: EngineReply, answer: Answer, teller: Teller) -> None:
        super().__init__(inner)
        self._answer = answer
        self._teller = teller

    async def chunks(self) -> AsyncIterator[bytes]:
        """See ``EngineReply``; nothing of an answer that can't be read."""
        raw = await collect(self.inner, MOST_BYTES)
        yield await _aside(len(raw), partial(self._read, raw))

    def _read(self, raw: bytes) -> bytes:
        try:
            return orjson.dumps(self._teller.whole(self._answer.whole(orjson.loads(raw))))
        except _BROKEN:
            return b""


class _Stream(WrapperReply):
    """A stream of events."""

    def __init__(self, inner: EngineReply, answer: Answer, teller: Teller) -> None:
        super().__init__(inner)
        self._answer = answer
        self._teller = teller
        self._events = Splitter()
        self._ended = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """See ``EngineReply``. What is held back when the server fails comes before its failure."""
        try:
            async for data in self.inner.chunks():
                if told := await _aside(len(data), partial(self._read, data)):
                    yield told
        except EngineFailed:
            if rest := self._rest():
                yield rest
            raise
        if not self._ended and (rest := self._rest() + self._teller.end()):
            yield rest

    def _read(self, data: bytes) -> bytes:
        try:
            told = b"".join(map(self._event, self._events.feed(data)))
        except _BROKEN as error:
            raise EngineFailed("died", f"unreadable event: {type(error).__name__}") from None
        if len(self._events.rest) > MOST_EVENT_BYTES:
            raise EngineFailed("died", "event over the size bound")
        return told

    def _event(self, raw: bytes) -> bytes:
        data = payload(raw)
        if not data:
            return raw  # a comment or ping
        if data == b"[DONE]":
            self._ended = True
            return self._rest() + (self._teller.end() or raw)
        document = orjson.loads(data)
        if document.get("error") or document.get("object") == "error":
            self._ended = True
            return self._rest() + raw
        return b"".join(map(self._teller.chunk, self._answer.chunk(document)))

    def _rest(self) -> bytes:
        return b"".join(map(self._teller.chunk, self._answer.rest()))


class _Refusal:
    """The answer to a request that can't be answered, as a server would refuse it."""

    status, content_type, retry_after = 400, "application/json", ""

    def __init__(self, error: Invalid) -> None:
        said = {"message": str(error), "type": "invalid_request_error", "param": error.param}
        self._body = orjson.dumps({"error": said})

    async def chunks(self) -> AsyncIterator[bytes]:
        """See ``EngineReply``."""
        yield self._body

    def speaks(self) -> None:
        """Nothing to do: it is all there."""

    async def abort(self) -> None:
        """Nothing to do: it is all there."""

    def generated(self) -> int:
        """None were."""
        return 0

    def prompt_tokens(self) -> int:
        """None were read."""
        return 0
