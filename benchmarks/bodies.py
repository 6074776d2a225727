"""The hardest bodies and answers there are: what the gateway takes for them, in memory and time.

``python -m benchmarks.bodies`` prints a table: size, peak memory in the interpreter (and how many
times the size that is), processor time, and the longest time in which the event loop did not come
to its turn while the body was read. Some three minutes; the times mean something on a quiet machine
only.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial

import orjson
from tests.bodies import MIB, answers, bodies
from tests.road import read

from gemma_gateway.core.call import Call
from gemma_gateway.core.errors import GatewayError
from gemma_gateway.core.heavy import INLINE_BYTES, Heavy
from gemma_gateway.pipeline.delivery import judged
from gemma_gateway.safety import input as incoming
from gemma_gateway.safety.policy import Policy
from gemma_gateway.settings import Tier
from gemma_gateway.wire.openai.chat import Chat

TICK = 0.001  # seconds
Work = Callable[[], str]


def take(policy: Policy, raw: bytes) -> str:
    """Read and judge a body; what became of it."""
    try:
        request = read(raw, Chat(), Tier(), 64, frozenset())
        incoming.check(policy, request.messages)
        orjson.dumps(request.body)
    except GatewayError as error:
        return f"{error.code.name}: {error.message}"
    return "ok"


def give(policy: Policy, raw: bytes) -> str:
    """Judge an answer."""
    verdict, _ = judged(policy, Call("", Chat()), raw)
    return "changed" if verdict.changed else "ok"


def peak(work: Work) -> int:
    """Bytes that the work holds at most."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def block(size: int, work: Work) -> float:
    """Seconds in which the loop did not come to its turn, at most, while the work was done."""
    heavy, longest = Heavy(), 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(TICK)
            longest = max(longest, time.perf_counter() - before - TICK)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(3 * TICK)
    longest = 0.0
    if size <= INLINE_BYTES:
        work()
    else:
        await heavy.run("caller", work)
    await asyncio.sleep(3 * TICK)
    ticking.cancel()
    return longest


def row(name: str, size: int, work: Work) -> str:
    """One line of the table."""
    begun = time.process_time()
    outcome = work()
    seconds = time.process_time() - begun
    longest = min(asyncio.run(block(size, work)) for _ in range(3))
    held = peak(work)
    return (
        f"| {name} | {size / 1000:,.0f} | {held / MIB:.1f} | {held / size:.1f} | "
        f"{seconds * 1000:.0f} | {longest * 1000:.0f} | {outcome[:60]} |"
    )


def main() -> int:
    policy = Policy.load()
    print("| body | kB | peak MiB | times | CPU ms | loop ms | outcome |")
    print("|---|--:|--:|--:|--:|--:|---|")
    for size in (2 * MIB, 16 * 1024):
        for name, raw in bodies(size).items():
            print(row(name, len(raw), partial(take, policy, raw)), flush=True)
    for size in (10 * MIB, 63 * MIB):
        for name, raw in answers(size).items():
            print(row(f"answer: {name}", len(raw), partial(give, policy, raw)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
