"""Token buckets, on a clock that the test turns."""

from __future__ import annotations

from gemma_gateway.core.buckets import Buckets


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_and_then_a_rate() -> None:
    clock = Clock()
    buckets = Buckets(3, 0.5, clock=clock)
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 0]
    assert [buckets.take("a") for _ in range(3)] == [2, 2, 2]  # what is refused costs nothing
    assert buckets.take("b") == 0
    clock.now += 2
    assert (buckets.wait("a"), buckets.wait("a")) == (0, 0)  # asking takes nothing
    assert (buckets.take("a"), buckets.take("a")) == (0, 2)
    clock.now += 1000  # never more than a burst
    assert [bool(buckets.take("a")) for _ in range(4)] == [False, False, False, True]


def test_memory_is_bounded_and_the_busy_ones_stay() -> None:
    buckets = Buckets(2, 0.001, most=100, clock=Clock())
    buckets.take("busy")
    for n in range(1000):
        if n % 50 == 0:
            buckets.take("busy")
        buckets.take(str(n))
    assert len(buckets) == 100
    assert buckets.take("busy") > 0
    assert buckets.take("0") == 0  # forgotten
