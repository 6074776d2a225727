"""Metrics whose values other parts keep anyway: read when Prometheus asks, at no cost for calls."""

from __future__ import annotations

from gemma_gateway.access.managed import ManagedKeys
from gemma_gateway.access.throttle import Throttle
from gemma_gateway.admin.reload import Reload
from gemma_gateway.core.engine import Engine
from gemma_gateway.limits.limiter import Limiter
from gemma_gateway.limits.places import Places
from gemma_gateway.limits.room import Room
from gemma_gateway.monitoring.memory import MB, Memory
from gemma_gateway.monitoring.records import RequestLog
from gemma_gateway.storage import Store
from gemma_gateway.telemetry.files import OpenFiles
from gemma_gateway.telemetry.metrics import Metrics


def watch(
    metrics: Metrics,
    room: Room,
    store: Store,
    limiter: Limiter,
    request_log: RequestLog,
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
        "Times the limiter's script stopped working on Redis.",
        lambda: store.outages,
    )
    show(
        "gateway_rate_limit_degraded_total",
        "Calls decided without the store.",
        lambda: limiter.degraded_calls,
    )
    show(
        "gateway_records_lost_total",
        "Records of calls dropped because the store was unavailable for too long.",
        lambda: request_log.lost,
    )
    show(
        "gateway_memory_bytes",
        "Resident memory of the gateway and the processes of an engine in it.",
        lambda: memory.resident_mb * MB,
    )
    show(
        "gateway_memory_limit_bytes",
        "Memory that they may use: the machine's, or their control group's limit.",
        lambda: memory.limit_mb * MB,
    )
    show("gateway_models", "Models served now; 0: none.", lambda: len(engine.models()))
    show(
        "gateway_requests_in_flight",
        "Calls between body and last byte.",
        lambda: room.taken,
    )
    show(
        "gateway_requests_in_flight_limit",
        "Calls that this process may hold at once.",
        lambda: room.most,
    )
    if memory.of_engine:
        show(
            "gateway_gpu_memory_bytes",
            "Used memory of the engine's GPUs; 0 without one.",
            lambda: memory.gpu_mb * MB,
        )
    engine.watch(metrics)


def watch_keys(metrics: Metrics, keys: ManagedKeys) -> None:
    """The same of the keys made at run time."""
    metrics.watch("gateway_keys_known", "Secrets known in this process.", lambda: len(keys))
    metrics.watch(
        "gateway_key_lookups_total",
        "Secrets that calls had to look up in the store.",
        lambda: keys.lookups,
    )
    metrics.watch(
        "gateway_keys_unconfirmed_seconds",
        "Seconds since the store last reported changed keys; usually one or two.",
        lambda: keys.unconfirmed,
    )


def watch_refused(metrics: Metrics, places: Places, throttle: Throttle) -> None:
    """The same of calls that were refused for what else their key or address does."""
    metrics.watch(
        "gateway_key_in_flight_refused_total",
        "Calls beyond their tier's max_in_flight.",
        lambda: places.refused,
    )
    metrics.watch(
        "gateway_failed_keys_refused_total",
        "Failed keys from addresses with too many of them.",
        lambda: throttle.refused,
    )


def watch_files(metrics: Metrics, files: OpenFiles) -> None:
    """The same of open files; how many there are tells prometheus_client (process_open_fds)."""
    metrics.watch(
        "gateway_open_files_exhausted_seconds_total",
        "Seconds in which no file descriptor was left, and new connections were reset.",
        lambda: files.exhausted,
    )


def watch_reload(metrics: Metrics, reload: Reload) -> None:
    """The same of the configuration; the first two are named as Prometheus names its own."""
    metrics.watch(
        "gateway_config_last_reload_successful",
        "1 unless the last attempt to reload the configuration failed.",
        lambda: reload.successful,
    )
    metrics.watch(
        "gateway_config_last_reload_success_timestamp_seconds",
        "When the configuration was last loaded with success, since the epoch.",
        lambda: reload.succeeded,
    )
    metrics.watch_each(
        "gateway_config_reloads_total",
        "Attempts to reload the configuration: success, unchanged or failure.",
        "outcome",
        lambda: reload.outcomes,
    )
    metrics.watch_each(
        "gateway_config_models_info",
        "1; the label is a hash of the models in use, without keys: the same in all replicas.",
        "sha256",
        lambda: {reload.models_digest: 1},
    )
