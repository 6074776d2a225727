"""A call to a real ASGI application in this process: bytes, ends, aborts, silence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from gemma_gateway.core.engine import EngineFailed, EngineRequest
from gemma_gateway.engines.local.asgi import PENDING_CHUNKS, AsgiReply
from tests.waiting import PATIENCE, eventually


@dataclass
class Counted:
    """An engine's side of a call, as simple as one can be: a counter and two switches."""

    tokens: int = 0
    died: bool = False
    aborted: list[int] = field(default_factory=list)

    def counts(self) -> tuple[int, int]:
        return 3, self.tokens

    def dead(self) -> bool:
        return self.died

    async def abort(self) -> None:
        self.aborted.append(self.tokens)


class Server:
    """A Starlette application that streams, answers whole, stalls and fails on demand."""

    def __init__(self) -> None:
        self.generation = Counted()
        self.written = 0
        self.entered = asyncio.Event()  # the route that is deaf
        self.cancelled = asyncio.Event()
        self.app = FastAPI()
        self.app.post("/stream")(self.stream)
        self.app.post("/whole")(self.whole)
        self.app.post("/deaf")(self.deaf)
        self.app.post("/echo")(self.echo)

    async def stream(self, request: Request) -> StreamingResponse:
        spec = await request.json()
        return StreamingResponse(self._events(**spec), media_type="text/event-stream")

    async def _events(
        self, count: int, pause: float = 0.0, stall: bool = False, fail: bool = False
    ) -> AsyncIterator[bytes]:
        try:
            for number in range(count):
                self.generation.tokens += 1
                self.written += 1
                yield b"data: %d\n\n" % number
                await asyncio.sleep(pause)
            if fail:
                raise RuntimeError("secret")
            if stall:
                await asyncio.sleep(60)
            yield b"data: [DONE]\n\n"
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def whole(self, request: Request) -> JSONResponse:
        spec = await request.json()
        for _ in range(spec["count"]):
            await asyncio.sleep(spec["pause"])
            self.generation.tokens += spec.get("step", 1)
        return JSONResponse({"done": True}, status_code=spec.get("status", 200))

    async def deaf(self) -> JSONResponse:
        """Does not listen for a disconnect while it works."""
        self.entered.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return JSONResponse({})

    async def echo(self, request: Request) -> JSONResponse:
        headers = dict(request.headers.items())
        return JSONResponse({"headers": headers, "body": (await request.body()).decode()})

    def reply(
        self, path: str, *, first: float = PATIENCE, idle: float = PATIENCE, **spec: object
    ) -> AsgiReply:
        request = EngineRequest("id-1", path, json.dumps(spec).encode())
        return AsgiReply(self.app, request, self.generation, first, idle)


@pytest.fixture
async def server() -> Server:
    return Server()


async def read(reply: AsgiReply) -> bytes:
    return b"".join([chunk async for chunk in reply.chunks()])


async def test_stream_passes_byte_for_byte(server: Server) -> None:
    reply = server.reply("/stream", count=200)
    await reply.begin()
    assert (reply.status, reply.content_type) == (200, "text/event-stream; charset=utf-8")
    expected = b"".join(b"data: %d\n\n" % number for number in range(200)) + b"data: [DONE]\n\n"
    assert await read(reply) == expected
    await reply.abort()  # after the end: nothing
    assert server.generation.aborted == []
    assert (reply.prompt_tokens(), reply.generated()) == (3, 200)


async def test_whole_answer_has_its_status(server: Server) -> None:
    reply = server.reply("/whole", count=1, pause=0, status=418)
    await reply.begin()
    assert (reply.status, reply.content_type) == (418, "application/json")
    assert json.loads(await read(reply)) == {"done": True}


async def test_application_sees_the_request(server: Server) -> None:
    reply = server.reply("/echo", text="Grüße")
    await reply.begin()
    seen = json.loads(await read(reply))
    assert json.loads(seen["body"]) == {"text": "Grüße"}
    assert seen["headers"]["x-request-id"] == "id-1"
    assert seen["headers"]["content-type"] == "application/json"


async def test_unknown_route_is_an_answer(server: Server) -> None:
    reply = server.reply("/nothing")
    await reply.begin()
    assert reply.status == 404


async def test_slow_reader_holds_the_application_back(server: Server) -> None:
    reply = server.reply("/stream", count=1000)
    await reply.begin()
    await eventually(lambda: server.written >= PENDING_CHUNKS)
    await asyncio.sleep(0.05)
    assert server.written <= PENDING_CHUNKS + 1
    assert (await read(reply)).count(b"\n\n") == 1001


async def test_leaving_the_loop_aborts(server: Server) -> None:
    reply = server.reply("/stream", count=2, stall=True)
    await reply.begin()
    chunks = reply.chunks()
    assert await anext(chunks) == b"data: 0\n\n"
    await chunks.aclose()  # type: ignore[attr-defined]
    async with asyncio.timeout(PATIENCE):
        await server.cancelled.wait()
    await eventually(lambda: server.generation.aborted == [2])


async def test_cancelled_reader_aborts(server: Server) -> None:
    reply = server.reply("/stream", count=1, stall=True)
    await reply.begin()
    task = asyncio.create_task(read(reply))
    await asyncio.sleep(0.02)
    task.cancel()
    async with asyncio.timeout(PATIENCE):
        await server.cancelled.wait()


async def test_abort_is_idempotent_and_ends_the_reader(server: Server) -> None:
    reply = server.reply("/stream", count=1, stall=True)
    await reply.begin()
    task = asyncio.create_task(read(reply))
    await asyncio.sleep(0.02)
    await asyncio.gather(reply.abort(), reply.abort())
    async with asyncio.timeout(PATIENCE):
        await server.cancelled.wait()
    with pytest.raises(EngineFailed, match="aborted"):
        await task
    assert len(server.generation.aborted) == 1


async def test_cancelled_begin_aborts_even_a_deaf_application(server: Server) -> None:
    reply = server.reply("/deaf")
    task = asyncio.create_task(reply.begin())
    async with asyncio.timeout(PATIENCE):
        await server.entered.wait()
    task.cancel()
    async with asyncio.timeout(PATIENCE):
        await server.cancelled.wait()
    await eventually(lambda: server.generation.aborted == [0])


async def test_failing_application_is_never_a_clean_end(server: Server, caplog: object) -> None:
    reply = server.reply("/stream", count=2, fail=True)
    await reply.begin()
    with pytest.raises(EngineFailed, match="died"):
        await read(reply)
    assert "secret" not in caplog.text  # type: ignore[attr-defined]


async def test_death_hides_what_the_application_says_after_it(server: Server) -> None:
    reply = server.reply("/stream", count=5, pause=0.01)
    await reply.begin()
    chunks = reply.chunks()
    seen = [await anext(chunks)]
    server.generation.died = True
    with pytest.raises(EngineFailed, match="died"):
        seen += [chunk async for chunk in chunks]
    assert b"[DONE]" not in b"".join(seen)


async def test_death_before_the_status_fails_begin(server: Server) -> None:
    server.generation.died = True
    with pytest.raises(EngineFailed, match="died"):
        await server.reply("/whole", count=1, pause=0).begin()


async def test_silent_stream_times_out(server: Server) -> None:
    reply = server.reply("/stream", idle=0.2, count=2, stall=True)
    await reply.begin()
    began = asyncio.get_running_loop().time()
    with pytest.raises(EngineFailed, match="timeout"):
        await read(reply)
    assert asyncio.get_running_loop().time() - began > 0.15
    await eventually(server.cancelled.is_set)
    await eventually(lambda: server.generation.aborted == [2])


async def test_slow_but_steady_stream_does_not_time_out(server: Server) -> None:
    reply = server.reply("/stream", idle=1.5, count=10, pause=0.2)
    await reply.begin()
    assert (await read(reply)).endswith(b"[DONE]\n\n")


async def test_whole_answer_that_generates_is_not_silent(server: Server) -> None:
    reply = server.reply("/whole", idle=1.5, count=10, pause=0.2)
    await reply.begin()
    assert reply.status == 200


async def test_whole_answer_that_stands_still_times_out(server: Server) -> None:
    with pytest.raises(EngineFailed, match="timeout"):
        await server.reply("/whole", first=0.2, count=6, pause=10, step=0).begin()


@pytest.mark.parametrize(
    ("path", "spec"), [("/deaf", {}), ("/stream", {"count": 0, "stall": True})]
)
async def test_the_first_token_may_take_longer_than_the_others(
    server: Server, path: str, spec: dict[str, object]
) -> None:
    """As for a call that waits in the engine's queue, whether its head was sent or not."""
    reply = server.reply(path, first=30, idle=0.1, **spec)

    async def whole() -> bytes:
        await reply.begin()
        return await read(reply)

    call = asyncio.create_task(whole())
    await asyncio.sleep(0.5)
    assert not call.done()
    server.generation.tokens = 1
    with pytest.raises(EngineFailed, match=r"timeout: silent for 0\.1 s"):
        await asyncio.wait_for(call, PATIENCE)


async def test_reader_that_pauses_is_not_the_engines_silence(server: Server) -> None:
    reply = server.reply("/stream", idle=1, count=3)
    await reply.begin()
    chunks = reply.chunks()
    await anext(chunks)
    await asyncio.sleep(1.5)
    assert [chunk async for chunk in chunks][-1] == b"data: [DONE]\n\n"
