"""Hostile requests over every route: no hang, no 5xx but a stated 503, errors in shape.

FUZZ_CASES sets their number (10,000 in the long run), FUZZ_SEED repeats a run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.fuzz.requests import hostile
from tests.fuzz.storm import Storm
from tests.fuzz.target import fire_all, well
from tests.fuzz.watch import MB, MODEL, Watch
from tests.process import Engine, Gateway

CASES = int(os.environ.get("FUZZ_CASES", "1500"))
CONTAINER = 512 * MB  # what docs/containers.md and the chart give a gateway


@pytest.fixture(scope="module")
def fired(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[Gateway]:
    """A gateway that waits for a slow engine, with another engine for another caller."""
    folder = tmp_path_factory.mktemp("fired")
    with (
        Engine(folder, 0, "--models", MODEL) as other,
        Gateway(
            folder, upstreams=f"{engine.url}/v1,{other.url}/v1", eject_after=1_000_000
        ) as process,
    ):
        yield process


def test_hostile_requests(gateway: Gateway) -> None:
    fire_all(gateway, hostile, CASES, 60)


def test_large_wide_and_raw_requests_beside_another_caller(fired: Gateway) -> None:
    """Bodies up to the size limit, large and broken answers, and odd bytes, all at once."""
    storm = Storm(fired, CASES // 15)
    with Watch(fired) as watch:
        storm.start()
        storm.join()
    print(watch.say(), storm.statuses)
    assert not watch.bystander.broken, watch.bystander.broken
    assert watch.bystander.streams
    assert watch.peak < CONTAINER
    well(fired)
