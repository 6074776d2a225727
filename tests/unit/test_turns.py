"""Turns: so many at a time, and nobody behind all of another's."""

from __future__ import annotations

import asyncio

from gemma_gateway.core.turns import Turns


class Line:
    """Who has had a turn, in order; each keeps it until it is let go."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.begun: list[str] = []
        self.go = asyncio.Event()

    def join(self, name: str) -> asyncio.Task[None]:
        return asyncio.create_task(self._wait(name))

    async def _wait(self, name: str) -> None:
        async with self.turns.turn(name[0]):
            self.begun.append(name)
            await self.go.wait()


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_so_many_work_at_a_time_and_one_of_each_caller() -> None:
    line = Line(Turns(2))
    tasks = [line.join(name) for name in ("a1", "a2", "a3", "b1", "c1")]
    await settled()
    assert line.begun == ["a1", "b1"]
    assert line.turns.callers == 3
    line.go.set()
    await asyncio.gather(*tasks)
    assert line.begun[2:4] == ["c1", "a2"]  # c was in the queue before a could join it again
    del tasks
    assert line.turns.callers == 0


async def test_some_of_each_caller_where_that_is_wanted() -> None:
    line = Line(Turns(8, 3))
    tasks = [line.join(name) for name in ("a1", "a2", "a3", "a4", "b1")]
    await settled()
    assert line.begun == ["a1", "a2", "a3", "b1"]
    line.go.set()
    await asyncio.gather(*tasks)


async def test_who_leaves_the_queue_holds_nobody_up() -> None:
    line = Line(Turns(1))
    first, second, third = (line.join(name) for name in ("a1", "b1", "c1"))
    await settled()
    second.cancel()
    line.go.set()
    await asyncio.wait([first, second, third])
    assert line.begun == ["a1", "c1"]
