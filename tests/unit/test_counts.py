"""Counters and histograms beside prometheus_client's own: told the same, in the same words."""

from __future__ import annotations

import prometheus_client as own
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from gemma_gateway.telemetry.counts import Counters, Histograms

BOUNDS = (0, 0.005, 0.25, 1, 2.5, 600)
LABELS = ("route", "model")
WHO = st.tuples(st.sampled_from(["/v1/messages", "/tokenize"]), st.sampled_from(["gemma", 'a"b\n']))
# Sums of these are exact, in any order.
AMOUNTS = st.integers(0, 4000).map(lambda number: number / 4)
AT_A_BOUND = st.sampled_from(BOUNDS)


def told(registry: CollectorRegistry) -> list[str]:
    """The exposition, less when each series was made."""
    lines = generate_latest(registry).decode().splitlines()
    return sorted(line for line in lines if "_created" not in line)


@given(st.lists(st.tuples(WHO, AMOUNTS)))
def test_counters_tell_what_prometheus_clients_do(
    added: list[tuple[tuple[str, str], float]],
) -> None:
    here, there = CollectorRegistry(), CollectorRegistry()
    ours = Counters("calls", "Finished calls.", LABELS, registry=here)
    theirs = own.Counter("calls", "Finished calls.", LABELS, registry=there)
    for who, amount in added:
        ours.labels(*who).inc(amount)
        theirs.labels(*who).inc(amount)
    assert told(here) == told(there)


@given(st.lists(st.tuples(WHO, AMOUNTS | AT_A_BOUND)))
def test_histograms_tell_what_prometheus_clients_do(
    seen: list[tuple[tuple[str, str], float]],
) -> None:
    here, there = CollectorRegistry(), CollectorRegistry()
    ours = Histograms("duration_seconds", "Of a call.", LABELS, buckets=BOUNDS, registry=here)
    theirs = own.Histogram("duration_seconds", "Of a call.", LABELS, buckets=BOUNDS, registry=there)
    for who, value in seen:
        ours.labels(*who).observe(value)
        theirs.labels(*who).observe(value)
    assert told(here) == told(there)


def test_without_labels_there_is_one() -> None:
    registry = CollectorRegistry()
    lag = Histograms("lag_seconds", "Of the loop.", (), buckets=(1,), registry=registry).labels()
    assert 'lag_seconds_bucket{le="+Inf"} 0.0' in told(registry)
    lag.observe(2)
    assert 'lag_seconds_bucket{le="1.0"} 0.0' in told(registry)
    assert "lag_seconds_sum 2.0" in told(registry)
