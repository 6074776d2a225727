"""Prometheus metrics of the gateway: base units, bounded labels.

Label values come from closed sets only: routes, served model names (anything else is ``other``),
tiers of the configuration, and the codes of ``app.errors``. Children are bound once per
(route, model, tier), so that a call costs a few additions and no label look-up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
RATE = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class CallMeters:
    """The bound children for one route, model and tier."""

    __slots__ = (
        "_labels",
        "_outcomes",
        "_requests",
        "duration",
        "first_token",
        "rate",
        "tokens_in",
        "tokens_out",
    )

    def __init__(self, metrics: Metrics, route: str, model: str, tier: str) -> None:
        self._labels = (route, model, tier)
        self._requests = metrics.requests
        self._outcomes: dict[str, Counter] = {}
        self.duration = metrics.duration.labels(route, model)
        self.first_token = metrics.first_token.labels(route, model)
        self.rate = metrics.rate.labels(route, model)
        self.tokens_in = metrics.tokens.labels(model, "input")
        self.tokens_out = metrics.tokens.labels(model, "output")

    def outcome(self, name: str) -> None:
        """Count one finished call. ``name``: ``ok``, ``client_closed`` or an error code."""
        child = self._outcomes.get(name)
        if child is None:
            child = self._outcomes[name] = self._requests.labels(*self._labels, name)
        child.inc()


class Metrics:
    """All metrics of one gateway."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._meters: dict[tuple[str, str, str], CallMeters] = {}
        self._children: dict[tuple[Counter, tuple[str, ...]], Counter] = {}
        self.requests = Counter(
            "gateway_requests",
            "Finished calls by outcome: ok, client_closed or an error code.",
            ("route", "model", "tier", "outcome"),
            registry=registry,
        )
        self.duration = Histogram(
            "gateway_request_duration_seconds",
            "From the request's head to the last byte of the answer.",
            ("route", "model"),
            buckets=LATENCY,
            registry=registry,
        )
        self.first_token = Histogram(
            "gateway_time_to_first_token_seconds",
            "From the request's head to the first text of a streamed answer.",
            ("route", "model"),
            buckets=LATENCY,
            registry=registry,
        )
        self.rate = Histogram(
            "gateway_output_tokens_per_second",
            "Output tokens of a call over its duration.",
            ("route", "model"),
            buckets=RATE,
            registry=registry,
        )
        self.tokens = Counter(
            "gateway_tokens",
            "Tokens as the engine counts them.",
            ("model", "type"),
            registry=registry,
        )
        self.filtered = Counter(
            "gateway_filter_matches",
            "Term policy matches.",
            ("direction", "category", "action"),
            registry=registry,
        )
        self.limited = Counter(
            "gateway_rate_limit_decisions",
            "Decisions of the rate limiter; degraded: taken without the store.",
            ("decision", "degraded"),
            registry=registry,
        )
        self.in_flight = Gauge(
            "gateway_requests_in_flight", "Calls between head and last byte.", registry=registry
        )
        self.in_flight.set(0)

    def meters(self, route: str, model: str, tier: str) -> CallMeters:
        """Bound children; the caller passes only names from closed sets."""
        key = (route, model, tier)
        found = self._meters.get(key)
        if found is None:
            found = self._meters[key] = CallMeters(self, *key)
        return found

    def filter_child(self, direction: str, category: str, action: str) -> Counter:
        """Child of the filter counter; ``category`` is a name from the policy file."""
        return self._child(self.filtered, direction, category, action)

    def limited_child(self, decision: str, degraded: bool) -> Counter:
        """Child of the limiter counter."""
        return self._child(self.limited, decision, "true" if degraded else "false")

    def _child(self, metric: Counter, *labels: str) -> Counter:
        key = (metric, labels)
        found = self._children.get(key)
        if found is None:
            found = self._children[key] = metric.labels(*labels)
        return found

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
