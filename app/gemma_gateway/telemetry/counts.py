"""Counters and histograms that every call adds to, with children by label.

They are used as prometheus_client's are, whose registry collects them. That package's own take a
lock and four calls for each addition, and a call makes eight: more than the content policy costs.
Calls end in the event loop's thread alone, so here an addition is one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

Child = TypeVar("Child")


class Counter:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Add to it."""
        self.value += amount


class Histogram:
    """Values by bucket.

    Args:
        bounds: the largest value of each bucket, ascending; above the last one there is another.
    """

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class _Family(Collector, Generic[Child]):
    """Children of one metric.

    Args:
        name: of the metric, without the endings that Prometheus gives its series.
        text: its description.
        labels: their names.
        child: makes one.
        registry: collects it.
    """

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        child: Callable[[], Child],
        registry: CollectorRegistry,
    ) -> None:
        self._described = name, text, labels
        self._child = child
        self._children: dict[tuple[str, ...], Child] = {}
        registry.register(self)

    def labels(self, *values: str) -> Child:
        """The child with these values, which come from closed sets only."""
        found = self._children.get(values)
        if found is None:
            found = self._children[values] = self._child()
        return found


class Counters(_Family[Counter]):
    """A counter for each set of labels; for the arguments see ``_Family``."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str], *, registry: CollectorRegistry
    ) -> None:
        super().__init__(name, text, labels, Counter, registry)

    def collect(self) -> Iterator[Metric]:
        """See ``Collector``."""
        name, text, labels = self._described
        family = CounterMetricFamily(name, text, labels=labels)
        for values, counter in list(self._children.items()):
            family.add_metric(values, counter.value)
        yield family


class Histograms(_Family[Histogram]):
    """A histogram for each set of labels; for the arguments see ``_Family`` and ``Histogram``."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        super().__init__(name, text, labels, lambda: Histogram(buckets), registry)
        self._names = [*map(floatToGoString, buckets), "+Inf"]

    def collect(self) -> Iterator[Metric]:
        """See ``Collector``."""
        name, text, labels = self._described
        family = HistogramMetricFamily(name, text, labels=labels)
        for values, histogram in list(self._children.items()):
            sums = accumulate(histogram.counts)
            family.add_metric(values, list(zip(self._names, sums, strict=True)), histogram.total)
        yield family
