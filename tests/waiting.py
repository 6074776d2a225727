"""Waiting for states, never for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

PATIENCE = 120  # seconds until a state has to be there


async def until(
    true: Callable[[], bool] | Callable[[], object],
    what: str = "what the test waits for",
    within: float | None = None,
) -> None:
    """Wait for a state, ``PATIENCE`` seconds unless told. ``true`` may be a coroutine function."""
    end = time.monotonic() + (PATIENCE if within is None else within)
    while time.monotonic() < end:
        found = true()
        if await found if asyncio.iscoroutine(found) else found:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"never: {what}")


async def eventually(true: Callable[[], bool], within: float = PATIENCE) -> float:
    """Seconds until it was so."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within, "not so in time"
        await asyncio.sleep(0.002)
    return time.monotonic() - began
