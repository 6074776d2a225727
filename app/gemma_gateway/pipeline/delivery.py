"""The way back: an engine's answer, judged piece by piece, to the client."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType

import orjson

from gemma_gateway.core.call import Call, Client
from gemma_gateway.core.dialect import Json
from gemma_gateway.core.engine import EngineFailed, EngineReply
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.heavy import INLINE_BYTES, Heavy
from gemma_gateway.core.usage import Usage
from gemma_gateway.safety.output import OutputGuard, Verdict, judge_answer
from gemma_gateway.safety.policy import Match, Policy
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
FILTERED = "content_filter"  # finish reason of an answer that the policy cut


@dataclass(frozen=True, slots=True)
class Delivered:
    """How an answer ended.

    Args:
        match: the term that cut it.
        flags: categories that were only noted.
        error: what broke after the answer had begun; the client was told in the stream.
    """

    match: Match | None = None
    flags: frozenset[str] = frozenset()
    error: GatewayError | None = None


async def deliver(
    policy: Policy, heavy: Heavy, call: Call, client: Client, reply: EngineReply
) -> Delivered:
    """Send an engine's answer on, as a stream or whole.

    Args:
        heavy: where large answers are judged.

    Raises:
        GatewayError: the engine refused or failed before anything was sent.
    """
    if call.stream and reply.content_type.startswith("text/event-stream"):
        return await _stream(policy, heavy, call, client, reply)
    return await _whole(policy, heavy, call, client, reply)


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
                call.usage = Usage()  # nothing was generated
            logger.warning("engine failed call %s: %s", call.engine_id, str(error))
            code = ENGINE_CODES.get(error.reason, Code.GENERATION_ERROR)
            raise GatewayError(code) from None


async def _whole(
    policy: Policy, heavy: Heavy, call: Call, client: Client, reply: EngineReply
) -> Delivered:
    with engine_errors(call):
        raw = await _collect(reply)
        if reply.status != 200:
            call.usage = Usage()
            raise _refused(call, reply, raw)
        if len(raw) <= INLINE_BYTES:
            verdict, body = judge(policy, call, raw)
        else:
            verdict, body = await heavy.run(call.caller, partial(judge, policy, call, raw))
    await client.answer(call, 200, body)
    return Delivered(verdict.match, frozenset(verdict.flags))


def judge(policy: Policy, call: Call, raw: bytes) -> tuple[Verdict, bytes]:
    """Judge a whole answer: the verdict, and what the client gets."""
    try:
        doc: Json = large_json.loads(raw)
        call.usage = call.dialect.usage(doc) or Usage()
        call.finish_reason = call.dialect.finish(doc)
        verdict = judge_answer(policy, call.dialect, doc)
        body = orjson.dumps(doc) if verdict.changed else raw
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("unreadable answer from the engine: %s", type(error).__name__)
        raise GatewayError(Code.GENERATION_ERROR) from None
    if verdict.match is not None:
        call.finish_reason = FILTERED
    if len(raw) > large_json.LARGE_BYTES:
        large_json.dismantle(doc)
    return verdict, body


async def _stream(
    policy: Policy, heavy: Heavy, call: Call, client: Client, reply: EngineReply
) -> Delivered:
    stream = call.dialect.stream(call.usage_hidden)
    guard = OutputGuard(policy, stream)
    failure: GatewayError | None = None
    await client.begin(call)
    try:
        with engine_errors(call):
            await _pump(heavy, call, client, reply, guard)
        if guard.failed or not (guard.ended or guard.blocked):
            failure = GatewayError(Code.GENERATION_ERROR)
    except GatewayError as error:
        failure = GatewayError(error.code)  # kept itself, it would keep this frame, which keeps it
    finally:
        call.events = guard.events_with_text
        call.usage = guard.usage if guard.ended else None
        call.finish_reason = FILTERED if guard.blocked else guard.finish
        call.held_characters, call.held_seconds = guard.held.characters, guard.held.seconds
    if failure is None:
        await client.end()
    else:
        await reply.abort()
        with suppress(TimeoutError):  # a client that reads nothing more hears nothing more
            async with asyncio.timeout(FAREWELL_SECONDS):
                await client.write(stream.failure(failure))
                await client.end()
    return Delivered(guard.blocked, frozenset(guard.flags), failure)


async def _pump(
    heavy: Heavy, call: Call, client: Client, reply: EngineReply, guard: OutputGuard
) -> None:
    """Move the stream until it ends, breaks, or is cut; then the engine stops before the client
    is told."""
    async for data in reply.chunks():
        if len(data) + len(guard.rest) <= INLINE_STREAM_BYTES:
            out = guard.feed(data)
        else:
            out = await heavy.run(call.caller, partial(guard.feed, data))
        if not call.first_token and guard.events_with_text:
            call.first_token = time.perf_counter()
        stop = guard.blocked or guard.failed
        if stop:
            await reply.abort()
        if out:
            await client.write(out)
        if stop:
            return
    call.last_token = time.perf_counter()
    if out := guard.close():
        await client.write(out)


async def _collect(reply: EngineReply) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for data in reply.chunks():
        parts.append(data)
        size += len(data)
        if size > MAX_ANSWER_BYTES:
            raise EngineFailed("died", "answer over the size bound")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _refused(call: Call, reply: EngineReply, raw: bytes) -> GatewayError:
    """The engine's own refusal, said with our codes. Only a 4xx's message may pass on."""
    status = reply.status
    if status in (400, 413, 422):
        message, param = engine_error.read(raw)
        return GatewayError(Code.VALIDATION_ERROR, message, param=param)
    if status == 404:
        return GatewayError(Code.MODEL_NOT_FOUND, param="model")
    logger.warning("engine answered call %s with status %d", call.engine_id, status)
    if status in (401, 403):  # it is our key that the server refuses, not the client's
        return GatewayError(Code.ENGINE_UNAVAILABLE)
    code = Code.ENGINE_OVERLOADED if status == 429 else Code.GENERATION_ERROR
    return GatewayError(code, headers={"retry-after": str(retry.seconds(reply.retry_after))})
