"""Hostile requests over every route: no hang, no 5xx but a stated 503, errors in shape.

FUZZ_CASES sets their number (10,000 in the long run), FUZZ_SEED repeats a run.
"""

from __future__ import annotations

import os

from tests.fuzz.requests import hostile
from tests.fuzz.storm import Storm
from tests.fuzz.target import fire_all, well
from tests.fuzz.watch import MB, Watch
from tests.process import Gateway

CASES = int(os.environ.get("FUZZ_CASES", "1500"))
CONTAINER = 512 * MB  # what docs/containers.md and the chart give a gateway


def test_hostile_requests(gateway: Gateway) -> None:
    fire_all(gateway, hostile, CASES, 60)


def test_large_wide_and_raw_requests_beside_another_caller(gateway: Gateway) -> None:
    """Bodies up to the size limit, large and broken answers, and odd bytes, all at once."""
    storm = Storm(gateway, CASES // 15)
    with Watch(gateway) as watch:
        storm.start()
        storm.join()
    print(watch.say(), storm.statuses)
    assert not watch.bystander.broken
    assert watch.bystander.streams
    assert watch.peak < CONTAINER
    well(gateway)
