"""CPU of the gateway's HTTP client for one upstream call, beside aiohttp's, in one process."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
from collections.abc import Awaitable, Callable

import aiohttp
import uvloop
from tests.process import free_port

from benchmarks import processes, wire
from gemma_gateway.core.engine import EngineRequest
from gemma_gateway.engines.upstream.engine import UpstreamEngine

PATH = "/v1/chat/completions"
TOKENS = 256
Client = Callable[[str, bytes, int, int], Awaitable[None]]


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


def cpu_seconds(client: Client, origin: str, body: bytes, calls: int, at_once: int) -> float:
    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    before = used()
    uvloop.run(client(origin, body, calls, at_once))  # type: ignore[arg-type]
    return used() - before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    os.sched_setaffinity(0, {0})
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "benchmarks.upstream", "--port", str(port)]
    kinds = {"JSON call": (False, 6400, 1), "streamed token": (True, 640, TOKENS)}
    with processes.running(command, 1) as process:
        processes.wait_for(f"{origin}/v1/models", process, 10)
        for name, (stream, calls, units) in kinds.items():
            request = wire.request(port, "key", stream=stream, tokens=TOKENS)
            body = request.partition(b"\r\n\r\n")[2]
            rows: dict[str, list[float]] = {"aiohttp": [], "engine": []}
            for _ in range(options.repeats):
                for client, of in ((with_aiohttp, "aiohttp"), (with_engine, "engine")):
                    used = cpu_seconds(client, origin, body, calls, options.connections)
                    rows[of].append(round(used / calls / units * 1e6, 2))
            print(name, json.dumps(rows), "us")
    return 0


if __name__ == "__main__":
    sys.exit(main())
