"""The road of a call: who, how much, what, where, and back again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Protocol

from gemma_gateway.access.keys import KeyRing
from gemma_gateway.core.buckets import Buckets
from gemma_gateway.core.call import Call, Client, Principal
from gemma_gateway.core.engine import Engine, EngineReply, EngineRequest, Tally
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.heavy import INLINE_BYTES, Heavy
from gemma_gateway.core.usage import Usage
from gemma_gateway.limits import admission as limits
from gemma_gateway.limits.ledger import Ledger
from gemma_gateway.limits.limiter import Limiter
from gemma_gateway.limits.places import Places
from gemma_gateway.limits.report import UsageReport
from gemma_gateway.monitoring.capture import record_of
from gemma_gateway.monitoring.journal import Journal
from gemma_gateway.monitoring.memory import Memory
from gemma_gateway.monitoring.outcomes import UNSPENT, fault_of, status_of
from gemma_gateway.pipeline import delivery
from gemma_gateway.pipeline.reader import read
from gemma_gateway.safety import input as incoming
from gemma_gateway.safety.controls import ControlTokens
from gemma_gateway.safety.policy import Policy
from gemma_gateway.settings import Settings
from gemma_gateway.telemetry.log import AccessLog
from gemma_gateway.telemetry.metrics import CallMeters, Metrics
from gemma_gateway.validation import fields

__all__ = ["Gateway", "UsageReport"]

# Requests of a key for its usage, the models and the like: a page that shows them asks once in some
# seconds, and each costs half a millisecond.
ASIDE_BURST, ASIDE_PER_SECOND = 200, 50
CHARS_PER_TOKEN = 4  # rule of thumb for English; only where an engine tells no count


class Listener(Client, Protocol):
    """A client that hears an answer along with the caller; see ``quality.sampler``."""

    def done(self, outcome: str) -> None:
        """The answer was delivered. ``outcome``: ``ok``, or what the policy did to it."""
        ...


class Gateway:
    """Everything that a call passes, in order. Built once, by ``main``.

    Attributes:
        listen: who hears a call's answer along with its client; None: nobody ever does.
        places: calls that are here now, by key.
        in_flight: calls whose body is here and whose answer isn't out yet.
        draining: no new calls are taken.
    """

    def __init__(
        self,
        settings: Settings,
        keys: KeyRing,
        limiter: Limiter,
        ledger: Ledger,
        journal: Journal,
        policy: Policy,
        controls: ControlTokens,
        engine: Engine,
        metrics: Metrics,
        memory: Memory,
        log: AccessLog | None,
    ) -> None:
        self.settings = settings
        self.keys = keys
        self.limiter = limiter
        self.ledger = ledger
        self.journal = journal
        self.policy = policy
        self.controls = controls
        self.engine = engine
        self.metrics = metrics
        self.memory = memory
        self.log = log
        self.heavy = Heavy()
        self.listen: Callable[[Call, Client], Listener | None] | None = None
        self.places = Places()
        self._aside = Buckets(ASIDE_BURST, ASIDE_PER_SECOND)
        self.in_flight = 0
        self.draining = False
        self._allowed = frozenset(settings.allow_engine_parameters)

    async def handle(
        self, call: Call, client: Client, authorization: bytes | None, x_api_key: bytes | None
    ) -> None:
        """Carry one call down the road; the answer goes to ``client``.

        Raises:
            GatewayError: the call ends here, and nothing was sent to the client yet.
            asyncio.CancelledError: the client left, or the gateway ended the call (``call.ended``);
                the generation was aborted and charged.
        """
        outcome, status, inside = "ok", 200, False
        try:
            if self.draining:
                raise GatewayError(Code.SHUTTING_DOWN, headers={"retry-after": "1"})
            call.principal = await self.keys.identify(authorization, x_api_key, call.client_address)
            self.places.take(call, call.principal)
            call.enter("body")
            call.raw = await client.body()
            # Only now: a client that sends nothing takes no place and spends no request.
            self._take_place()
            inside = True
            call.enter("limits")
            await self._admit(call, call.principal)
            call.enter("validation")
            if len(call.raw) <= INLINE_BYTES:
                tokens = self._prepare(call, call.principal)
            else:
                work = partial(self._prepare, call, call.principal)
                tokens = await self.heavy.run(call.caller, work)
            if tokens:
                self.places.weigh(call, call.principal, tokens)
            listener = self.listen(call, client) if self.listen is not None else None
            outcome = self._judged(await self._generate(call, listener or client))
            if listener is not None:
                listener.done(outcome)
        except GatewayError as error:
            outcome, status = error.code.name, error.status
            raise
        except asyncio.CancelledError:
            outcome, status = "client_closed", 499
            if call.ended is not None:
                outcome, status = call.ended.name, call.ended.value.status
            raise
        except BaseException:
            outcome, status = Code.INTERNAL_ERROR.name, Code.INTERNAL_ERROR.value.status
            raise
        finally:
            self.places.leave(call)
            if inside:
                self.in_flight -= 1
                self.metrics.in_flight.dec()
            self._settle(call, status, outcome)
            if outcome in UNSPENT and not call.first_token:
                await self._give_back(call)

    def turned_away(self, call: Call, error: GatewayError) -> None:
        """Account for a call that HTTP's own rules (method, type, length) kept from the road."""
        self._settle(call, error.status, error.code.name)

    async def identify(
        self, authorization: bytes | None, x_api_key: bytes | None, client_address: str
    ) -> Principal:
        """Who is calling, for the routes that are not calls to an engine."""
        return await self.keys.identify(authorization, x_api_key, client_address)

    def admit_aside(self, principal: Principal) -> None:
        """The same routes are no calls for the limiter, but not free: so many for each key in this
        process.

        Raises:
            GatewayError: RATE_LIMIT_EXCEEDED.
        """
        if wait := self._aside.take(principal.key_id):
            raise GatewayError(
                Code.RATE_LIMIT_EXCEEDED,
                f"More than {ASIDE_PER_SECOND} such requests a second; try again shortly.",
                headers={"retry-after": str(ceil(wait))},
            )

    def models(self, principal: Principal) -> list[str]:
        """Names of the served models that this caller may use."""
        return [m for m in self.engine.models() if not principal.models or m in principal.models]

    async def usage(self, principal: Principal) -> UsageReport:
        """What this caller has used."""
        report = await self.ledger.usage(principal)
        report.in_flight = self.places.held(principal)
        report.max_in_flight = principal.tier.max_in_flight
        return report

    def _take_place(self) -> None:
        if self.in_flight >= self.settings.max_in_flight:
            raise GatewayError(Code.ENGINE_OVERLOADED, headers={"retry-after": "1"})
        self.in_flight += 1
        self.metrics.in_flight.inc()

    async def _admit(self, call: Call, principal: Principal) -> None:
        admission = await self.limiter.admit(principal)
        call.headers = limits.headers(admission)
        decision = "allowed" if admission.allowed else "denied"
        self.metrics.limited_child(decision, admission.degraded).inc()
        if not admission.allowed:
            seconds = call.headers.get("retry-after", "1")
            raise GatewayError(
                Code.RATE_LIMIT_EXCEEDED,
                f"Rate limit exceeded; try again in {seconds} seconds.",
                headers=call.headers,
            )
        call.admission = admission

    async def _give_back(self, call: Call) -> None:
        """The service failed the call before the caller got anything: it doesn't count."""
        if call.principal is not None and call.admission is not None:
            admission = await self.limiter.give_back(call.principal, call.admission)
            call.headers = limits.headers(admission)

    def _prepare(self, call: Call, principal: Principal) -> int:
        """Body to a valid, clean request for a model that the caller may use.

        Returns:
            Tokens, at most, of a prompt whose logprobs are asked for; else 0.
        """
        depth = self.settings.max_json_depth
        request = read(call.raw, call.dialect, principal.tier, depth, self._allowed)
        if request.ignored:
            call.headers["x-gateway-ignored"] = fields.header(request.ignored)
        body = call.body = request.body
        call.stream = body.get("stream") is True
        call.model = body["model"] = self._route(body.get("model"), principal)
        call.content_hash, call.affinity = request.content_hash, request.affinity
        call.input_length = request.input_length
        call.enter("safety")
        try:
            flagged = incoming.check(self.policy, request.messages)
        except incoming.Filtered as filtered:
            self.metrics.filter_child("input", filtered.match.category, "block").inc()
            raise
        for category in flagged:
            self.metrics.filter_child("input", category, "flag").inc()
        return request.logprobs_tokens

    def _route(self, wanted: str | None, principal: Principal) -> str:
        """The model to use: the one asked for, or the first served one when none was named."""
        if wanted is None:
            if not (served := self.engine.models()):
                raise GatewayError(Code.ENGINE_UNAVAILABLE, headers={"retry-after": "5"})
            allowed = self.models(principal)
            wanted = allowed[0] if allowed else served[0]
        if principal.models and wanted not in principal.models:
            raise GatewayError(Code.MODEL_NOT_ALLOWED, param="model")
        if not self.engine.serves(wanted):
            raise GatewayError(Code.MODEL_NOT_FOUND, param="model")
        return wanted

    async def _generate(self, call: Call, client: Client) -> delivery.Delivered:
        """Hand the call to an engine, and its answer to the client. However this ends, nothing
        goes on generating, and what was generated is charged."""
        call.usage_hidden = call.stream and call.dialect.ask_usage(call.body)
        if len(call.raw) <= INLINE_BYTES:
            data, call.control_tokens = self.controls.write(call.body)
        else:
            work = partial(self.controls.write, call.body)
            data, call.control_tokens = await self.heavy.run(call.caller, work)
        if call.control_tokens:
            self.metrics.control_tokens.labels(call.path).inc(call.control_tokens)
        request = EngineRequest(
            id=call.engine_id,
            path=call.path,
            body=data,
            model=call.model,
            stream=call.stream,
            affinity=call.affinity,
            headers={} if call.trace is None else call.trace.engine_headers(call),
        )
        reply: EngineReply | None = None
        try:
            with delivery.engine_errors(call):
                reply = await self.engine.send(request)
            call.enter("delivery")
            return await delivery.deliver(self.policy, self.heavy, call, client, reply)
        finally:
            call.upstream, call.queue_time = request.tally.server, request.tally.queue_time()
            if reply is not None:
                await reply.abort()
            if call.usage is None and call.dialect.charged:
                call.usage = _aborted(call, request.tally)

    def _judged(self, delivered: delivery.Delivered) -> str:
        """Count what the policy did to an answer; the call's outcome."""
        for category in delivered.flags:
            self.metrics.filter_child("output", category, "flag").inc()
        if delivered.match is not None:
            self.metrics.filter_child("output", delivered.match.category, "block").inc()
            return Code.RESPONSE_FILTERED.name
        return delivered.error.code.name if delivered.error else "ok"

    def _settle(self, call: Call, status: int, outcome: str) -> None:
        """Account for a finished call: ledger, metrics, journal, log line, trace."""
        call.enter("settle")
        seconds = time.perf_counter() - call.started
        principal = call.principal
        usage = call.usage or Usage()
        model = call.model if self.engine.known(call.model) else "other"
        tier = principal.tier_name if principal else "none"
        meters = self.metrics.meters(call.path, model, tier)
        meters.outcome(outcome, fault_of(outcome))
        meters.duration.observe(seconds)
        if call.first_token:
            self._stream_meters(call, meters, usage, outcome)
        if call.queue_time is not None:
            meters.queue.observe(call.queue_time)
        if usage.prompt_tokens or usage.completion_tokens:
            meters.tokens_in.inc(usage.prompt_tokens)
            meters.tokens_out.inc(usage.completion_tokens)
            meters.rate.observe(usage.completion_tokens / seconds)
            if principal is not None:
                self.ledger.record(principal.key_id, usage, model)
        if call.dialect.charged:
            record = record_of(call, model, status, outcome, seconds, self.memory)
            self.journal.add(record)
        if self.log is not None:
            self.log.write(call, status_of(outcome, status), outcome)
        if call.trace is not None:
            call.trace.finish(call, status, outcome)

    @staticmethod
    def _stream_meters(call: Call, meters: CallMeters, usage: Usage, outcome: str) -> None:
        """What only streams have. Per call: a measure per token would cost more than the token."""
        meters.first_token.observe(call.first_token - call.started)
        meters.held_seconds.observe(call.held_seconds)
        meters.held_characters.observe(call.held_characters)
        if outcome == "ok" and call.last_token and usage.completion_tokens > 1:
            seconds = call.last_token - call.first_token
            meters.per_token.observe(seconds / (usage.completion_tokens - 1))


def _aborted(call: Call, tally: Tally) -> Usage:
    """Usage of a call that ended before the engine told it: the engine's own count, or else an
    estimate from the prompt's length and the events that were seen."""
    prompt, generated = tally.prompt_tokens(), tally.generated()
    return Usage(
        prompt_tokens=len(call.raw) // CHARS_PER_TOKEN if prompt is None else prompt,
        completion_tokens=call.events if generated is None else generated,
        estimated=prompt is None or generated is None,
    )
