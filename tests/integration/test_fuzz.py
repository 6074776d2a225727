"""Hostile requests over every route: no hang, no 5xx but a stated 503, errors in shape.

FUZZ_CASES sets their number (10,000 in the long run).
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, given, settings

from tests.fuzz import Hostile, Target, hostile
from tests.process import Gateway

CASES = int(os.environ.get("FUZZ_CASES", "1500"))


def test_hostile_requests(gateway: Gateway) -> None:
    target = Target("127.0.0.1", gateway.port, 10)

    @settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(hostile)
    def fire(request: Hostile) -> None:
        target.fire(request)

    fire()
    print(f"{sum(target.statuses.values())} requests: {dict(sorted(target.statuses.items()))}")
    assert gateway.is_ready()
    assert ' failed"' not in gateway.text()  # an exception that nobody had foreseen
    assert "INTERNAL_ERROR" not in gateway.text()
