"""Work in the background: again and again, woken, stopped and finished."""

from __future__ import annotations

import asyncio

import pytest

from gemma_gateway.core.periodic import Periodic

LONG = 3600.0  # seconds: a pause that ends only by being woken


class Work:
    """Counts its runs; each one ends once it may."""

    def __init__(self) -> None:
        self.begun = self.ended = 0
        self.free = asyncio.Event()
        self.free.set()

    async def __call__(self) -> None:
        self.begun += 1
        await self.free.wait()
        self.ended += 1


async def reached(work: Work, begun: int) -> None:
    async with asyncio.timeout(30):
        while work.begun < begun:
            await asyncio.sleep(0.001)


async def test_it_runs_again_and_again() -> None:
    work = Work()
    periodic = Periodic(work, 0.001, "it failed")
    await periodic.start()
    await reached(work, 5)
    await periodic.stop()
    await periodic.stop()
    count = work.begun
    await asyncio.sleep(0.02)
    assert work.begun == count
    await periodic.start()  # and once more
    await reached(work, count + 2)
    await periodic.stop()


async def test_the_pause_is_asked_for_before_each_run() -> None:
    pauses = iter([0.001, 0.002, LONG])
    asked: list[float] = []

    def pause() -> float:
        asked.append(next(pauses))
        return asked[-1]

    work = Work()
    periodic = Periodic(work, pause, "it failed")
    await periodic.start()
    async with asyncio.timeout(30):
        while len(asked) < 3:
            await asyncio.sleep(0.001)
    await periodic.stop()
    assert (work.ended, asked) == (2, [0.001, 0.002, LONG])


async def test_a_run_that_fails_is_logged_and_is_not_the_last(
    caplog: pytest.LogCaptureFixture,
) -> None:
    runs = 0
    third = asyncio.Event()

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            third.set()
        raise ValueError("never mind")

    periodic = Periodic(work, 0.001, "it failed")
    await periodic.start()
    await asyncio.wait_for(third.wait(), 30)
    await periodic.stop()
    assert [record.message for record in caplog.records[:2]] == ["it failed"] * 2


async def test_who_is_woken_runs_at_once_also_after_the_present_run() -> None:
    work = Work()
    periodic = Periodic(work, LONG, "it failed")
    await periodic.start()
    periodic.wake()
    await reached(work, 1)
    work.free.clear()
    periodic.wake()
    await reached(work, 2)
    periodic.wake()  # in the middle of a run
    work.free.set()
    await reached(work, 3)
    await periodic.stop()


async def test_stopping_ends_a_run_and_finishing_waits_for_it() -> None:
    work = Work()
    periodic = Periodic(work, LONG, "it failed")
    await periodic.start()
    work.free.clear()
    periodic.wake()
    await reached(work, 1)
    await periodic.stop()
    assert (work.begun, work.ended) == (1, 0)
    await periodic.start()
    periodic.wake()
    await reached(work, 2)
    finishing = asyncio.create_task(periodic.finish())
    await asyncio.sleep(0.01)
    assert not finishing.done()
    work.free.set()
    await finishing
    assert (work.begun, work.ended) == (2, 1)
    await periodic.finish()


async def test_finishing_in_a_pause_runs_once_more() -> None:
    work = Work()
    periodic = Periodic(work, LONG, "it failed")
    await periodic.start()
    await asyncio.sleep(0.01)
    await periodic.finish()
    assert (work.begun, work.ended) == (1, 1)
