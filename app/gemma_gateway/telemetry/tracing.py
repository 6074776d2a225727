"""Whether calls are traced: OpenTelemetry's own variables say so. No setting of the gateway does.

Nothing here imports OpenTelemetry until it is asked for: it comes with the extra ``otel``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Protocol

from gemma_gateway.core.call import Call, Trace
from gemma_gateway.core.part import Part
from gemma_gateway.core.stage import End
from gemma_gateway.telemetry.log import logger

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"


class Tracer(Part, Protocol):
    """Makes the traces of calls; its work is done in a thread of its own."""

    def begin(self, call: Call, headers: Iterable[tuple[bytes, bytes]]) -> Trace:
        """The trace of a call that has just come in.

        Args:
            headers: raw request headers; ``traceparent`` and ``tracestate`` are read.
        """
        ...

    async def stop(self) -> None:
        """Send what is left, for a few seconds at most."""
        ...


class Traces:
    """Ends the trace of each call; an ``Observer``, the last one."""

    def settle(self, call: Call, end: End) -> None:
        """See ``Observer``."""
        if call.trace is not None:
            call.trace.finish(call, end.status, end.outcome)


def from_environment(environ: Mapping[str, str] = os.environ) -> Tracer | None:
    """The tracer that the variables ask for; None when they ask for none, or for what can't be had,
    which is logged: a variable that a cluster sets in every pod must not stop the gateway.

    Raises:
        ValueError: a variable has a value that OpenTelemetry refuses.

    Source: OpenTelemetry specification, "Environment Variable Specification" and "OTLP Exporter".
    """
    if not wanted(environ):
        return None
    try:
        from gemma_gateway.telemetry.spans import SpanTracer
    except ImportError as error:
        logger.warning("no traces: %s; install gemma-gateway[otel]", error)
        return None
    return SpanTracer.from_environment()


def wanted(environ: Mapping[str, str]) -> bool:
    """Whether the variables ask for traces that this gateway can send."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if exporter not in ("", "otlp"):
        if exporter != "none":
            logger.warning("no traces: OTEL_TRACES_EXPORTER is %r, not otlp", exporter)
        return False
    if not exporter and not _first(environ, ENDPOINTS):
        return False
    protocol = _first(environ, PROTOCOLS) or PROTOCOL
    if protocol != PROTOCOL:
        logger.warning("no traces: the protocol asked for is %r, not %s", protocol, PROTOCOL)
        return False
    return True


def _first(environ: Mapping[str, str], names: Iterable[str]) -> str:
    """The first variable that has a value; an empty one counts as not set, as specified."""
    return next((value for name in names if (value := environ.get(name, "").strip())), "")
