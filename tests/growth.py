"""How work grows with its size, told by a ratio: no clock of a busy machine decides."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable

TIMES = 16
MOST = 4 * TIMES  # squared it would be TIMES * TIMES
ROUNDS = 5


def is_linear(work: Callable[[int], object], size: int) -> bool:
    """Whether ``TIMES`` the size takes about as many times the work.

    Args:
        work: does it for a size.
        size: the smaller one; it should take a millisecond or so.
    """
    small = large = math.inf  # the least of all rounds: what else the machine does only adds
    for _ in range(ROUNDS):
        large = min(large, _cost(work, TIMES * size))
        small = min(small, _cost(work, size))
        if large < MOST * small:
            return True
    return False


def _cost(work: Callable[[int], object], size: int) -> float:
    """Seconds of this thread's CPU, the least of three; without the garbage collector, as in
    ``core.heavy``: how long it takes depends on all else that the process holds."""
    found = []
    collects = gc.isenabled()
    gc.disable()
    try:
        for _ in range(3):
            start = time.thread_time()
            work(size)
            found.append(time.thread_time() - start)
    finally:
        if collects:
            gc.enable()
    return min(found)
