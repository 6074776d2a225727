"""Prometheus metrics of the gateway: base units, bounded labels.

Label values come from closed sets only: routes, served model names (anything else is ``other``),
tiers of the configuration, and the codes of ``core.errors``. Children are bound once per
(route, model, tier), at their first use, so that a call costs little more than a few additions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gemma_gateway.telemetry.counts import Counter, Counters, Histogram, Histograms

LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
RATE = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
PER_TOKEN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5)
HELD_SECONDS = (0, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
HELD_CHARACTERS = (0, 1, 2, 4, 8, 16, 32, 64, 128)
CHECK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
LAG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
CALL_LABELS = ("route", "model", "tier")
MOST_MODELS = 100  # model names with series of their own in one process's life


class CallMeters:
    """The bound children for one route, model and tier.

    Each is made when it is first used: a route that never streams has no series of streams.
    """

    def __init__(self, metrics: Metrics, route: str, model: str, tier: str) -> None:
        self._metrics = metrics
        self._labels = (route, model, tier)

    def outcome(self, name: str, fault: str = "") -> None:
        """Count one finished call.

        Args:
            name: ``ok``, ``client_closed`` or an error code.
            fault: whose doing that was, see ``core.outcomes``; empty: nobody's.
        """
        self._metrics.requests.labels(*self._labels, name).inc()
        if fault:
            self._metrics.faults.labels(self._labels[1], fault).inc()

    @cached_property
    def duration(self) -> Histogram:
        """Seconds of a call."""
        return self._metrics.duration.labels(*self._labels)

    @cached_property
    def first_token(self) -> Histogram:
        """Seconds until a stream's first text."""
        return self._metrics.first_token.labels(*self._labels)

    @cached_property
    def per_token(self) -> Histogram:
        """Seconds a token of a stream, after the first."""
        return self._metrics.per_token.labels(*self._labels)

    @cached_property
    def queue(self) -> Histogram:
        """Seconds that a call waited in the engine."""
        return self._metrics.queue.labels(*self._labels)

    @cached_property
    def rate(self) -> Histogram:
        """Output tokens a second of a call."""
        return self._metrics.rate.labels(*self._labels)

    @cached_property
    def held_seconds(self) -> Histogram:
        """Longest wait of a stream's text in the output guard, seconds."""
        return self._metrics.held_seconds.labels(self._labels[1])

    @cached_property
    def held_characters(self) -> Histogram:
        """Most text of a stream that waited there at once."""
        return self._metrics.held_characters.labels(self._labels[1])

    @cached_property
    def tokens_in(self) -> Counter:
        """Tokens of prompts."""
        return self._metrics.tokens.labels(self._labels[1], "input")

    @cached_property
    def tokens_out(self) -> Counter:
        """Tokens generated."""
        return self._metrics.tokens.labels(self._labels[1], "output")


class Metrics:
    """All metrics of one gateway."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._meters: dict[tuple[str, str, str], CallMeters] = {}
        self._models: set[str] = {"other"}
        self.requests = Counters(
            "gateway_requests",
            "Finished calls by outcome: ok, client_closed or an error code.",
            (*CALL_LABELS, "outcome"),
            registry=registry,
        )
        self.faults = Counters(
            "gateway_faults",
            "Finished calls without a whole answer: caller, policy, engine or gateway.",
            ("model", "fault"),
            registry=registry,
        )
        self.duration = Histograms(
            "gateway_request_duration_seconds",
            "From the request's head to the last byte of the answer.",
            CALL_LABELS,
            buckets=LATENCY,
            registry=registry,
        )
        self.first_token = Histograms(
            "gateway_time_to_first_token_seconds",
            "From the request's head to the first text of a streamed answer.",
            CALL_LABELS,
            buckets=LATENCY,
            registry=registry,
        )
        self.per_token = Histograms(
            "gateway_time_per_output_token_seconds",
            "From a stream's first text to its last, over the tokens after the first one.",
            CALL_LABELS,
            buckets=PER_TOKEN,
            registry=registry,
        )
        self.queue = Histograms(
            "gateway_queue_time_seconds",
            "Wait inside the engine before the prompt was worked on, where the engine reports it.",
            CALL_LABELS,
            buckets=LATENCY,
            registry=registry,
        )
        self.held_seconds = Histograms(
            "gateway_stream_held_seconds",
            "Longest time that text of a stream waited in the output guard; 0: it never did.",
            ("model",),
            buckets=HELD_SECONDS,
            registry=registry,
        )
        self.held_characters = Histograms(
            "gateway_stream_held_characters",
            "Most characters of a stream that waited in the output guard at once.",
            ("model",),
            buckets=HELD_CHARACTERS,
            registry=registry,
        )
        self.lag = Histograms(
            "gateway_event_loop_lag_seconds",
            "How late a timer of the event loop fired, ten times a second.",
            (),
            buckets=LAG,
            registry=registry,
        ).labels()
        self.rate = Histograms(
            "gateway_output_tokens_per_second",
            "Output tokens of a call over its duration.",
            CALL_LABELS,
            buckets=RATE,
            registry=registry,
        )
        self.tokens = Counters(
            "gateway_tokens",
            "Tokens as the engine counts them.",
            ("model", "type"),
            registry=registry,
        )
        self.filtered = Counters(
            "gateway_filter_matches",
            "Term policy matches.",
            ("direction", "category", "action"),
            registry=registry,
        )
        self.control_tokens = Counters(
            "gateway_control_tokens",
            "Texts of control tokens in requests that were made plain text.",
            ("route",),
            registry=registry,
        )
        self.changes = Counters(
            "gateway_request_changes",
            "Changes that the gateway made in requests: stripped, truncated, clamped, dropped, "
            "escaped, or flagged.",
            ("how",),
            registry=registry,
        )
        self.limited = Counters(
            "gateway_rate_limit_decisions",
            "Decisions of the rate limiter; degraded: taken without the store.",
            ("decision", "degraded"),
            registry=registry,
        )
        self.fallbacks = Counters(
            "gateway_fallbacks",
            "Calls that went on to another model: unavailable, overloaded, queue_timeout or "
            "context_length.",
            ("model", "fallback", "reason"),
            registry=registry,
        )

        self.media = Counters(
            "gateway_media_checked",
            "Images and sounds in requests by what became of them: ok, cleaned, or why they were "
            "refused.",
            ("kind", "outcome"),
            registry=registry,
        )
        self.media_seconds = Histograms(
            "gateway_media_check_duration_seconds",
            "From its turn in the queue to the end of its check, waiting included.",
            ("kind",),
            buckets=CHECK,
            registry=registry,
        )

    def meters(self, route: str, model: str, tier: str) -> CallMeters:
        """Bound children; the caller passes only names from closed sets. Models past
        ``MOST_MODELS`` share the name ``other``: a server may list whatever it likes."""
        key = (route, model, tier)
        found = self._meters.get(key)
        if found is not None:
            return found
        if model not in self._models:
            if len(self._models) > MOST_MODELS:
                return self.meters(route, "other", tier)
            self._models.add(model)
        found = self._meters[key] = CallMeters(self, *key)
        return found

    def filter_child(self, direction: str, category: str, action: str) -> Counter:
        """Child of the filter counter; ``category`` is a name from the policy file."""
        return self.filtered.labels(direction, category, action)

    def changed(self, how: str) -> None:
        """Count a change of a request, by its kind."""
        self.changes.labels(how).inc()

    def limits_decided(self, decision: str, degraded: bool) -> None:
        """Count a decision of the limiter, ``allowed`` or ``denied``."""
        self.limited.labels(decision, "true" if degraded else "false").inc()

    def media_checked(self, kind: str, outcome: str, seconds: float) -> None:
        """Count an image or a sound that was checked.

        Args:
            kind: of media, from a closed set, as ``outcome``.
            seconds: that it took; 0: it was refused before that.
        """
        self.media.labels(kind, outcome).inc()
        if seconds:
            self.media_seconds.labels(kind).observe(seconds)

    def fell_back(self, model: str, fallback: str, reason: str) -> None:
        """Count a call that went on to another model; both are of the settings."""
        self.fallbacks.labels(model, fallback, reason).inc()

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A gauge, or a counter if its name ends in ``_total``, that is read when scraped."""
        self.registry.register(_Watched(name, text, (), lambda: {"": read()}))

    def watch_each(
        self, name: str, text: str, label: str, read: Callable[[], Mapping[str, float]]
    ) -> None:
        """The same with one label, whose values come from the configuration."""
        self.registry.register(_Watched(name, text, (label,), read))

    def render(self) -> bytes:
        """Text exposition: ours, then the process's own (with vLLM's, when in process)."""
        return generate_latest(self.registry) + generate_latest(REGISTRY)


class _Watched(Collector):
    """Values that another part keeps, read at each scrape."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: tuple[str, ...],
        read: Callable[[], Mapping[str, float]],
    ) -> None:
        self._describe = name, text, labels
        self._read = read

    def collect(self) -> Iterator[Metric]:
        name, text, labels = self._describe
        kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        family = kind(name, text, labels=labels)
        for value, number in self._read().items():
            family.add_metric((value,) if labels else (), float(number))
        yield family
