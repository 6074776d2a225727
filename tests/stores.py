"""What a limiter decides while its store comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
import time

import aiohttp

from gemma_gateway.core.call import Principal
from gemma_gateway.core.errors import GatewayError
from gemma_gateway.limits.admission import Admission
from gemma_gateway.limits.limiter import Limiter
from gemma_gateway.limits.script import SCRIPT
from gemma_gateway.storage.connection import Prepared, Script, StoreError, prepare
from gemma_gateway.storage.redis import Store
from tests.process import Gateway
from tests.waiting import PATIENCE

TIMEOUT = 0.5  # seconds; a gateway's is 0.05, on a machine that isn't busy with other tests
TICK = 0.01
RIGGED = Script(SCRIPT.text.replace("redis.call('TIME')", "{KEYS[2]:sub(4), KEYS[3]:sub(4)}"))
MICROS = 10**6


def rigged(key: str, clock: int, shape: list[int]) -> Prepared:
    """The window script with a clock of the test's own, in microseconds: it comes as names of keys,
    behind the hash tag that they share with the log."""
    second, micro = divmod(clock, MICROS)
    return prepare(RIGGED, [key, f"{{x}}{second}", f"{{x}}{micro}"], shape)


async def median_cost(store: Store) -> float:
    """Microseconds of a script call since CONFIG RESETSTAT, by the server's own clock: a median,
    which no pause of the machine touches."""
    stats = (await store.call("INFO", "latencystats")).decode()
    return float(stats.split("latency_percentiles_usec_evalsha:p50=")[1].split(",")[0])


async def answering(store: Store) -> None:
    """Wait until what has time is answered, too: it has a connection of its own."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            await store.call("PING")
        except StoreError:
            assert time.monotonic() < end, "the store does not answer"
            await asyncio.sleep(0.01)
        else:
            return


async def served(limiter: Limiter, key: Principal) -> Admission:
    """Call until the store decides again; what it decided."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(GatewayError):
            answer = await limiter.admit(key)
            if not answer.degraded:
                return answer
        await asyncio.sleep(0.01)
    raise AssertionError("the store does not decide")


async def timed(limiter: Limiter, key: Principal) -> tuple[Admission, float]:
    """Its answer, and the seconds that it took, told by a timer that turns beside it: what the
    machine took from both doesn't count."""
    call = asyncio.ensure_future(limiter.admit(key))
    seconds = 0.0
    while not (await asyncio.wait({call}, timeout=TICK))[0]:
        seconds += TICK
    return call.result(), seconds


async def seen(fleet: list[Gateway], words: str) -> None:
    """Wait until all gateways' metrics say so."""
    end = time.monotonic() + PATIENCE
    async with aiohttp.ClientSession() as session:
        for gateway in fleet:
            while words not in await (await session.get(gateway.url + "/metrics")).text():
                assert time.monotonic() < end, words
                await asyncio.sleep(0.05)
