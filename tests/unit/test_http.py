"""The server's protocol: how long a request's head may take, and how connections end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from gemma_gateway.api import http

REQUEST = b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n"


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers after as many milliseconds as the path says."""
    await asyncio.sleep(int(scope["path"][1:]) / 1000)
    await PlainTextResponse("hello")(scope, receive, send)


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(http, "HEAD_SECONDS", 0.3)
    config = uvicorn.Config(slow, port=0, http=http.BoundedHttp, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await running


async def closed_after(port: int, *parts: bytes, pause: float = 0.1) -> tuple[float, bytes]:
    """Seconds from the first part to the server's close, and what came before it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    started = asyncio.get_running_loop().time()

    async def send() -> None:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(pause)

    sending = asyncio.create_task(send())
    async with asyncio.timeout(5):
        answer = await reader.read()
    sending.cancel()
    writer.close()
    return asyncio.get_running_loop().time() - started, answer


async def test_a_connection_that_says_nothing_is_closed(port: int) -> None:
    seconds, answer = await closed_after(port)
    assert answer == b""
    assert 0.2 < seconds < 30


async def test_a_head_that_trickles_in_is_cut_off(port: int) -> None:
    trickle = [bytes([byte]) for byte in REQUEST % 1 + b" " * 60]
    for first in (b"", REQUEST % 1):  # on a new connection, and after a good request
        seconds, answer = await closed_after(port, first, *trickle)
        assert answer.count(b"200 OK") == (1 if first else 0)
        assert 0.2 < seconds < 30


async def test_a_slow_answer_is_not_a_slow_head(port: int) -> None:
    """Even where the client has already sent a stray line, or part of its next request."""
    for rest in (b"\r\n", b"GET /1 HTTP/1.1\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST % 900)
        await asyncio.sleep(0.05)
        writer.write(rest)
        async with asyncio.timeout(5):
            assert b"200 OK" in await reader.readuntil(b"hello")
        writer.close()


async def test_a_process_that_leaves_ends_its_connections(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http.BoundedHttp, "leaving", True)
    _, answer = await closed_after(port, REQUEST % 1)
    assert b"connection: close" in answer.lower()
    assert b"hello" in answer
