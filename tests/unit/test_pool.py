"""Choice, ejection and return, on a clock that the test turns."""

from __future__ import annotations

from collections import Counter

import pytest

from gemma_gateway.engines.upstream.pool import MOST_LEARNED, Pool, Upstream

URLS = tuple(f"http://10.0.0.{i}:8000/v1" for i in range(1, 5))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pool(clock: Clock) -> Pool:
    return Pool(URLS, eject_after=3, eject_seconds=5, clock=clock)


def eject(pool: Pool, upstream: Upstream, *, unreachable: bool = False) -> None:
    for _ in range(3):
        pool.failed(upstream, unreachable=unreachable)


def take(pool: Pool, **kwargs: object) -> Upstream:
    upstream = pool.take(**kwargs)  # type: ignore[arg-type]
    assert upstream is not None
    return upstream


def test_base_url_and_root() -> None:
    (upstream,) = Pool(["https://host/prefix/v1/", "https://host/prefix/v1"]).upstreams
    assert (upstream.url, upstream.root) == ("https://host/prefix/v1", "https://host/prefix")


def test_least_outstanding_wins(pool: Pool) -> None:
    taken = [take(pool) for _ in range(8)]
    assert set(Counter(u.url for u in taken).values()) == {2}
    pool.release(taken[5])
    assert take(pool) is taken[5]


def test_idle_equals_take_turns(pool: Pool) -> None:
    seen = Counter()
    for _ in range(40):
        upstream = take(pool)
        seen[upstream.url] += 1
        pool.release(upstream)
    assert set(seen.values()) == {10}


def test_affinity_is_stable_spreads_and_agrees_between_processes(pool: Pool) -> None:
    other = Pool(tuple(reversed(URLS)))
    seen = Counter()
    for n in range(200):
        urls = set()
        for p in (pool, pool, other):
            upstream = take(p, affinity=f"prefix {n}")
            p.release(upstream)
            urls.add(upstream.url)
        assert len(urls) == 1
        seen.update(urls)
    assert set(seen) == set(URLS)
    assert min(seen.values()) > 25


def test_affinity_yields_to_load(pool: Pool) -> None:
    home = take(pool, affinity="x")
    taken = [home] + [take(pool, affinity="x") for _ in range(2)]
    assert {u.url for u in taken} == {home.url}
    assert take(pool, affinity="x") is not home
    for upstream in taken:
        pool.release(upstream)
    assert take(pool, affinity="x") is home


def test_affinity_keeps_its_order_when_a_server_is_away(pool: Pool) -> None:
    before = {}
    for n in range(100):
        before[n] = take(pool, affinity=str(n))
        pool.release(before[n])
    gone = pool.upstreams[0]
    eject(pool, gone)
    for n, upstream in before.items():
        now = take(pool, affinity=str(n))
        pool.release(now)
        assert now is upstream or upstream is gone


def test_model_routing(pool: Pool) -> None:
    a, b, c, d = pool.upstreams
    for upstream, names in ((a, ("small",)), (b, ("small", "big")), (c, ("big",))):
        pool.check_passed(upstream, names)
    assert {take(pool, model="big") for _ in range(9)} == {b, c, d}  # d doesn't tell
    pool.check_passed(d, ())
    assert pool.take(model="other") is None
    assert pool.take(model="") is not None
    assert pool.models() == ("small", "big")


def test_skip(pool: Pool) -> None:
    assert pool.take(skip=pool.upstreams) is None
    assert take(pool, skip=pool.upstreams[1:]) is pool.upstreams[0]


def test_ejection_needs_failures_in_a_row(pool: Pool) -> None:
    upstream = pool.upstreams[0]
    for _ in range(5):
        pool.failed(upstream)
        pool.failed(upstream)
        pool.completed(upstream)
    assert not upstream.state().ejected
    eject(pool, upstream)
    assert upstream.state().ejected
    assert upstream not in {take(pool) for _ in range(12)}


def test_half_open_lets_one_call_try(pool: Pool, clock: Clock) -> None:
    for upstream in pool.upstreams:
        eject(pool, upstream, unreachable=True)
    assert pool.take() is None
    clock.now += 5
    trials = [pool.take() for _ in range(5)]
    assert {t for t in trials if t} == set(pool.upstreams)
    assert trials[4] is None
    good, bad = pool.upstreams[:2]
    pool.answered(good)
    pool.failed(bad)
    assert (good.state().ejected, bad.state().ejected) == (False, True)
    assert take(pool) is good
    clock.now += 4.9
    assert take(pool) is good
    clock.now += 0.1
    assert take(pool) is not good  # the others may be tried again


def test_a_returned_upstream_is_on_probation(pool: Pool, clock: Clock) -> None:
    upstream = pool.upstreams[0]
    eject(pool, upstream)
    clock.now += 5
    pool.answered(upstream)
    pool.failed(upstream)
    assert upstream.state().ejected
    clock.now += 5
    pool.answered(upstream)
    pool.completed(upstream)
    pool.failed(upstream)
    assert not upstream.state().ejected


def test_streams_that_always_die_eject(pool: Pool) -> None:
    upstream = pool.upstreams[0]
    for _ in range(3):
        pool.answered(upstream)
        pool.failed(upstream)
    assert upstream.state().ejected


def test_check_success_returns_the_unreachable_at_once(pool: Pool) -> None:
    upstream = pool.upstreams[0]
    eject(pool, upstream, unreachable=True)
    pool.check_passed(upstream, ("m",))
    state = upstream.state()
    assert (state.ejected, state.models) == (False, ("m",))
    assert (state.failures, state.ejections) == (2, 1)


def test_check_success_does_not_hide_failing_calls(pool: Pool, clock: Clock) -> None:
    upstream = pool.upstreams[0]
    for _ in range(3):
        pool.failed(upstream)
        pool.check_passed(upstream, None)
    assert upstream.state().ejected  # its model list answers, its calls don't
    clock.now += 4.9
    pool.check_passed(upstream, None)
    assert upstream.state().ejected
    clock.now += 0.1
    pool.check_passed(upstream, None)
    assert not upstream.state().ejected


def test_failed_checks_eject(pool: Pool) -> None:
    first, second = pool.upstreams[:2]
    pool.check_failed(first, at_once=True)
    assert first.state().ejected
    pool.check_failed(second)
    pool.check_failed(second)
    pool.completed(second)
    assert not second.state().ejected
    pool.check_failed(second)
    assert second.state().ejected
    pool.answered(second)  # a call taken before got its answer: it lives
    assert not second.state().ejected


def test_ejections_are_counted_once_each(pool: Pool, clock: Clock) -> None:
    upstream = pool.upstreams[0]
    assert upstream.state().ejections == 0
    eject(pool, upstream)
    clock.now += 6
    pool.failed(upstream)  # the trial fails: it never came back
    assert upstream.state().ejections == 1
    clock.now += 6
    pool.answered(upstream)
    pool.failed(upstream)  # on probation
    assert upstream.state().ejections == 2
    assert [u.ejections for u in pool.states()] == [2, 0, 0, 0]


def test_the_least_bad_is_tried_when_calls_have_ejected_all(pool: Pool) -> None:
    for number, upstream in enumerate(pool.upstreams):
        for _ in range(3 + number):
            pool.failed(upstream)
    first, second, *others = pool.upstreams
    assert all(state.ejected and state.reachable for state in pool.states())
    assert pool.take() is first
    assert pool.take(skip=[first]) is second
    pool.check_failed(first)
    assert not pool.states()[0].reachable
    assert pool.take() is second
    for upstream in (second, *others):
        pool.check_failed(upstream)
    assert pool.take() is None


def test_an_ejected_one_is_not_tried_beside_one_that_is_well(pool: Pool) -> None:
    *bad, good = pool.upstreams
    for upstream in bad:
        eject(pool, upstream)
    assert pool.take() is good
    assert pool.take(skip=[good]) is None


def test_names_that_a_server_answered_for_are_bounded() -> None:
    pool = Pool(["http://a/v1"])
    (only,) = pool.upstreams
    for number in range(2 * MOST_LEARNED):
        pool.learn(only, f"model-{number}")
    assert len(only.learned) == MOST_LEARNED
    assert pool.known("model-0")
    assert not pool.known("invention")


def test_tries_and_those_that_failed_are_counted() -> None:
    """For ever, unlike the failures in a row; a call's own error (500) ejects nobody."""
    only = Pool(URLS[:1], eject_after=3)
    (upstream,) = only.upstreams
    for _ in range(5):
        only.answered(take(only), error=True)
        only.completed(upstream)
    only.failed(take(only))
    only.answered(take(only))
    state = upstream.state()
    assert (state.tries, state.errors, state.ejected) == (7, 6, False)
