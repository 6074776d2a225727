"""Hostile requests that reach the real engine. FUZZ_CASES sets their number."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, given, settings

from tests.fuzz import Hostile, Target, changed_bodies
from tests.process import Gateway

CASES = int(os.environ.get("FUZZ_CASES", "400"))


def test_hostile_bodies_in_front_of_vllm(real: Gateway) -> None:
    target = Target("127.0.0.1", real.port, 30)

    @settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(changed_bodies())
    def fire(request: Hostile) -> None:
        target.fire(request)

    fire()
    print(f"{sum(target.statuses.values())} requests: {dict(sorted(target.statuses.items()))}")
    assert real.is_ready()
    assert "INTERNAL_ERROR" not in real.text()
