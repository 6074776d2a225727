"""Work beside the event loop: where it runs, in which order, and how it is cancelled."""

from __future__ import annotations

import asyncio
import gc
import threading
from functools import partial

import pytest

from gemma_gateway.core.heavy import Heavy


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_work_leaves_the_loop_free() -> None:
    heavy, here = Heavy(), threading.get_ident()
    assert await heavy.run("a", threading.get_ident) != here
    go = threading.Event()

    def work() -> str:
        return "done" if go.wait(30) else "the loop stood still"

    asyncio.get_running_loop().call_soon(go.set)
    assert await heavy.run("a", work) == "done"


async def test_what_work_raises_is_raised() -> None:
    heavy = Heavy()
    with pytest.raises(ZeroDivisionError):
        await heavy.run("a", lambda: 1 / 0)
    assert await heavy.run("a", lambda: 7) == 7


async def test_one_after_the_other_in_order() -> None:
    heavy, go = Heavy(), threading.Event()
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        go.wait(30)
        return number

    tasks = [asyncio.create_task(heavy.run("a", partial(work, n))) for n in range(3)]
    while not begun:
        await asyncio.sleep(0)
    await turns(10)
    assert begun == [0]
    go.set()
    assert await asyncio.gather(*tasks) == [0, 1, 2]
    assert begun == [0, 1, 2]


async def test_callers_take_turns_whoever_has_however_many() -> None:
    heavy, go = Heavy(), threading.Event()
    begun: list[str] = []

    def work(name: str) -> None:
        begun.append(name)
        go.wait(30)

    names = ["a1", "a2", "a3", "b1", "b2", "c1"]
    tasks = [asyncio.create_task(heavy.run(n[0], partial(work, n))) for n in names]
    while not begun:
        await asyncio.sleep(0)
    go.set()
    await asyncio.gather(*tasks)
    assert begun == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert not heavy._turns.callers


async def test_cancelled_while_it_waits() -> None:
    heavy, go = Heavy(), threading.Event()
    begun: list[str] = []
    first = asyncio.create_task(heavy.run("a", partial(go.wait, 30)))
    await turns(3)
    second = asyncio.create_task(heavy.run("a", partial(begun.append, "second")))
    await turns(3)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    go.set()
    assert await first
    await heavy.run("a", partial(begun.append, "third"))
    assert begun == ["third"]


async def test_cancelled_while_it_runs_ends_with_the_work() -> None:
    heavy, go = Heavy(), threading.Event()
    done: list[str] = []

    def work() -> None:
        go.wait(30)
        done.append("work")
        raise ValueError("nobody hears this")

    task = asyncio.create_task(heavy.run("a", work))
    await turns(3)
    for _ in range(3):  # however often
        task.cancel()
        await turns(3)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["work"]
    assert await heavy.run("a", lambda: "and on it goes") == "and on it goes"


async def test_the_collector_rests_meanwhile() -> None:
    heavy = Heavy()
    assert gc.isenabled()
    assert not await heavy.run("a", gc.isenabled)
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        await heavy.run("a", lambda: 1 / 0)
    assert gc.isenabled()
