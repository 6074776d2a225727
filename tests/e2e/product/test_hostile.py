"""Hostile requests that reach the real engine. FUZZ_CASES sets their number."""

from __future__ import annotations

import os

from tests.fuzz.requests import changed_bodies
from tests.fuzz.target import fire_all
from tests.process import Gateway

CASES = int(os.environ.get("FUZZ_CASES", "250"))


def test_hostile_bodies_in_front_of_vllm(real: Gateway) -> None:
    fire_all(real, changed_bodies(), CASES, 120)
