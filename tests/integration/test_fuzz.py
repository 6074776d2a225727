"""Hostile requests over every route: no hang, no 5xx but a stated 503, errors in shape.

FUZZ_CASES sets their number (10,000 in the long run).
"""

from __future__ import annotations

import os

from tests.fuzz import fire_all, hostile
from tests.process import Gateway

CASES = int(os.environ.get("FUZZ_CASES", "1500"))


def test_hostile_requests(gateway: Gateway) -> None:
    fire_all(gateway, hostile, CASES, 10)
    assert ' failed"' not in gateway.text()  # an exception that nobody had foreseen
