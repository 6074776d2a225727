"""Windows in process where a request counts as several: against a model that only has the rule."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_gateway.limits.local import LocalWindows
from gemma_gateway.limits.script import Calls, entries
from gemma_gateway.settings import Window
from tests.unit.test_local_windows import KEY, Clock, shapes, steps


class Kept(NamedTuple):
    """What counts in the model."""

    time: float
    count: int


def inside(kept: list[Kept], now: float, window: Window) -> int:
    return sum(each.count for each in kept if now - window.seconds < each.time)


def fits(kept: list[Kept], now: float, windows: tuple[Window, ...], count: int) -> bool:
    return all(inside(kept, now, window) + count <= window.limit for window in windows)


def wait(kept: list[Kept], now: float, windows: tuple[Window, ...], count: int) -> float:
    """Until the first moment at which so many fit: something leaves then."""
    moments = [each.time + window.seconds for each in kept for window in windows]
    return min(m for m in (now, *moments) if m >= now and fits(kept, m, windows, count)) - now


@settings(deadline=None)  # a busy machine is no fault of the windows
@given(shapes, steps, st.integers(0, 2**32))
def test_decisions_waits_and_returns_are_the_model_s(
    shape: list[Window], waits: list[int], seed: int
) -> None:
    chance = random.Random(seed)
    windows, clock, kept = tuple(shape), Clock(), list[Kept]()
    least, told, local = min(w.limit for w in windows), [Kept(0.0, 1)], LocalWindows(clock)
    for step in waits:
        clock.now += step / 4
        if chance.random() < 0.4:
            gone = chance.choice(told)  # also twice, and long after
            local.give_back(KEY, gone.time, gone.count)
            if gone in kept:
                kept.remove(gone)
        count = chance.randint(1, least)
        expected = wait(kept, clock.now, windows, count)
        if chance.random() < 0.2 and not expected:  # the store admitted it
            local.note(KEY, entries(windows), count)
        else:
            found = local.admit(KEY, windows, count)
            assert (found.allowed, found.retry_after) == (not expected, expected)
        if not expected:
            clock.now += 1 / 8  # times are told apart here: the same one counts together
            kept.append(Kept(clock.now - 1 / 8, count))
            told.append(kept[-1])
        states = local.look(KEY, windows)[0].states
        assert [s.remaining for s in states] == [
            w.limit - inside(kept, clock.now, w) for w in windows
        ]


@pytest.mark.parametrize("count", [-1, 0, 3])
def test_what_never_fits_is_no_question(count: int) -> None:
    calls = Calls.make("p", KEY, (Window(limit=9, seconds=9), Window(limit=2, seconds=1)))
    with pytest.raises(ValueError, match="never fit"):
        calls.admit_as(count)
