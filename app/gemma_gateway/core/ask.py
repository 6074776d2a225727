"""The gateway's own questions to an engine (health, judge): no caller's calls, so that nothing of
them is billed, limited or filtered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from os import urandom
from typing import Any, NamedTuple

import orjson

from gemma_gateway.core.engine import Engine, EngineFailed, EngineReply, EngineRequest


class Reply(NamedTuple):
    """What an engine answered.

    Args:
        status: HTTP status.
        body: its bytes.
    """

    status: int
    body: bytes


async def ask(
    engine: Engine,
    purpose: str,
    path: str,
    document: dict[str, Any],
    *,
    timeout: float,
    most_bytes: int,
    write: Callable[[dict[str, Any]], bytes] = orjson.dumps,
) -> Reply:
    """One question, with its whole answer.

    Args:
        purpose: what it is for; the engine's log shows it in the id of the call.
        path: one of the engine's routes.
        document: a request that names its model and asks for no stream.
        timeout: longest wait, seconds.
        most_bytes: largest answer.
        write: makes a body of the document.

    Raises:
        EngineFailed: no engine could take it, it failed on the way, the answer was too large, or
            (``timeout``) the time was up.
    """
    request = EngineRequest(
        id=f"{purpose}-{urandom(8).hex()}",
        path=path,
        body=write(document),
        model=str(document["model"]),
        document=document,
        write=write,
    )
    try:
        async with asyncio.timeout(timeout):
            reply = await engine.send(request)
            try:
                return Reply(reply.status, await collect(reply, most_bytes))
            finally:
                await reply.abort()
    except TimeoutError:
        raise EngineFailed("timeout", f"no answer in {timeout} s") from None


async def collect(reply: EngineReply, most_bytes: int) -> bytes:
    """A whole answer.

    Raises:
        EngineFailed: as ``EngineReply.chunks``; ``died`` where it is over ``most_bytes``.
    """
    parts: list[bytes] = []
    size = 0
    async for data in reply.chunks():
        parts.append(data)
        size += len(data)
        if size > most_bytes:
            raise EngineFailed("died", "answer over the size bound")
    return parts[0] if len(parts) == 1 else b"".join(parts)
