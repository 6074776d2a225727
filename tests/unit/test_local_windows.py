"""Windows in process against a brute-force reference, on an injected clock."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_gateway.limits.admission import Admission, WindowState
from gemma_gateway.limits.local import LocalWindows
from gemma_gateway.limits.script import entries
from gemma_gateway.settings import Window

KEY = sha256(b"a").hexdigest()

shapes = st.lists(
    st.builds(Window, limit=st.integers(1, 12), seconds=st.integers(1, 20)), min_size=1, max_size=4
)
# quarters of a second: sums are exact, so times do meet the windows' edges
steps = st.lists(st.integers(0, 12), min_size=1, max_size=150)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def reference(times: list[float], now: float, windows: tuple[Window, ...]) -> Admission:
    """The whole truth, by looking at every request that was ever admitted."""

    def inside(window: Window) -> list[float]:
        return [t for t in times if now - window.seconds < t]

    full = [w for w in windows if len(inside(w)) >= w.limit]
    retry = max((inside(w)[-w.limit] + w.seconds - now for w in full), default=0.0)
    if not full:
        times.append(now)
    states = tuple(
        WindowState(
            w.limit,
            w.limit - len(inside(w)),
            inside(w)[0] + w.seconds - now if inside(w) else 0.0,
            w.seconds,
        )
        for w in windows
    )
    return Admission(not full, states, retry, degraded=True)


@given(shapes, steps)
def test_every_decision_is_the_reference_s(shape: list[Window], waits: list[int]) -> None:
    windows, clock, times = tuple(shape), Clock(), []
    local = LocalWindows(clock)
    for wait in waits:
        clock.now += wait / 4
        assert local.admit(KEY, windows) == reference(times, clock.now, windows)
        looked, last_hour = local.look(KEY, windows)
        assert last_hour == len(times)
        expected = reference(list(times), clock.now, windows)
        assert (looked.allowed, looked.retry_after) == (expected.allowed, expected.retry_after)


@settings(deadline=None)  # a busy machine is no fault of the windows
@given(shapes, steps, st.integers(0, 2**32))
def test_what_is_given_back_never_came(shape: list[Window], waits: list[int], seed: int) -> None:
    chance = random.Random(seed)
    windows, clock, times = tuple(shape), Clock(), []
    local = LocalWindows(clock)
    told = [0.0]  # a time of no request
    for wait in waits:
        clock.now += wait / 4
        if chance.random() < 0.4:
            time = chance.choice(told)  # also twice, and long after
            local.give_back(KEY, time)
            local.give_back("somebody else", time)
            if time in times:
                times.remove(time)
        expected = reference(times, clock.now, windows)
        assert local.admit(KEY, windows) == expected
        if expected.allowed:
            told.append(local.newest(KEY))
            assert told[-1] == clock.now


@given(shapes, steps)
def test_no_stretch_of_time_holds_more_than_the_limit(
    shape: list[Window], waits: list[int]
) -> None:
    windows, clock, times = tuple(shape), Clock(), []
    local = LocalWindows(clock)
    for wait in waits:
        clock.now += wait / 4
        if local.admit(KEY, windows).allowed:
            times.append(clock.now)
    for window in windows:
        for start in times:
            assert sum(start <= t < start + window.seconds for t in times) <= window.limit


def test_a_request_leaves_exactly_at_the_window_s_end() -> None:
    clock, windows = Clock(), (Window(limit=1, seconds=10),)
    local = LocalWindows(clock)
    assert local.admit(KEY, windows).allowed
    clock.now += 9.75
    refused = local.admit(KEY, windows)
    assert (refused.allowed, refused.retry_after) == (False, 0.25)
    clock.now += 0.25
    assert local.admit(KEY, windows).allowed


def test_requests_admitted_elsewhere_count() -> None:
    clock, windows = Clock(), (Window(limit=3, seconds=10),)
    local = LocalWindows(clock)
    local.note(KEY, entries(windows))
    local.note(KEY, entries(windows))
    assert local.admit(KEY, windows).allowed
    assert not local.admit(KEY, windows).allowed


def test_a_lower_limit_waits_for_enough_to_leave() -> None:
    clock = Clock()
    local = LocalWindows(clock)
    for _ in range(5):
        local.admit(KEY, (Window(limit=5, seconds=100),))
        clock.now += 1
    refused = local.admit(KEY, (Window(limit=2, seconds=100),))
    assert not refused.allowed
    assert refused.retry_after == 98  # the fourth must leave; the oldest leaves after 95
    assert refused.states[0].reset_seconds == 95
    assert refused.states[0].remaining == 0


def test_memory_is_bounded_by_the_limit() -> None:
    clock, windows = Clock(), (Window(limit=50, seconds=3600),)
    local = LocalWindows(clock)
    for n in range(10_000):
        clock.now += 90
        assert local.admit(KEY, windows).allowed
        kept = len(local._logs[KEY].times)
        assert kept <= 2 * 50 + 16, n


def test_callers_are_bounded_and_the_idle_one_goes_first() -> None:
    windows = (Window(limit=1, seconds=3600),)
    local = LocalWindows(Clock(), max_keys=3)
    for name in "abc":
        assert local.admit(name, windows).allowed
    assert not local.admit("a", windows).allowed  # seen again: b is now the idle one
    local.admit("d", windows)
    assert len(local) == 3
    assert not local.admit("a", windows).allowed
    assert local.admit("b", windows).allowed


def test_looking_makes_no_log() -> None:
    local = LocalWindows(Clock())
    looked, last_hour = local.look(KEY, (Window(limit=1, seconds=10),))
    assert (looked.allowed, looked.states[0].remaining, last_hour, len(local)) == (True, 1, 0, 0)


@pytest.mark.parametrize("limit", [1, 7])
def test_callers_do_not_share(limit: int) -> None:
    windows = (Window(limit=limit, seconds=10),)
    local = LocalWindows(Clock())
    for key in ("a", "b"):
        assert [local.admit(key, windows).allowed for _ in range(limit + 1)] == (
            [True] * limit + [False]
        )
