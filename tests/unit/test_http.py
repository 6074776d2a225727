"""The server's protocol: how long a request's head may take, and how connections end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from gemma_gateway.api import http
from tests.waiting import PATIENCE, until

REQUEST = b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n"
asked: list[str] = []  # the paths


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers after as many milliseconds as the path says."""
    asked.append(scope["path"])
    await asyncio.sleep(int(scope["path"][1:]) / 1000)
    await PlainTextResponse("hello")(scope, receive, send)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    config = uvicorn.Config(slow, port=0, http=http.BoundedHttp, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await running


@contextmanager
def hurry() -> Iterator[None]:
    """Meanwhile a head has little time. Before it, even a busy machine has enough."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(http, "HEAD_SECONDS", 0.3)
        yield


async def closed_after(reader: asyncio.StreamReader, since: float) -> float:
    """Seconds until the server's close, before which nothing comes."""
    async with asyncio.timeout(PATIENCE):
        with suppress(ConnectionResetError):  # it hadn't read the last byte
            assert await reader.read() == b""
    return asyncio.get_running_loop().time() - since


async def test_a_connection_that_says_nothing_is_closed(port: int) -> None:
    with hurry():
        started = asyncio.get_running_loop().time()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await closed_after(reader, started) > 0.2
        writer.close()


@pytest.mark.parametrize("used", [False, True])
async def test_a_head_that_trickles_in_is_cut_off(port: int, used: bool) -> None:
    """On a new connection, and after a good request."""
    with ExitStack() as stack:
        if not used:
            stack.enter_context(hurry())
        started = asyncio.get_running_loop().time()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if used:
            writer.write(REQUEST % 1)
            assert b"200 OK" in await reader.readuntil(b"hello")
            started = asyncio.get_running_loop().time()
            stack.enter_context(hurry())

        async def trickle() -> None:
            for byte in REQUEST % 1 + b" " * 60:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.1)

        sending = asyncio.create_task(trickle())
        assert await closed_after(reader, started) > 0.2
        assert not sending.done()
        sending.cancel()
        writer.close()


async def test_a_slow_answer_is_not_a_slow_head(port: int) -> None:
    """Even where the client has already sent a stray line, or part of its next request."""
    for rest in (b"\r\n", b"GET /1 HTTP/1.1\r\n"):
        asked.clear()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST % 900)
        await until(lambda: asked, "its head is here")
        with hurry():
            writer.write(rest)
            async with asyncio.timeout(PATIENCE):
                assert b"200 OK" in await reader.readuntil(b"hello")
        writer.close()


async def test_a_process_that_leaves_ends_its_connections(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http.BoundedHttp, "leaving", True)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST % 1)
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()
    writer.close()
    assert b"connection: close" in answer.lower()
    assert b"hello" in answer
