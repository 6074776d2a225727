"""The way back: an engine's answer, judged piece by piece, to the client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any

import orjson

from gemma_gateway.core import overflow
from gemma_gateway.core.ask import collect
from gemma_gateway.core.call import Call, Client, Decision
from gemma_gateway.core.dialect import Json
from gemma_gateway.core.engine import EngineFailed, EngineReply
from gemma_gateway.core.errors import Code, GatewayError, quoted
from gemma_gateway.core.form import FormDialect
from gemma_gateway.core.heavy import INLINE_BYTES, Heavy
from gemma_gateway.core.usage import Usage
from gemma_gateway.safety.filter import Filter, is_idle
from gemma_gateway.safety.output import OutputGuard, Verdict, judge_answer
from gemma_gateway.safety.terms import Match
from gemma_gateway.telemetry.log import logger
from gemma_gateway.wire import engine_error, large_json, retry

FAREWELL_SECONDS = 5.0
MAX_ANSWER_BYTES = 64 * 1024 * 1024
INLINE_STREAM_BYTES = 64 * 1024  # of a stream at once: some 200 tokens
ENGINE_CODES = {
    "unavailable": Code.ENGINE_UNAVAILABLE,
    "overloaded": Code.ENGINE_OVERLOADED,
    "timeout": Code.ENGINE_TIMEOUT,
}
PROMPTS = ("messages", "prompt", "input")  # where a route may have its prompt
MISSING = frozenset({404, 405, 501})  # a server that has no such route says one of these
FILTERED = "content_filter"  # finish reason of an answer that the policy cut
TOLD = "x-gateway-code"  # of an answer that is no JSON: what became of it
JSON = b"application/json"


class Delivery:
    """Takes answers to clients, as streams or whole.

    Args:
        judges: of their texts, by the ``policy`` of a tier.
        heavy: where large ones are judged.
        known: whether a model's server is known to have it.
    """

    def __init__(
        self, judges: Mapping[str, Filter], heavy: Heavy, known: Callable[[str], bool]
    ) -> None:
        self._judges = judges
        self._idle = {mode for mode, judge in judges.items() if is_idle(judge)}
        self._heavy = heavy
        self._known = known

    def deliver(self, call: Call, client: Client, reply: EngineReply) -> Coroutine[Any, Any, str]:
        """Send an engine's answer on.

        Returns:
            The call's outcome: ``ok``, or a name of ``Code`` where the answer was cut, or broke off
            after it had begun; the client was told in the stream.

        Raises:
            GatewayError: the engine refused or failed before anything was sent.
        """
        if call.request.stream and reply.content_type.startswith("text/event-stream"):
            return self._stream(call, client, reply)
        return self._whole(call, client, reply)

    async def _whole(self, call: Call, client: Client, reply: EngineReply) -> str:
        with engine_errors(call):
            raw = await collect(reply, MAX_ANSWER_BYTES)
            if reply.status != 200:
                call.answer.usage = Usage()
                raise _refused(call, reply, raw, self._known(call.request.model))
            mode = _mode(call)
            judge = None if mode in self._idle else self._judges[mode]
            if len(raw) <= INLINE_BYTES:
                verdict, body = judged(judge, call, raw)
            else:
                work = partial(judged, judge, call, raw)
                verdict, body = await self._heavy.run(call.caller, work)
        await client.answer(call, 200, body)
        return _decided(call, verdict.match, verdict.flags)

    async def _stream(self, call: Call, client: Client, reply: EngineReply) -> str:
        answer, stream = call.answer, call.dialect.stream(call.request.usage_hidden)
        guard = OutputGuard(self._judges[_mode(call)], stream)
        failure: GatewayError | None = None
        await client.begin(call)
        try:
            with engine_errors(call):
                await self._pump(call, client, reply, guard)
            if guard.failed:
                failure = _told(guard.error)
            elif not (guard.ended or guard.blocked):
                failure = GatewayError(Code.GENERATION_ERROR)
        except GatewayError as error:
            # kept itself, it would keep this frame, which keeps it
            failure = GatewayError(error.code)
        finally:
            answer.events = guard.events_with_text
            # What a stream said at its beginning is not what it cost where it then failed.
            answer.usage = guard.usage if guard.ended and not guard.failed else None
            answer.finish_reason = FILTERED if guard.blocked else guard.finish
            answer.held_characters, answer.held_seconds = guard.held.characters, guard.held.seconds
        if failure is None:
            await client.end()
        else:
            await reply.abort()
            with suppress(TimeoutError):  # a client that reads nothing more hears nothing more
                async with asyncio.timeout(FAREWELL_SECONDS):
                    await client.write(stream.failure(failure))
                    await client.end()
        outcome = _decided(call, guard.blocked, guard.flags)
        return failure.code.name if failure is not None and outcome == "ok" else outcome

    async def _pump(
        self, call: Call, client: Client, reply: EngineReply, guard: OutputGuard
    ) -> None:
        """Move the stream until it ends, breaks, or is cut; then the engine stops before the client
        is told."""
        answer = call.answer
        async for data in reply.chunks():
            if len(data) + len(guard.rest) <= INLINE_STREAM_BYTES:
                out = guard.feed(data)
            else:
                out = await self._heavy.run(call.caller, partial(guard.feed, data))
            if not answer.first_token and guard.events_with_text:
                answer.first_token = time.perf_counter()
                reply.speaks()
            stop = guard.blocked or guard.failed
            if stop:
                await reply.abort()
            if out:
                await client.write(out)
            if stop:
                return
        answer.last_token = time.perf_counter()
        if out := guard.close():
            await client.write(out)


class engine_errors:
    """An engine's failures, and an end by the gateway, as the errors that clients are told.

    A class, not a generator: it is entered twice on every call.
    """

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            return
        call = self._call
        if isinstance(error, asyncio.CancelledError) and call.ended is not None:
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            raise GatewayError(call.ended) from None
        if isinstance(error, EngineFailed):
            if error.reason in ("unavailable", "overloaded"):
                call.answer.usage = Usage()  # nothing was generated
            logger.warning("engine failed call %s: %s", call.engine_id, str(error))
            code = ENGINE_CODES.get(error.reason, Code.GENERATION_ERROR)
            raise GatewayError(code) from None


def _mode(call: Call) -> str:
    """How the caller's tier has the policy."""
    assert call.principal is not None  # nothing was generated for a stranger
    return call.principal.tier.policy


def judged(judge: Filter | None, call: Call, raw: bytes) -> tuple[Verdict, bytes]:
    """Judge a whole answer: the verdict, and what the client gets. ``judge`` None: nobody does."""
    dialect, asked = call.dialect, call.request
    try:
        doc: Json = large_json.loads(raw)
        if isinstance(dialect, FormDialect):
            doc = dialect.shape(doc, asked.body, asked.audio_seconds)
        call.answer.usage = dialect.usage(doc)
        call.answer.finish_reason = dialect.finish(doc)
        verdict = Verdict() if judge is None else judge_answer(judge, dialect, doc)
        if isinstance(dialect, FormDialect):
            call.answer.media_type, body = dialect.render(doc, asked.body)
        else:
            call.answer.usage = call.answer.usage or Usage()
            body = orjson.dumps(doc) if verdict.changed else raw
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("unreadable answer from the engine: %s", type(error).__name__)
        raise GatewayError(Code.UPSTREAM_ANSWER_INVALID) from None
    if verdict.match is not None:
        call.answer.finish_reason = FILTERED
        if call.answer.media_type != JSON:  # the body has no place for it
            call.answer.headers[TOLD] = Code.RESPONSE_FILTERED.name
    if len(raw) > large_json.LARGE_BYTES:
        large_json.dismantle(doc)
    return verdict, body


def _decided(call: Call, match: Match | None, flags: Iterable[str]) -> str:
    """Note what the policy said of an answer; the call's outcome."""
    for category in flags:
        call.decisions.append(Decision("output", category, "flag"))
    if match is None:
        return "ok"
    call.decisions.append(Decision("output", match.category, "block"))
    return Code.RESPONSE_FILTERED.name


def _told(event: Json | None) -> GatewayError:
    """What a failure that an engine tells in a stream means: a prompt that is too long is the
    caller's, of all else nothing passes."""
    return overflow.find(engine_error.found(event)) or GatewayError(Code.GENERATION_ERROR)


def _refused(call: Call, reply: EngineReply, raw: bytes, known: bool) -> GatewayError:
    """The engine's own refusal, said with our codes. Only a 4xx's message may pass on.

    Args:
        known: the server has the model: a bare 404 is about the route.
    """
    status, error = reply.status, engine_error.document(raw)
    if status in (400, 413, 422):
        refusal = engine_error.invalid(error, call.request.body)
        if refusal.code is Code.CONTEXT_LENGTH_EXCEEDED:
            refusal.param = next((name for name in PROMPTS if name in call.request.body), None)
        elif refusal.param is None and isinstance(call.dialect, FormDialect):
            words = refusal.message.lower()  # servers name no field of a form
            refusal.param = next((name for name in call.request.body if name in words), None)
        return refusal
    if status == 404 and (not known or engine_error.names_no_model(error)):
        name = quoted(call.request.model)
        message = f"The model {name} does not exist on the server that should have it."
        return GatewayError(Code.MODEL_NOT_FOUND, message, param="model")
    logger.warning("engine answered call %s with status %d", call.engine_id, status)
    if status in MISSING:
        message = f"The server of this model doesn't have the route {call.path}."
        return GatewayError(Code.UPSTREAM_ROUTE_MISSING, message)
    # It is our key or account that the server refuses, not the client's.
    if status in (401, 402, 403) or (status == 429 and error.get("code") == "insufficient_quota"):
        return GatewayError(Code.UPSTREAM_KEY_REFUSED)
    code = Code.ENGINE_OVERLOADED if status == 429 else Code.GENERATION_ERROR
    return GatewayError(code, wait=retry.seconds(reply.retry_after))
