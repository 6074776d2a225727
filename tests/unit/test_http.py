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
gates: dict[str, asyncio.Event] = {}  # what the answer to a path waits for


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers after as many milliseconds as the path says."""
    asked.append(scope["path"])
    if (gate := gates.get(scope["path"])) is not None:
        await gate.wait()
    await asyncio.sleep(int(scope["path"][1:]) / 1000)
    await PlainTextResponse("hello")(scope, receive, send)


@pytest.fixture
async def server() -> AsyncIterator[uvicorn.Server]:
    config = uvicorn.Config(slow, port=0, http=http.BoundedHttp, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server
    server.should_exit = True
    await running


@pytest.fixture
def port(server: uvicorn.Server) -> int:
    found: int = server.servers[0].sockets[0].getsockname()[1]
    return found


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


class Kept:
    """A connection that is kept for a minute after each answer, seen from both ends."""

    def __init__(
        self, server: uvicorn.Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        (protocol,) = server.server_state.connections
        assert isinstance(protocol, http.BoundedHttp)
        self.protocol, self._reader, self._writer = protocol, reader, writer
        protocol.timeout_keep_alive = 60

    @property
    def timer(self) -> asyncio.TimerHandle | None:
        return self.protocol.timeout_keep_alive_task

    def pass_time(self, seconds: float) -> None:
        """As if the last answer had been so much earlier, and the timer were due now."""
        self.protocol._idle_since -= seconds
        assert self.timer is not None
        self.timer.cancel()
        self.protocol.timeout_keep_alive_handler()

    def write(self, milliseconds: int = 1) -> None:
        self._writer.write(REQUEST % milliseconds)

    async def answer(self) -> None:
        async with asyncio.timeout(PATIENCE):
            assert b"200 OK" in await self._reader.readuntil(b"hello")
        await until(lambda: not self.protocol._due, "the server's end of it")

    async def closed(self) -> None:
        async with asyncio.timeout(PATIENCE):
            assert await self._reader.read() == b""


@pytest.fixture
async def kept(server: uvicorn.Server, port: int) -> AsyncIterator[Kept]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await until(lambda: server.server_state.connections, "the connection")
    yield Kept(server, reader, writer)
    writer.close()


async def test_one_timer_looks_after_a_connection_that_is_used_again(kept: Kept) -> None:
    kept.write()
    await kept.answer()
    timer = kept.timer
    kept.write()
    await kept.answer()
    assert timer is not None
    assert kept.timer is timer
    kept.pass_time(30)
    assert kept.timer is not timer, "half a minute is left of it"
    kept.write()
    await kept.answer()


async def test_a_connection_that_nobody_uses_is_closed(kept: Kept) -> None:
    kept.write()
    await kept.answer()
    kept.pass_time(60)
    await kept.closed()


async def test_an_idle_connection_is_closed_by_the_clock(kept: Kept) -> None:
    kept.protocol.timeout_keep_alive = 0  # type: ignore[assignment]
    kept.write()
    await kept.answer()
    await kept.closed()


async def test_a_connection_with_an_answer_due_is_not_idle(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()
    monkeypatch.setitem(gates, "/2", gate)
    kept.write()
    await kept.answer()
    asked.clear()
    kept.write(2)
    await until(lambda: asked, "its head is here")
    kept.pass_time(60)
    assert kept.timer is None
    gate.set()
    await kept.answer()
    assert kept.timer is not None


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
