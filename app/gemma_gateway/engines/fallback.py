"""Other models for a call that its own can't take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import orjson

from gemma_gateway.core import overflow
from gemma_gateway.core.ask import collect
from gemma_gateway.core.engine import EngineFailed, EngineReply, EngineRequest, Route
from gemma_gateway.engines.wrapper import WrapperEngine, WrapperReply

# Answers of servers that have not begun the call, or take none from us at all.
REFUSALS = {401: "unavailable", 403: "unavailable", 429: "overloaded"}
REFUSALS |= {502: "unavailable", 503: "unavailable"}
MOST_ERROR_BYTES = 1024 * 1024
ANSWER_TOO_LONG = "max_model_len"  # vLLM, of a max_tokens that is more than the context

Sent = Coroutine[Any, Any, EngineReply]


class Fallback(WrapperEngine):
    """Hands calls on to the models of their route, in order: where no server takes them, where a
    stream says nothing within its patience, and where the prompt is too long. What a model has
    begun to answer, or may have died of, stays with it."""

    def send(self, request: EngineRequest) -> Sent:
        """See ``Engine``."""
        route = request.route
        return self.inner.send(request) if route is None else self._along(request, route)

    async def _along(self, request: EngineRequest, route: Route) -> EngineReply:
        while True:
            reply: EngineReply | None = None
            try:
                found = await self._within(request, route)
                if isinstance(found, str):
                    request = request.altered(model=found)
                    continue
                reply = found
                reason, found = await _refusal(reply)
                if not reason or (model := await route.further(reason)) is None:
                    reply = None  # it is the caller's now
                    return found
            except EngineFailed as error:
                # A time-out says that a server was silent, not that it did nothing.
                if error.begun or error.reason not in ("unavailable", "overloaded"):
                    raise
                if (model := await route.further(error.reason)) is None:
                    raise
            finally:
                if reply is not None:
                    await reply.abort()
            request = request.altered(model=model)

    async def _within(self, request: EngineRequest, route: Route) -> EngineReply | str:
        """The reply, once it is known or the first byte of a stream is here; or else, when
        patience is at an end, the next model."""
        if route.patience is None or not request.stream:
            return await self.inner.send(request)
        task = asyncio.create_task(self._begun(request))
        given = False
        try:
            await asyncio.wait({task}, timeout=route.patience)
            if not task.done() and (model := await route.further("queue_timeout")) is not None:
                return model
            reply = await task
            given = True
            return reply
        finally:
            if not given:
                await _let_go(task)

    async def _begun(self, request: EngineRequest) -> EngineReply:
        reply = await self.inner.send(request)
        chunks = reply.chunks()
        try:
            first = await anext(chunks, b"")
        except BaseException:
            await reply.abort()
            raise
        return _Resumed(reply, first, chunks)


async def _let_go(task: asyncio.Task[EngineReply]) -> None:
    """End a call that nobody waits for any more, however far it has come."""
    task.cancel()
    await asyncio.wait({task})  # unlike the task itself, it raises only what ends this call
    if not task.cancelled() and task.exception() is None:
        await task.result().abort()


class _Resumed(WrapperReply):
    """A reply of which something was read.

    Args:
        reply: the reply.
        first: what was read.
        rest: what is left to read; None: nothing.
    """

    def __init__(
        self, reply: EngineReply, first: bytes, rest: AsyncIterator[bytes] | None = None
    ) -> None:
        super().__init__(reply)
        self._first = first
        self._rest = rest

    async def chunks(self) -> AsyncIterator[bytes]:
        """See ``EngineReply``."""
        if self._first:
            yield self._first
        if self._rest is not None:
            async for chunk in self._rest:
                yield chunk


async def _refusal(reply: EngineReply) -> tuple[str, EngineReply]:
    """Why an answer is none of the model's, or an empty text; and the answer, still whole."""
    if reply.status != 400:
        return REFUSALS.get(reply.status, ""), reply
    raw = await collect(reply, MOST_ERROR_BYTES)
    return "context_length" if _too_long(raw) else "", _Resumed(reply, raw)


def _too_long(raw: bytes) -> bool:
    """Whether an error says that the context is too short for the call."""
    try:
        document = orjson.loads(raw)
        error = document.get("error", document)
        return overflow.find(error) is not None or ANSWER_TOO_LONG in str(error.get("message", ""))
    except (ValueError, AttributeError):
        return False
