"""How calls end that a stopping process still holds: told in their dialect, charged, logged."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path

import aiohttp
import pytest

from gemma_gateway.cli import serve
from gemma_gateway.core.call import Principal
from gemma_gateway.limits.ledger import Ledger
from gemma_gateway.limits.limiter import Limiter
from gemma_gateway.main import assemble
from gemma_gateway.monitoring.records import RequestLog
from gemma_gateway.settings import Settings, Tier, Window
from gemma_gateway.storage.redis import Store
from tests.calls import PATHS, ask, events, post, state
from tests.exchange import Exchange
from tests.integration.conftest import Server
from tests.process import AUTH, KEY, OPERATOR, Engine, Gateway, free_port
from tests.waiting import PATIENCE, until

WORDS = {"pieces": ["word "] * 50, "stall": 20}
HUGE = {"pieces": ["word " * 2000] * 1000, "stall": 1000}  # more than sockets hold, and no end


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One of this module's own: its script, and what it holds, are nobody else's."""
    with Engine(tmp_path_factory.mktemp("engine")) as process:
        yield process


async def in_flight(gateway: Gateway) -> int:
    """Calls of the key, those whose body is still arriving too."""
    async with (
        aiohttp.ClientSession(headers=AUTH) as session,
        session.get(gateway.url + "/v1/usage") as reply,
    ):
        return int((await reply.json())["in_flight"])


async def idle(engine: Engine) -> bool:
    return (await state(engine))["running"] == 0


def told(exchange: Exchange, body: bytes) -> dict[str, object]:
    """The error object that the exchange ended with."""
    if exchange.name != "stream":
        doc = json.loads(body)
        assert ("type" in doc) == (exchange.dialect == "messages")
        return dict(doc["error"])
    docs = events(body)
    assert "[DONE]" not in docs
    assert b"response.completed" not in body
    assert b"message_stop" not in body
    if exchange.dialect in ("responses", "messages"):
        assert docs[-1]["type"] == "error"
    return dict(docs[-1]["error"])


ENDINGS = {
    "the drain's deadline": ({"drain_seconds": 1}, (signal.SIGTERM, 0)),
    "a second SIGTERM": ({"drain_seconds": 300}, (signal.SIGTERM, signal.SIGTERM)),
    "Ctrl-C twice": ({"drain_seconds": 300}, (signal.SIGINT, signal.SIGINT)),
    "a second signal in the grace": (
        {"drain_seconds": 300, "drain_grace_seconds": 300},
        (signal.SIGTERM, signal.SIGINT),
    ),
    "no drain at all": ({"drain_seconds": 0}, (signal.SIGTERM, 0)),
}


@pytest.mark.parametrize("how", list(ENDINGS))
async def test_what_is_left_is_ended_in_its_dialect(
    server: Server, engine: Engine, tmp_path: Path, prefix: str, how: str
) -> None:
    settings, signals = ENDINGS[how]
    before = await state(engine)
    with Gateway(
        tmp_path,
        upstreams=engine.url + "/v1",
        redis_url=server.url,
        redis_prefix=prefix,
        idle_timeout=300,
        **settings,
    ) as gateway:
        calls = [call async for call in held(gateway)]

        async def here() -> bool:  # a body that is still arriving is no call of the engine's yet
            return await in_flight(gateway) == 16 and (await state(engine))["running"] == 12

        await until(here, "all calls")
        os.kill(gateway.pid, signals[0])
        if signals[1]:
            log = ("stopping;", "not ready;")
            await until(lambda: any(text in gateway.text() for text in log), "first signal")
            os.kill(gateway.pid, signals[1])
        for call in calls:
            status, headers, body = await call.rest()
            error = told(call, body)
            where = (call.name, call.dialect)
            assert error["gateway_code"] == "SHUTTING_DOWN", where
            assert headers["x-request-id"], where
            if call.name == "stream":
                assert status == 200, where
            else:
                assert status == 503, where
                assert headers["retry-after"] == "1", where
                assert headers["content-type"] == "application/json", where
        await until(lambda: gateway.child is not None and gateway.child.poll() is not None, "exit")
        assert gateway.stop() == 0

        async def aborted() -> bool:
            now = await state(engine)
            return now["running"] == 0 and now["aborted"] == before["aborted"] + 12

        await until(aborted, "the engine is told")

        text = gateway.text()
        assert "Traceback" not in text
        assert "frames" not in text
        assert '"level":"error"' not in text
        lines = [json.loads(line) for line in text.splitlines() if '"outcome"' in line]
        assert [(line["outcome"], line["status"]) for line in lines] == [
            ("SHUTTING_DOWN", 503)
        ] * 16
    store = Store(server.url, 5)
    await store.start()
    try:
        request_log = RequestLog(store, prefix, records_max=1000, records_seconds=3600)
        records = await request_log.recent(100)
        assert [(r.outcome, r.status) for r in records] == [("SHUTTING_DOWN", 503)] * 16
        begun = [record for record in records if record.time_to_first_token is not None]
        assert len(begun) == 4
        assert all(record.output_tokens > 0 for record in begun)
        who = Principal(
            sha256(KEY.encode()).hexdigest(),
            "",
            "default",
            Tier(windows=(Window(limit=100, seconds=3600),)),
        )
        limiter = Limiter(store, prefix)
        assert (await limiter.look(who)).last_hour == 4  # only those that brought an answer count
        usage = await Ledger(store, limiter, prefix).usage(who)
        assert usage.all_time.completion_tokens == sum(r.output_tokens for r in begun)
    finally:
        await store.stop()


async def held(gateway: Gateway) -> AsyncIterator[Exchange]:
    """Four calls in each dialect: a stream in the middle, one without a byte yet, a whole answer,
    and one whose body is still arriving."""
    for dialect in PATHS:
        body = json.dumps(ask(dialect, "x", stream=True, loopback=WORDS)).encode()
        stream = await Exchange.begin(gateway, "stream", dialect, body)
        await stream.hear(b"word ")
        yield stream
        for name, streams in (("silent", True), ("whole", False)):
            body = json.dumps(ask(dialect, "x", stream=streams, loopback={"wait": 300})).encode()
            yield await Exchange.begin(gateway, name, dialect, body)
        yield await Exchange.begin(gateway, "half", dialect, body[:20], len(body))


async def test_operators_calls_and_health_end_too(engine: Engine, tmp_path: Path) -> None:
    with (
        Gateway(
            tmp_path,
            upstreams=engine.url + "/v1",
            operator_keys=OPERATOR,
            drain_seconds=1,
            health_timeout=300,
        ) as gateway,
        engine.scripted({"wait": 300}),
    ):
        calls = [
            await Exchange.begin(gateway, "whole", "/v1/keys", b'{"na', 100, OPERATOR),
            await Exchange.begin(gateway, "whole", "/v1/feedback", b'{"re', 100),
            await Exchange.begin(gateway, "whole", "/health", b""),
        ]

        async def generates() -> bool:
            return bool((await state(engine))["running"])

        await until(generates, "the health generation")
        os.kill(gateway.pid, signal.SIGTERM)
        for call in calls:
            status, headers, body = await call.rest()
            assert (status, json.loads(body)["error"]["gateway_code"]) == (503, "SHUTTING_DOWN")
            assert headers["x-request-id"]
            assert headers["retry-after"] == "1"
        assert gateway.stop() == 0
        assert '"level":"error"' not in gateway.text()
        await until(lambda: idle(engine), "the engine is told")


async def test_a_client_that_reads_nothing_holds_nobody_up(engine: Engine, tmp_path: Path) -> None:
    """Its farewell can't be sent; the process ends all the same, long before its last resort."""
    with (
        Gateway(tmp_path, upstreams=engine.url + "/v1", drain_seconds=300) as gateway,
        engine.scripted(HUGE),
    ):
        body = json.dumps(ask("chat", "x", stream=True, max_tokens=1000)).encode()
        deaf = await Exchange.begin(gateway, "stream", "chat", body)

        async def waits() -> bool:
            one = (await state(engine))["running"] == 1
            return one and await in_flight(gateway) == 1

        await until(waits, "the stream")
        await asyncio.sleep(1)  # until its sockets are full; an early end passes as well
        for _ in range(2):
            os.kill(gateway.pid, signal.SIGTERM)
            await until(lambda: "stopping;" in gateway.text(), "first signal")
        assert await asyncio.to_thread(gateway.stop, PATIENCE) == 0
        deaf.writer.close()
        assert "uvicorn" not in gateway.text()
        line = json.loads(next(x for x in gateway.text().splitlines() if '"outcome"' in x))
        assert (line["outcome"], line["status"]) == ("SHUTTING_DOWN", 503)
        await until(lambda: idle(engine), "the engine is told")


async def test_a_call_that_is_over_in_time_ends_well(engine: Engine, tmp_path: Path) -> None:
    """The first signal alone takes nothing away."""
    with Gateway(tmp_path, upstreams=engine.url + "/v1", drain_seconds=300) as gateway:
        call = asyncio.create_task(post(gateway, "chat", ask("chat", "x", loopback={"wait": 2})))

        async def works() -> bool:
            return (await state(engine))["running"] == 1

        await until(works, "the call")
        assert await asyncio.to_thread(gateway.stop, PATIENCE) == 0
        assert (await call)[0] == 200


async def test_the_metrics_say_it(
    server: Server, engine: Engine, tmp_path: Path, prefix: str
) -> None:
    """The same server in this process, as nobody can ask a process that is gone."""
    settings = Settings(
        upstreams=(engine.url + "/v1",),
        api_keys=(KEY,),
        data_dir=tmp_path,
        redis_url=server.url,
        redis_prefix=prefix,
        port=free_port(),
        drain_seconds=300,
        access_log=False,
        allow_engine_parameters=("loopback",),
    )
    parts = assemble(settings)
    process = serve._server(settings, parts)
    running = asyncio.create_task(serve._run(process, parts))
    await until(lambda: process.started, "the server")
    body = json.dumps(ask("chat", "x", stream=True, loopback=WORDS)).encode()
    calls = [await Exchange.begin(settings, "stream", "chat", body)]
    await calls[0].hear(b"word ")
    calls += [await Exchange.begin(settings, "half", "chat", body[:9], len(body))]
    held = parts.places._held
    await until(lambda: sum(held.values()) == 2, "both calls")
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: parts.gateway.draining, "the drain")
    os.kill(os.getpid(), signal.SIGTERM)
    for call in calls:
        assert told(call, (await call.rest())[2])["gateway_code"] == "SHUTTING_DOWN"
    assert await running == 0
    text = parts.metrics.render().decode()
    counts = re.findall(r'^gateway_requests_total\{.*outcome="(\w+)".*\} (\S+)', text, re.MULTILINE)
    assert counts == [("SHUTTING_DOWN", "1.0")] * 2  # of a model, and of none that is known yet
    assert 'gateway_faults_total{fault="gateway",model="gemma-3-270m"} 1.0' in text
    assert 'gateway_faults_total{fault="gateway",model="other"} 1.0' in text
    assert "gateway_requests_in_flight 0.0" in text
