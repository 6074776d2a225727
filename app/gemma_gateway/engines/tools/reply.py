"""What comes back to a call with tools: the server's answer with its calls, or a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Protocol, TypeVar

import orjson
from jinja2 import TemplateError

from gemma_gateway.core.ask import collect
from gemma_gateway.core.dialect import Json
from gemma_gateway.core.engine import EngineFailed, EngineReply
from gemma_gateway.core.heavy import INLINE_BYTES
from gemma_gateway.core.sse import Splitter, event, payload
from gemma_gateway.engines.tools.answer import Answer
from gemma_gateway.engines.tools.request import Invalid
from gemma_gateway.engines.wrapper import WrapperReply

MOST_BYTES = 64 * 1024 * 1024  # of a whole answer
MOST_EVENT_BYTES = 8 * 1024 * 1024
# What reading a document raises that isn't as its protocol has it.
BROKEN = (LookupError, TypeError, AttributeError, ValueError, TemplateError)

T = TypeVar("T")


async def aside(size: int, work: Callable[[], T]) -> T:
    """Do work in a thread where it would hold up the event loop.

    Args:
        size: of what it reads, bytes.
    """
    return work() if size <= INLINE_BYTES else await asyncio.to_thread(work)


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


class Whole(WrapperReply):
    """A whole answer."""

    def __init__(self, inner: EngineReply, answer: Answer, teller: Teller) -> None:
        super().__init__(inner)
        self._answer = answer
        self._teller = teller

    async def chunks(self) -> AsyncIterator[bytes]:
        """See ``EngineReply``; nothing of an answer that can't be read."""
        raw = await collect(self.inner, MOST_BYTES)
        yield await aside(len(raw), partial(self._read, raw))

    def _read(self, raw: bytes) -> bytes:
        try:
            return orjson.dumps(self._teller.whole(self._answer.whole(orjson.loads(raw))))
        except BROKEN:
            return b""


class Stream(WrapperReply):
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
                if told := await aside(len(data), partial(self._read, data)):
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
        except BROKEN as error:
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


class Refusal:
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
