"""The load: closed loops (so many callers, each with one call after the other) or an open loop
(so many calls a second, whatever became of those before).

A closed loop slows down with the server: while that stalls, no call is sent that would have waited,
so its percentiles are those of this many patient callers, not of users who come on their own
(G. Tene's "coordinated omission"). The open loop is for these: its calls are timed from when they
were due, not from when they left.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from gemma_gateway.cli.bench.call import Call, Caller
from gemma_gateway.cli.bench.prompts import Messages

GIVE_UP = 50  # failures in a row, at the least, after which a level makes no sense
LONGEST_QUEUE = 10_000  # open calls at which an open loop stops: the server is hopelessly behind
KEEP_ALIVE = 60.0  # seconds that an idle connection is kept


@dataclass(frozen=True)
class Level:
    """One step of a run. Exactly one of ``concurrency`` and ``rate``, and of ``requests`` and
    ``seconds``, is set.

    Args:
        concurrency: callers of a closed loop.
        rate: calls a second of an open loop, on average; the times between them are random
            (exponential: a Poisson process, as of many users who don't know of each other).
        requests: calls to make.
        seconds: how long calls are begun; those in flight are waited for.
    """

    concurrency: int | None = None
    rate: float | None = None
    requests: int | None = None
    seconds: float | None = None

    @property
    def name(self) -> str:
        """As the report says it."""
        return f"{self.rate:g}/s" if self.rate is not None else str(self.concurrency)


@dataclass
class Run:
    """What came of a level; filled call by call, so that an interrupted one is worth something.

    Args:
        calls: those that have ended.
        began: monotonic seconds of its first call.
        cpu_seconds: CPU time of this process meanwhile.
        given_up: why it was ended early.
        interrupted: calls that were in flight when the user stopped it.
    """

    level: Level
    calls: list[Call] = field(default_factory=list)
    began: float = 0.0
    ended: float = 0.0
    cpu_seconds: float = 0.0
    given_up: str = ""
    interrupted: int = 0
    _bad: int = 0  # failures since the last success

    @property
    def seconds(self) -> float:
        """From the first call to the end of the last."""
        return max(self.ended - self.began, 0.0)

    def add(self, call: Call) -> None:
        """Note a finished call."""
        self.calls.append(call)
        self._bad = 0 if call.ok else self._bad + 1
        limit = max(GIVE_UP, 2 * (self.level.concurrency or 0))
        if self._bad >= limit and not self.given_up:
            self.given_up = f"{self._bad} failures in a row, the last of them {call.outcome}"


@asynccontextmanager
async def connections(timeout: float) -> AsyncIterator[aiohttp.ClientSession]:
    """A session without bounds of its own.

    Args:
        timeout: longest call, seconds.
    """
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE)
    async with aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=10)
    ) as session:
        yield session


async def put(
    caller: Caller,
    run: Run,
    prompts: Iterator[Messages],
    seed: int,
    finished: Callable[[Call], None],
) -> None:
    """Put one level's load on the server; results go into ``run``, also when cancelled.

    Args:
        seed: of the open loop's times.
        finished: told of each call when it has ended.
    """
    callers = run.level.concurrency or min(64, round(run.level.rate or 0) + 1)
    # Connections are made before, so that no call's figures hold a handshake.
    await asyncio.gather(*(caller.models() for _ in range(callers)), return_exceptions=True)
    cpu = time.process_time()
    run.began = run.ended = time.perf_counter()
    loop = _Loop(caller, run, prompts, finished)
    try:
        if run.level.rate is None:
            await loop.closed(run.level.concurrency or 1)
        else:
            await loop.open(run.level.rate, random.Random(seed))  # noqa: S311 - nothing secret
    finally:
        run.interrupted = loop.in_flight
        run.ended = max([c.ended for c in run.calls], default=time.perf_counter())
        run.cpu_seconds = time.process_time() - cpu


class _Loop:
    def __init__(
        self,
        caller: Caller,
        run: Run,
        prompts: Iterator[Messages],
        finished: Callable[[Call], None],
    ) -> None:
        self._caller = caller
        self._run = run
        self._prompts = prompts
        self._finished = finished
        self._begun = 0
        self.in_flight = 0

    def _more(self, due: float) -> bool:
        """Whether a call may begin at ``due``; counts it if so."""
        level, run = self._run.level, self._run
        if run.given_up:
            return False
        if level.requests is not None and self._begun >= level.requests:
            return False
        if level.seconds is not None and due >= run.began + level.seconds:
            return False
        self._begun += 1
        return True

    async def _call(self, due: float | None = None) -> None:
        self.in_flight += 1
        call = await self._caller.call(next(self._prompts), due)
        self.in_flight -= 1
        self._run.add(call)
        self._finished(call)

    async def closed(self, concurrency: int) -> None:
        async def work() -> None:
            while self._more(time.perf_counter()):
                await self._call()

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())

    async def open(self, rate: float, chance: random.Random) -> None:
        due = self._run.began
        async with asyncio.TaskGroup() as group:
            while self._more(due):
                await asyncio.sleep(due - time.perf_counter())
                if self.in_flight >= LONGEST_QUEUE:
                    self._run.given_up = f"{LONGEST_QUEUE} calls were waiting for an answer"
                    break
                group.create_task(self._call(due))
                due += chance.expovariate(rate)
