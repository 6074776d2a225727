"""The way of a call: through the stages to an engine, and its answer back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

from gemma_gateway.core.call import Call, Client
from gemma_gateway.core.engine import Engine, EngineReply, EngineRequest, Tally
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.estimate import prompt_tokens
from gemma_gateway.core.outcomes import LEFT
from gemma_gateway.core.stage import End, Limit, Listener, Observer, Stage, Tap
from gemma_gateway.core.usage import Usage
from gemma_gateway.pipeline.delivery import Delivery, engine_errors

NOTHING = Usage()


class Gateway:
    """Runs the lists that ``main`` makes. It knows their shapes, and none of what stands in them.

    Args:
        stages: what a call passes, in order.
        limits: settled with when a call is over.
        engine: where calls go.
        write: makes an engine's body of a document.
        delivery: takes the answer to the client.
        taps: choose the calls whose answers are heard along.
        observers: told of each call that is over, in order.

    Attributes:
        draining: no new calls are taken.
    """

    def __init__(
        self,
        stages: tuple[Stage, ...],
        limits: tuple[Limit, ...],
        engine: Engine,
        write: Callable[[dict[str, Any]], bytes],
        delivery: Delivery,
        taps: tuple[Tap, ...],
        observers: tuple[Observer, ...],
    ) -> None:
        self._stages = [(stage.name, stage.enter) for stage in stages]
        self._limits = limits
        self._engine = engine
        self._write = write
        self._delivery = delivery
        self._taps = taps
        self._settled = [observer.settle for observer in observers]
        self.draining = False

    async def handle(self, call: Call, client: Client) -> None:
        """Carry one call through; the answer goes to ``client``.

        Raises:
            GatewayError: the call ends here, and nothing was sent to the client yet but, of a
                stream, its head and signs of life.
            asyncio.CancelledError: the client left, or the gateway ended the call (``call.ended``);
                the generation was aborted and charged.
        """
        outcome, status = "ok", 200
        try:
            if self.draining:
                raise GatewayError(Code.SHUTTING_DOWN)
            trace = call.trace
            for name, enter in self._stages:
                if trace is not None:
                    trace.enter(name)
                if (waiting := enter(call, client)) is not None:
                    await waiting
            listeners = self._listeners(call, client) if self._taps else ()
            outcome = await self._generate(call, listeners[-1] if listeners else client)
            for listener in listeners:
                listener.done(outcome)
        except GatewayError as error:
            outcome, status = error.code.name, error.status
            call.answer.refused = _field(call, error.param)
            raise
        except asyncio.CancelledError:
            outcome, status = "client_closed", LEFT
            if call.ended is not None:
                outcome, status = call.ended.name, call.ended.value.status
            raise
        except BaseException:
            outcome, status = Code.INTERNAL_ERROR.name, Code.INTERNAL_ERROR.value.status
            raise
        finally:
            end = self._settle(call, status, outcome)
            for limit in self._limits:
                if (waiting := limit.settle(call, end)) is not None:
                    await waiting

    def turned_away(self, call: Call, error: GatewayError) -> None:
        """Account for a call that HTTP's own rules (method, type, length) kept from its way."""
        self._settle(call, error.status, error.code.name)

    def _listeners(self, call: Call, client: Client) -> Sequence[Listener]:
        """Who hears the answer along: the last one gets it, and each hands it on to the one before,
        the first one to the client."""
        found: list[Listener] = []
        for tap in self._taps:
            if (listener := tap.listen(call, client)) is not None:
                client = listener
                found.append(listener)
        return found

    async def _generate(self, call: Call, client: Client) -> str:
        """Hand the call to an engine, and its answer to the client; its outcome. However this ends,
        nothing goes on generating, and what was generated is charged."""
        asked, answer = call.request, call.answer
        request = EngineRequest(
            id=call.engine_id,
            path=call.dialect.path,
            body=asked.data,
            model=asked.model,
            stream=asked.stream,
            affinity=asked.affinity,
            headers=asked.headers if call.trace is None else call.trace.engine_headers(call),
            document=asked.body,
            write=self._write,
            route=asked.route,
            attachment=asked.attachment,
        )
        reply: EngineReply | None = None
        try:
            if asked.stream:
                client.expect()
            with engine_errors(call):
                reply = await self._engine.send(request)
            call.enter("delivery")
            return await self._delivery.deliver(call, client, reply)
        finally:
            answer.upstream, answer.queue_time = request.tally.server, request.tally.queue_time()
            asked.data = asked.attachment = b""  # whoever keeps the call a while has the body
            if reply is not None:
                await reply.abort()
            if answer.usage is None and call.dialect.charged:
                answer.usage = _aborted(call, request.tally)

    def _settle(self, call: Call, status: int, outcome: str) -> End:
        """Tell of a call that is over.

        Args:
            status: of an answer that has begun it is 200, whatever came later.
        """
        if call.answer.begun and status != LEFT:
            status = 200
        call.enter("settle")
        seconds = time.perf_counter() - call.started
        model = call.request.model if self._engine.known(call.request.model) else "other"
        end = End(status, outcome, seconds, model, call.answer.usage or NOTHING)
        for settled in self._settled:
            settled(call, end)
        return end


def _aborted(call: Call, tally: Tally) -> Usage:
    """Usage of a call that ended before the engine told it: the engine's own count, or else an
    estimate from the prompt's length and the events that were seen."""
    prompt, generated = tally.prompt_tokens(), tally.generated()
    asked = call.request
    estimate = prompt_tokens(len(asked.raw) - asked.media_length, asked.images, asked.audio_seconds)
    return Usage(
        prompt_tokens=estimate if prompt is None else prompt,
        completion_tokens=call.answer.events if generated is None else generated,
        estimated=prompt is None or generated is None,
    )


def _field(call: Call, param: str | None) -> str:
    """Of a path in a request what operators may see of it: the route's own field and the numbers
    behind it. Names further in may be the client's own words."""
    name, *rest = (param or "").split(".")
    if name not in call.dialect.fields:
        return ""
    return ".".join([name, *takewhile(_is_index, rest)])


def _is_index(step: str) -> bool:
    return step.isascii() and step.isdigit()
