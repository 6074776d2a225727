"""The spans of a call, made by OpenTelemetry's SDK (extra ``otel``; see ``tracing``).

One tree a call: the call itself, below it the pipeline's stages, one after the other. The engine's
stage is a client span in the words of the GenAI conventions, and its context goes to the engine;
the delivery stands below it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable
from contextlib import suppress

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gemma_gateway import __version__
from gemma_gateway.core.call import Call
from gemma_gateway.core.outcomes import FAILED, class_of
from gemma_gateway.telemetry import genai
from gemma_gateway.telemetry.log import current_trace

SERVICE = "gemma-gateway"  # unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES say otherwise
UNNAMED = "unknown_service"
FLUSH_SECONDS = 3.0  # longest wait for a receiver at the end
PROVIDER = "vllm"
W3C = TraceContextTextMapPropagator()
TRACE_HEADERS = frozenset({b"traceparent", b"tracestate"})
ENGINE, DELIVERY = "engine", "delivery"


class SpanTracer:
    """Makes the traces of calls; implements ``telemetry.tracing.Tracer``.

    Args:
        provider: of the spans; it is ours alone, since an engine in process sets the global one.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("gemma_gateway", __version__)

    @classmethod
    def from_environment(cls) -> SpanTracer:
        """With sampler, limits, batches and receiver as OpenTelemetry's variables say.

        Raises:
            ValueError: one of them has a value that can't be.
        """
        resource = Resource.create()
        named = str(resource.attributes.get(SERVICE_NAME, UNNAMED))
        more = {SERVICE_NAME: SERVICE} if named.startswith(UNNAMED) else {}
        resource = resource.merge(Resource({SERVICE_VERSION: __version__, **more}))
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    def begin(self, call: Call, headers: Iterable[tuple[bytes, bytes]]) -> SpanTree:
        """See ``Tracer.begin``."""
        carrier: dict[str, str] = {}
        for raw, value in headers:
            if raw in TRACE_HEADERS:  # a second traceparent makes both invalid, as specified
                name = raw.decode()
                text = value.decode("latin-1")
                carrier[name] = f"{carrier[name]},{text}" if name in carrier else text
        context = W3C.extract(carrier, Context())
        tree = SpanTree(self._tracer, call, context)
        current_trace.set(tree)
        return tree

    async def start(self) -> None:
        """See ``Part.start``; the SDK's thread runs since the provider was made."""

    async def stop(self) -> None:
        """See ``Tracer.stop``. In a thread that nobody waits for at exit: a receiver that doesn't
        answer would hold it for half a minute."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def close() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # too late: the loop is closed
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=close, daemon=True).start()
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), FLUSH_SECONDS)


class SpanTree:
    """The trace of one call; implements ``core.call.Trace``.

    While the call runs only times are noted; the stages' spans are made at its end. Calls that are
    not sampled have ids, for logs and for the engine, and nothing else.
    """

    __slots__ = (
        "_clock",
        "_context",
        "_engine",
        "_marks",
        "_recording",
        "_root",
        "_tracer",
        "span_id",
        "trace_id",
    )

    def __init__(self, tracer: Tracer, call: Call, parent: Context) -> None:
        self._tracer = tracer
        self._clock = time.time_ns() - time.perf_counter_ns()  # one clock for all of a call's spans
        self._root = tracer.start_span(
            f"POST {call.path}",
            parent,
            SpanKind.SERVER,
            {"http.request.method": "POST", "http.route": call.path, "url.path": call.path},
            start_time=self._clock + int(call.started * 1e9),
        )
        self._context = set_span_in_context(self._root, parent)
        self._recording = self._root.is_recording()
        self._engine: Span | None = None
        self._marks: list[tuple[str, int]] = []  # (stage, perf_counter_ns at which it began)
        ids = self._root.get_span_context()
        self.trace_id = format_trace_id(ids.trace_id)
        self.span_id = format_span_id(ids.span_id)
        self.enter("access")

    def enter(self, stage: str) -> None:
        """See ``Trace.enter``."""
        if self._recording and not (self._marks and self._marks[-1][0] == stage):
            self._marks.append((stage, time.perf_counter_ns()))

    def engine_headers(self, call: Call) -> dict[str, str]:
        """See ``Trace.engine_headers``."""
        context = self._context
        self.enter(ENGINE)
        if self._recording:
            self._engine = self._tracer.start_span(
                f"{genai.operation(call)} {call.request.model}",
                context,
                SpanKind.CLIENT,
                genai.request(call, PROVIDER),
                start_time=self._clock + self._marks[-1][1],
            )
            context = set_span_in_context(self._engine, context)
        headers: dict[str, str] = {}
        W3C.inject(headers, context)
        return headers

    def finish(self, call: Call, status: int, outcome: str) -> None:
        """See ``Trace.finish``."""
        if not self._recording:
            return
        self.enter("")  # the end
        error = "" if outcome == "ok" else outcome
        failed = class_of(outcome) == FAILED
        last = len(self._marks) - 3  # where the pipeline ended: before settling
        settled = self._marks[-2][1]
        for place, (stage, began) in enumerate(self._marks[:-1]):
            if stage == ENGINE and self._engine is not None:
                self._engine.set_attributes(genai.response(call, began / 1e9))
                _blame(self._engine, error, failed)
                self._engine.end(self._clock + settled)  # delivery is a part of it
            else:
                fault = error if place == last else ""
                self._stage(call, stage, began, self._marks[place + 1][1], fault, failed)
        self._root.set_attributes(_attributes(call, status, outcome))
        _blame(self._root, error, failed)
        self._root.end(self._clock + self._marks[-1][1])

    def _stage(
        self, call: Call, stage: str, began: int, ended: int, error: str, failed: bool
    ) -> None:
        context = self._context
        attributes: genai.Attributes = {}
        if stage == DELIVERY and self._engine is not None:
            context = set_span_in_context(self._engine, context)
            if call.request.stream:
                attributes["gateway.stream.events"] = call.answer.events
                attributes["gateway.stream.held_characters"] = call.answer.held_characters
                attributes["gateway.stream.held_seconds"] = call.answer.held_seconds
        span = self._tracer.start_span(
            stage, context, attributes=attributes, start_time=self._clock + began
        )
        _blame(span, error, failed)
        span.end(self._clock + ended)


def _blame(span: Span, error: str, failed: bool) -> None:
    """Say what went wrong, if anything did. Refusals and departures are no failures of ours."""
    if error:
        span.set_attribute("error.type", error)
        if failed:
            span.set_status(Status(StatusCode.ERROR))


def _attributes(call: Call, status: int, outcome: str) -> genai.Attributes:
    found: genai.Attributes = {
        "url.scheme": "http",
        "gateway.request_id": call.id,
        "gateway.call_id": call.engine_id,
        "gateway.outcome": outcome,
        "gateway.stream": call.request.stream,
    }
    if status != 499:
        found["http.response.status_code"] = status
    if call.principal is not None:
        found["gateway.tier"] = call.principal.tier_name
        found["gateway.key"] = call.principal.key_id[:8]
    return found
