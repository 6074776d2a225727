"""Metrics whose values other parts keep anyway: read when Prometheus asks, at no cost for calls."""

from __future__ import annotations

from collections.abc import Callable

from gemma_gateway.access.runtime import RuntimeKeys
from gemma_gateway.core.engine import Engine
from gemma_gateway.engines.local.engine import LocalEngine
from gemma_gateway.engines.upstream.engine import UpstreamEngine
from gemma_gateway.engines.upstream.pool import UpstreamState
from gemma_gateway.limits.limiter import Limiter
from gemma_gateway.monitoring.journal import Journal
from gemma_gateway.monitoring.memory import MB, Memory
from gemma_gateway.pipeline.gateway import Gateway
from gemma_gateway.settings import Settings
from gemma_gateway.storage import Store
from gemma_gateway.telemetry.files import OpenFiles
from gemma_gateway.telemetry.metrics import Metrics


def watch(
    metrics: Metrics,
    settings: Settings,
    store: Store,
    limiter: Limiter,
    journal: Journal,
    memory: Memory,
    engine: Engine,
) -> None:
    """Have the state of the parts shown among the metrics."""
    show = metrics.watch
    show(
        "gateway_store_available",
        "1 while the limiter's script works on Redis.",
        lambda: store.available,
    )
    show(
        "gateway_store_failures_total",
        "Commands that Redis did not answer, or refused.",
        lambda: store.failures,
    )
    show(
        "gateway_store_outages_total",
        "Times that the limiter's script stopped to work on Redis.",
        lambda: store.outages,
    )
    show(
        "gateway_rate_limit_degraded_total",
        "Calls decided without the store.",
        lambda: limiter.degraded_calls,
    )
    show(
        "gateway_records_lost_total",
        "Records of calls dropped because the store was away for too long.",
        lambda: journal.lost,
    )
    show(
        "gateway_memory_bytes",
        "Resident memory of the gateway and the processes of an engine in it.",
        lambda: memory.resident_mb * MB,
    )
    show("gateway_models", "Models served now; 0: none.", lambda: len(engine.models()))
    show(
        "gateway_requests_in_flight_limit",
        "Calls that this process may hold at once.",
        lambda: settings.max_in_flight,
    )
    if isinstance(engine, UpstreamEngine):
        _watch_upstreams(metrics, engine)
    elif isinstance(engine, LocalEngine):
        _watch_local(metrics, memory, engine)


def watch_keys(metrics: Metrics, keys: RuntimeKeys) -> None:
    """The same of the keys made at run time."""
    metrics.watch("gateway_keys_known", "Secrets known in this process.", lambda: len(keys))
    metrics.watch(
        "gateway_key_lookups_total",
        "Secrets that calls had to ask the store for.",
        lambda: keys.lookups,
    )
    metrics.watch(
        "gateway_keys_unconfirmed_seconds",
        "Since the store last told of changed keys; usually one or two.",
        lambda: keys.unconfirmed,
    )


def watch_refused(metrics: Metrics, gateway: Gateway) -> None:
    """The same of calls that were refused for what else their key or address does."""
    metrics.watch(
        "gateway_key_in_flight_refused_total",
        "Calls beyond their tier's max_in_flight.",
        lambda: gateway.places.refused,
    )
    metrics.watch(
        "gateway_failed_keys_refused_total",
        "Failed keys from addresses with too many of them.",
        lambda: gateway.keys.throttle.refused,
    )


def watch_files(metrics: Metrics, files: OpenFiles) -> None:
    """The same of open files; how many there are tells prometheus_client (process_open_fds)."""
    metrics.watch(
        "gateway_open_files_exhausted_seconds_total",
        "Seconds in which no file descriptor was left, and new connections were reset.",
        lambda: files.exhausted,
    )


def _watch_local(metrics: Metrics, memory: Memory, engine: LocalEngine) -> None:
    metrics.watch(
        "gateway_gpu_memory_bytes",
        "Used memory of the engine's GPUs; 0 without one.",
        lambda: memory.gpu_mb * MB,
    )
    metrics.watch(
        "gateway_engine_ready", "1 while an engine takes calls.", lambda: bool(engine.models())
    )
    metrics.watch(
        "gateway_engine_deaths_total",
        "Times that the running engine has died; it is started again each time.",
        lambda: engine.deaths,
    )
    metrics.watch(
        "gateway_engine_failed_starts_total",
        "Starts of the engine that came to nothing.",
        lambda: engine.failed_starts,
    )


def _watch_upstreams(metrics: Metrics, engine: UpstreamEngine) -> None:
    def each(name: str, text: str, read: Callable[[UpstreamState], float]) -> None:
        metrics.watch_each(
            name,
            text,
            "upstream",
            lambda: {state.name: read(state) for state in engine.upstreams()},
        )

    metrics.watch(
        "gateway_engine_ready",
        "1 while an engine takes calls.",
        lambda: any(not state.ejected for state in engine.upstreams()),
    )
    each("gateway_upstream_available", "0 while a server is ejected.", lambda s: not s.ejected)
    each(
        "gateway_upstream_requests_in_flight",
        "Calls that a server is answering.",
        lambda s: s.outstanding,
    )
    each(
        "gateway_upstream_ejections_total",
        "Times that a server was ejected.",
        lambda s: s.ejections,
    )
    each(
        "gateway_upstream_tries_total",
        "Calls that a server was given; one that goes on to another server counts at both.",
        lambda s: s.tries,
    )
    each("gateway_upstream_errors_total", "Those of them that failed there.", lambda s: s.errors)
