"""UpstreamEngine against real servers on loopback ports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gemma_gateway.core.engine import EngineFailed, EngineReply, EngineRequest
from gemma_gateway.engines.upstream import http1
from gemma_gateway.engines.upstream.engine import UpstreamEngine
from tests.engines import MODEL, engine_over, read, request
from tests.loopback import Loopback
from tests.process import free_port
from tests.waiting import PATIENCE, eventually


def outstanding(engine: UpstreamEngine) -> int:
    return sum(state.outstanding for state in engine.state().servers)


def up(engine: UpstreamEngine) -> bool:
    return not any(state.ejected for state in engine.state().servers)


def waited_for(engine: UpstreamEngine) -> bool:
    """Whether somebody waits for more of an answer."""
    return any(reply.waiting for reply in engine.servers.live)


# ---- what servers tell of their models


@pytest.mark.parametrize(
    ("card", "told"),
    [({"max_model_len": 4096}, 4096), ({"context_length": 8192}, 8192),
     ({"context_window": 1024, "max_model_len": None}, 1024), ({"max_context_length": 512}, 512),
     ({}, None), ({"max_model_len": "many"}, None), ({"max_model_len": -1}, None),
     ({"max_model_len": 4.5}, None)],
)  # fmt: skip
async def test_the_context_is_what_the_list_tells(card: dict[str, Any], told: int | None) -> None:
    async with Loopback() as server:
        server.card = card
        async with engine_over(server.url) as engine:
            assert engine.models() == (MODEL,)
            assert engine.max_model_len(MODEL) == told
            assert engine.max_model_len("other") is None


async def test_of_several_servers_the_shortest_counts() -> None:
    async with Loopback() as one, Loopback() as two:
        one.card, two.card = {"max_model_len": 8192}, {"max_model_len": 4096}
        async with engine_over(one.url, two.url) as engine:
            assert engine.max_model_len(MODEL) == 4096
            two.card = {}
            await eventually(lambda: engine.max_model_len(MODEL) == 8192)


# ---- calls


@pytest.mark.parametrize("write", ["event", "all", 1, 7])
async def test_stream_bytes_pass_as_they_are(write: str | int) -> None:
    async with Loopback() as server, engine_over(server.url) as engine:
        status, body = await read(engine, request(write=write))
        assert (status, body.count(b"data: ")) == (200, 8)
        assert body.endswith(b"data: [DONE]\n\n")
        assert outstanding(engine) == 0
        assert (server.state.running, server.state.aborted) == (0, 0)


async def test_each_event_comes_when_it_is_written() -> None:
    async with Loopback() as server, engine_over(server.url) as engine:
        for number in range(1, 5):  # nothing more comes before the client leaves
            reply = await engine.send(request(stall=number))
            got, parts = b"", reply.chunks()
            async with asyncio.timeout(PATIENCE):
                while got.count(b"data: ") < number:
                    got += await anext(parts)
            assert got.endswith(b"\n\n")
            assert not got.endswith(b"[DONE]\n\n")
            await reply.abort()


async def test_an_answer_that_was_read_is_over_though_its_connection_goes_on() -> None:
    async with Loopback() as server, engine_over(server.url) as engine:
        first = await engine.send(request())
        assert b"".join([part async for part in first.chunks()]).endswith(b"data: [DONE]\n\n")
        second = await engine.send(request())
        assert await anext(first.chunks(), None) is None
        assert (await _rest(second)).endswith(b"data: [DONE]\n\n")
        assert server.state.running == 0


async def test_what_the_upstream_sees() -> None:
    async with Loopback(api_key="secret") as server:
        async with engine_over(server.url, api_key="secret") as engine:
            assert engine.models() == (MODEL,)
            call = request(stream=False)
            call.headers["traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            assert (await read(engine, call))[0] == 200
        seen = {name.lower(): value for name, value in server.state.headers.items()}
        assert seen["authorization"] == "Bearer secret"
        assert seen["x-request-id"] == "req-1"
        assert seen["content-type"] == "application/json"
        assert seen["accept-encoding"] == "identity"
        assert seen["traceparent"].startswith("00-0af7")
        assert not {"cookie", "user-agent"} & set(seen)


async def test_routes_at_the_server_root() -> None:
    async with Loopback() as server, engine_over(server.url) as engine:
        call = EngineRequest("r", "/tokenize", b'{"prompt": "abc"}', MODEL)
        status, body = await read(engine, call)
        assert (status, json.loads(body)["tokens"]) == (200, [97, 98, 99])
        assert server.state.path == "/tokenize"


@pytest.mark.parametrize("status", [400, 404, 405, 429, 500, 501])
async def test_an_answer_that_is_an_error_passes(status: int) -> None:
    async with Loopback() as server, engine_over(server.url, server.url) as engine:
        for _ in range(4):
            got, body = await read(engine, request(status=status))
            assert (got, json.loads(body)["error"]["code"]) == (status, status)
        assert server.state.calls == 4  # no retries, and
        state = engine.state().servers[0]
        assert not state.ejected
        assert bool(state.errors) is (status == 500)


# ---- leaving


async def test_abort_in_a_stream_reaches_the_upstream() -> None:
    async with Loopback() as server, engine_over(server.url) as engine:
        reply = await engine.send(request(stall=3))
        parts = reply.chunks()
        assert b"data: " in await anext(parts)
        await reply.abort()
        await eventually(lambda: server.state.aborted == 1)
        assert server.state.running == outstanding(engine) == 0
        with pytest.raises(EngineFailed, match="aborted"):
            _ = [part async for part in parts]
        await reply.abort()
        assert not engine.state().servers[0].failures


async def test_abort_wakes_a_reader_that_waits() -> None:
    async with Loopback() as server, engine_over(server.url) as engine:
        reply = await engine.send(request(stall=0))

        async def drain() -> None:
            async for _ in reply.chunks():
                pass

        reader = asyncio.create_task(drain())
        await eventually(lambda: waited_for(engine))
        await reply.abort()
        with pytest.raises(EngineFailed, match="aborted"):
            await asyncio.wait_for(reader, PATIENCE)
        await eventually(lambda: server.state.aborted == 1)


@pytest.mark.parametrize("stream", [True, False])
async def test_send_cancelled_before_the_answer_reaches_the_upstream(stream: bool) -> None:
    async with Loopback() as server, engine_over(server.url) as engine:
        sending = asyncio.create_task(engine.send(request(stream, wait=30)))
        await eventually(lambda: server.state.running == 1)
        sending.cancel()
        await eventually(lambda: server.state.aborted == 1)
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert outstanding(engine) == 0
        assert not engine.state().servers[0].failures


async def test_reader_cancelled_aborts() -> None:
    async with Loopback() as server, engine_over(server.url) as engine:

        async def call() -> None:
            await read(engine, request(stall=2))

        task = asyncio.create_task(call())
        await eventually(lambda: server.state.running == 1)
        await eventually(lambda: waited_for(engine))
        task.cancel()
        await eventually(lambda: server.state.aborted == 1)
        assert outstanding(engine) == 0


async def test_abort_after_the_end_does_nothing() -> None:
    async with Loopback() as server, engine_over(server.url) as engine:
        reply = await engine.send(request())
        _ = [part async for part in reply.chunks()]
        await reply.abort()
        await asyncio.sleep(0.02)
        assert (server.state.aborted, outstanding(engine)) == (0, 0)


# ---- failing


async def test_body_cut_short_is_a_failure() -> None:
    async with Loopback() as server, engine_over(server.url) as engine:
        parts, got = (await engine.send(request(die=3, delay=0.02))).chunks(), b""
        while got.count(b"data: ") < 3:
            got += await anext(parts)
        with pytest.raises(EngineFailed) as failed:
            await anext(parts)
        assert failed.value.reason == "died"
        assert engine.state().servers[0].failures == 1
        assert outstanding(engine) == 0


@pytest.mark.parametrize(
    ("stream", "script"),
    [(True, {"stall": 2}), (True, {"stall": 0}), (True, {"wait": 300}), (False, {"wait": 300})],
)
async def test_silence_is_a_timeout(script: dict[str, Any], stream: bool) -> None:
    """Before the first text, with a head or without one; a whole answer is silent until its end."""
    limit = "first_token_timeout" if stream else "request_timeout"
    async with Loopback() as server, engine_over(server.url, **{limit: 2}) as engine:
        began = time.monotonic()
        with pytest.raises(EngineFailed) as failed:
            await read(engine, request(stream=stream, **script))
        assert failed.value.reason == "timeout"
        assert time.monotonic() - began > 1.9
        await eventually(lambda: server.state.aborted == 1)
        assert engine.state().servers[0].failures == 1


async def test_a_pause_between_tokens_has_a_limit_of_its_own() -> None:
    """It holds once the reader has had text: a call may wait longer for its first token."""
    async with Loopback() as server, engine_over(server.url, idle_timeout=0.2) as engine:
        reply = await engine.send(request(wait=1, stall=2))
        parts, events = reply.chunks(), b""
        while events.count(b"data: ") < 2:
            events += await anext(parts)
        more = asyncio.ensure_future(anext(parts))
        await asyncio.sleep(1)
        assert not more.done()
        reply.speaks()
        with pytest.raises(EngineFailed, match="timeout: silent"):
            await more
        assert engine.state().servers[0].failures == 1


async def test_a_frozen_server_is_not_waited_for_though_its_head_was_sent() -> None:
    options = {"health_interval": 0.5, "idle_timeout": 2.0}
    async with process() as (child, url), engine_over(url, **options) as engine:
        await eventually(lambda: up(engine))
        reply = await engine.send(request(stall=1))
        call = asyncio.ensure_future(_rest(reply))
        os.kill(child.pid, signal.SIGSTOP)
        with pytest.raises(EngineFailed, match="timeout: silent"):
            await asyncio.wait_for(call, PATIENCE)


async def _rest(reply: EngineReply) -> bytes:
    return b"".join([part async for part in reply.chunks()])


async def test_a_slow_reader_is_not_the_upstreams_silence() -> None:
    async with Loopback() as server, engine_over(server.url, idle_timeout=1.5) as engine:
        reply = await engine.send(request(delay=0.05))
        count = 0
        async for part in reply.chunks():
            if not count:
                reply.speaks()  # from now on the limit holds
                await asyncio.sleep(2)
            count += part.count(b"data: ")
        assert count == 8


async def test_the_whole_call_has_a_time_limit() -> None:
    limits = {"request_timeout": 0.4, "first_token_timeout": 60}
    async with Loopback() as server, engine_over(server.url, **limits) as engine:
        with pytest.raises(EngineFailed, match="timeout: longer than"):
            await read(engine, request(delay=0.1, pieces=["word "] * 1000))


async def test_a_slow_reader_whose_time_is_up_is_not_the_upstreams_failure() -> None:
    limits = {"request_timeout": 0.4, "first_token_timeout": 60}  # silence has its own limit
    async with Loopback() as server, engine_over(server.url, **limits) as engine:
        reply = await engine.send(request(stall=4))

        async def read_slowly() -> None:
            async for _ in reply.chunks():
                while server.state.running:  # it reads nothing more until it is cut off
                    await asyncio.sleep(0.01)

        with pytest.raises(EngineFailed) as failed:
            await read_slowly()
        assert failed.value.reason == "timeout"
        state = engine.state().servers[0]
        assert (state.failures, state.errors) == (0, 0)


async def test_nothing_listens() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    async with engine_over(url) as engine:
        health = engine.state()
        assert (health.ready, engine.models()) == (False, ())
        with pytest.raises(EngineFailed, match="every upstream is ejected") as failed:
            await engine.send(request())  # none is tried
        assert failed.value.reason == "unavailable"


# ---- another upstream


@pytest.mark.parametrize("script", [{"status": 503}, {"status": 502}, {"die": -1}])
async def test_a_failed_try_goes_to_another_upstream(script: dict[str, Any]) -> None:
    async with Loopback(script=script) as bad, Loopback() as good:
        call = request()
        call = EngineRequest(call.id, call.path, call.body.replace(b'"loopback": {}', b'"x": 1'))
        async with engine_over(bad.url, good.url, eject_seconds=600) as engine:
            for _ in range(8):
                status, body = await read(engine, call)
                assert (status, body[-8:]) == (200, b"[DONE]\n\n")
            states = engine.state().servers
            assert [s.ejected for s in states] == [True, False]
            assert engine.state().ready
            assert good.state.calls == 8
            assert outstanding(engine) == 0


async def test_never_after_the_first_byte() -> None:
    async with Loopback() as one, Loopback() as two, engine_over(one.url, two.url) as engine:
        with pytest.raises(EngineFailed):
            await read(engine, request(die=0))
        assert one.state.calls + two.state.calls == 1


@pytest.mark.parametrize(
    ("script", "given", "told"),
    [
        ({"status": 503}, 2, 503),  # can't have begun it: one more, and the last answer is told
        ({"status": 502}, 2, 502),
        ({"status": 504}, 1, 504),  # may be at it still
        ({"status": 500}, 1, 500),
        ({"status": 429}, 1, 429),
        ({"die": -1}, 2, None),  # one reset: it may have died of the call
        ({"die": 0}, 1, 200),  # an answer had begun
    ],
)
@pytest.mark.parametrize("kept_alive", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_is_given_to_two_engines_at_most(
    script: dict[str, Any], given: int, told: int | None, kept_alive: bool, stream: bool
) -> None:
    """A call that kills its engine can't kill them all, however fast they die."""
    if not stream and "die" in script:
        script = {"die": -1}
        given, told = 2, None
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(Loopback()) for _ in range(5)]
        engine = await stack.enter_async_context(engine_over(*(s.url for s in servers)))
        if kept_alive:
            for _ in range(5):
                await read(engine, request())
        before = sum(s.state.calls for s in servers)
        if told is None:
            with pytest.raises(EngineFailed, match="unavailable"):
                await engine.send(request(stream, **script))
        else:
            reply = await engine.send(request(stream, **script))
            assert reply.status == told
            await reply.abort()
        assert sum(s.state.calls for s in servers) - before == given
        assert outstanding(engine) == 0


async def test_servers_that_refuse_the_connection_never_had_the_call() -> None:
    away = [f"http://127.0.0.1:{free_port()}/v1" for _ in range(2)]
    async with (
        Loopback() as bad,
        Loopback() as good,
        engine_over(*away, bad.url, good.url, health_interval=60) as engine,
    ):
        for upstream in engine.pool.upstreams[:2]:
            upstream.trial_at = 0.0  # nobody has noticed yet
        bad.script = {"status": 503}
        call = EngineRequest("r", "/v1/chat/completions", b'{"messages": []}', MODEL)
        assert (await read(engine, call))[0] in {200, 503}
        assert bad.state.calls + good.state.calls <= 2


@pytest.mark.parametrize("servers", [1, 3])
async def test_calls_that_kill_engines_are_nobody_elses_outage(servers: int) -> None:
    """Each server is ejected by calls, but answers its checks: the next caller is served."""
    async with contextlib.AsyncExitStack() as stack:
        found = [await stack.enter_async_context(Loopback()) for _ in range(servers)]
        engine = await stack.enter_async_context(
            engine_over(*(s.url for s in found), eject_seconds=600)
        )
        for _ in range(3 * servers):
            with contextlib.suppress(EngineFailed):
                await engine.send(request(die=-1))
        assert all(state.ejected for state in engine.state().servers)
        health = engine.state()
        assert health.ready
        assert "calls fail" in health.detail
        assert "unreachable" not in health.detail
        assert (await read(engine, request()))[0] == 200
        assert not all(state.ejected for state in engine.state().servers)


async def test_connection_closed_while_idle_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server closes each kept-alive connection just as the next call is sent on it."""
    monkeypatch.setattr(http1, "STALE_SECONDS", 60.0)  # as if this machine were never busy
    served = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET "):
                writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                return
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            served += 1
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            await reader.readuntil(b"\r\n\r\n")  # the next call, which it doesn't take

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, engine_over(f"http://127.0.0.1:{port}/v1", health_interval=60) as engine:
        for _ in range(10):
            assert await read(engine, request()) == (200, b"ok")
        assert served == 10
        assert not engine.state().servers[0].failures


async def test_models_decide_who_gets_a_call() -> None:
    async with (
        Loopback(models=("small",)) as one,
        Loopback(models=("small", "big")) as two,
        engine_over(one.url, two.url) as engine,
    ):
        assert engine.models() == ("small", "big")
        for _ in range(6):
            await read(engine, EngineRequest("r", "/v1/completions", b'{"prompt": "x"}', "big"))
        assert (one.state.calls, two.state.calls) == (0, 6)
        one.models = ("small", "big", "new")
        await eventually(lambda: "new" in engine.models())
        assert engine.serves("new")
        assert not engine.serves("other")


async def test_a_server_without_a_model_list_serves_all() -> None:
    async with Loopback(models=None) as server, engine_over(server.url) as engine:
        assert (engine.models(), engine.serves("anything")) == ((), True)
        assert engine.state().ready
        assert not engine.known(MODEL)
        assert (await read(engine, request(status=404)))[0] == 404
        assert not engine.known(MODEL)  # the client's invention, for all that is known
        assert (await read(engine, request()))[0] == 200
        assert engine.known(MODEL)
        assert engine.models() == ()  # what one caller asked for isn't told to others


async def test_the_operator_names_the_models_of_a_server_that_lists_none() -> None:
    async with (
        Loopback(models=None) as server,
        engine_over(server.url, models=[MODEL]) as engine,
    ):
        assert (engine.models(), engine.known(MODEL)) == ((MODEL,), True)
        assert engine.serves(MODEL)
        assert not engine.serves("anything")
        assert (await read(engine, request()))[0] == 200


async def test_load_goes_to_the_least_outstanding() -> None:
    async with Loopback() as one, Loopback() as two, engine_over(one.url, two.url) as engine:
        held = [await engine.send(request(stall=1)) for _ in range(6)]
        assert Counter(s.outstanding for s in engine.state().servers) == {3: 2}
        for reply in held:
            await reply.abort()
        assert outstanding(engine) == 0


# ---- a server that goes and comes


@contextlib.asynccontextmanager
async def process() -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.loopback", stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout
    url = (await child.stdout.readline()).decode().strip()
    try:
        yield child, url
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def test_a_frozen_server_is_ejected_and_returns() -> None:
    async with (
        process() as (child, url),
        engine_over(url, health_interval=0.5, eject_seconds=600) as engine,
    ):
        await eventually(lambda: up(engine))
        assert (await read(engine, request()))[0] == 200
        os.kill(child.pid, signal.SIGSTOP)
        await eventually(lambda: engine.state().servers[0].ejected)
        with pytest.raises(EngineFailed, match="every upstream is ejected"):
            await engine.send(request())  # none is tried
        assert not engine.state().ready
        os.kill(child.pid, signal.SIGCONT)
        await eventually(lambda: up(engine))
        assert (await read(engine, request()))[0] == 200


async def test_a_whole_answer_is_not_waited_for_once_its_server_has_frozen() -> None:
    options = {"health_interval": 0.5, "idle_timeout": 1.5}
    async with process() as (child, url), engine_over(url, **options) as engine:
        await eventually(lambda: up(engine))
        call = asyncio.create_task(read(engine, request(stream=False, wait=300)))
        await asyncio.sleep(2.5)
        assert not call.done()  # longer than idle_timeout, but the server answers the checks
        os.kill(child.pid, signal.SIGSTOP)
        with pytest.raises(EngineFailed, match="timeout"):
            await asyncio.wait_for(call, PATIENCE)


async def test_a_server_too_busy_for_checks_is_not_ejected_while_it_streams() -> None:
    options = {"connect_timeout": 1.5, "health_interval": 60, "eject_after": 1}
    async with Loopback() as server, engine_over(server.url, **options) as engine:
        server.models_wait = 300
        (upstream,) = engine.pool.upstreams
        reply = await engine.send(request(delay=0.1, pieces=["word "] * 1000))
        call = asyncio.ensure_future(_rest(reply))
        await engine.servers._check(upstream)  # which waits for the whole of connect_timeout
        assert not call.done()
        assert (reply.status, engine.state().servers[0].failures) == (200, 0)
        call.cancel()
        await asyncio.wait([call])
        await engine.servers._check(upstream)
        assert engine.state().servers[0].ejected  # silent and idle: frozen


async def test_wait_ready() -> None:
    port = free_port()
    async with engine_over(f"http://127.0.0.1:{port}/v1", health_interval=0.05) as engine:
        with pytest.raises(EngineFailed, match="0 of 1 upstreams ready"):
            await engine.wait_ready(0.1)
        waiting = asyncio.create_task(engine.wait_ready(PATIENCE))
        async with Loopback(port=port):
            await waiting
            assert engine.models() == (MODEL,)


async def test_a_killed_server_ends_its_streams_and_comes_back() -> None:
    async with process() as (child, url), engine_over(url, health_interval=0.1) as engine:
        await eventually(lambda: up(engine))
        reply = await engine.send(request(stall=2))
        child.kill()
        with pytest.raises(EngineFailed) as failed:
            _ = [part async for part in reply.chunks()]
        assert failed.value.reason == "died"
        await eventually(lambda: engine.state().servers[0].ejected)
        async with Loopback(port=int(url.split(":")[2].split("/")[0])):
            await eventually(lambda: up(engine))
            assert (await read(engine, request()))[0] == 200
