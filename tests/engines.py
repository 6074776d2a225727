"""An engine over servers of the tests, and calls to it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from gemma_gateway.core.engine import EngineRequest
from gemma_gateway.engines.upstream.engine import UpstreamEngine

MODEL = "gemma-3-270m"


def request(
    stream: bool = True, path: str = "/v1/chat/completions", **script: Any
) -> EngineRequest:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "echo: one two three four five"}],
        "stream": stream,
        "loopback": script,
    }
    return EngineRequest("req-1", path, json.dumps(body).encode(), MODEL, stream)


@contextlib.asynccontextmanager
async def engine_over(*urls: str, **options: Any) -> AsyncIterator[UpstreamEngine]:
    """An engine over these servers. A check is given up after as long as lies between two of them,
    and the first one that fails ejects a server at once: where checks must come soon, wait for one
    that has passed."""
    options = {"health_interval": 2, "eject_seconds": 0.5, **options}
    engine = UpstreamEngine(urls, **options)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def read(engine: UpstreamEngine, call: EngineRequest) -> tuple[int, bytes]:
    reply = await engine.send(call)
    return reply.status, b"".join([part async for part in reply.chunks()])
