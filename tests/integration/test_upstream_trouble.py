"""Why a model server is of no use: in the log once, at the start, and at ``/health``."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from gemma_gateway.cli import waiting
from gemma_gateway.cli.advice import advice
from gemma_gateway.core.engine import EngineFailed
from gemma_gateway.core.trouble import NOT_COMPATIBLE, unreached
from gemma_gateway.engines.upstream.engine import UpstreamEngine
from gemma_gateway.settings import EngineSettings
from tests.engines import engine_over, read, request
from tests.loopback import Loopback
from tests.process import AUTH, KEY, OPERATOR, OPERATOR_AUTH, Gateway, free_port
from tests.waiting import PATIENCE, until

POOL = "gemma_gateway.engines.upstream.pool"


@asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[str]:
    """A server that answers everything with these bytes and closes; its base URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/v1"


def http(status: str, body: bytes = b"{}") -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


def trouble(engine: UpstreamEngine) -> list[str]:
    return [server.trouble for server in engine.state().servers]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the pool has logged."""
    return [record.getMessage() for record in caplog.records if record.name == POOL]


# ---- the reason


@pytest.mark.parametrize(
    ("answer", "why", "ejected"),
    [
        (http("503 Busy"), "status 503", True),
        (http("500 Oh"), "status 500", True),
        (b"SSH-2.0-OpenSSH_9\r\n", r"not HTTP: .+", True),
        (b"", "connection closed: by the server", True),
        (http("401 No"), r"it refuses the key \(401\)", False),
        (http("403 No"), r"it refuses the key \(403\)", False),
        (http("200 OK", b'{"data": []}'), "it lists no model", False),
        (http("200 OK", b"<html>"), "it answers, but not like an OpenAI-compatible server", False),
        (http("200 OK", b'{"data": [{"id": "m"}]}'), "", False),
        (http("404 No"), "", False),
        (http("429 Slowly"), "", False),
    ],
)
async def test_a_server_that_answers_oddly(
    answer: bytes, why: str, ejected: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with saying(answer) as url, engine_over(url) as engine:
        (server,) = engine.state().servers
        assert re.fullmatch(why, server.trouble)
        assert server.ejected is ejected
        assert len(said(caplog)) == ejected


async def test_nobody_there() -> None:
    port = free_port()
    urls = (f"http://127.0.0.1:{port}/v1", f"http://localhost:{port}/v1")
    async with engine_over(*urls) as engine:
        assert trouble(engine) == ["connection refused"] * 2


@pytest.mark.parametrize("url", ["http://nowhere.invalid:80/v1", "dns+http://nowhere.invalid/v1"])
async def test_a_name_that_is_none(url: str) -> None:
    async with engine_over(url) as engine:
        assert trouble(engine) == ["name not found"]
        assert not engine.state().ready


async def test_http_where_tls_is_spoken_and_a_server_that_is_frozen() -> None:
    async with saying(http("400 Bad")) as url, Loopback() as frozen:
        frozen.models_wait = 60
        secure = url.replace("http:", "https:")
        async with engine_over(secure, frozen.url, connect_timeout=2) as engine:
            first, second = trouble(engine)
            assert first.startswith("TLS: ") or "connection" in first
            assert second == "no answer within 2 s"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('10.0.0.1', 80)"), "connection refused"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 8), [Errno 111] C"),
         "connection refused"),
        (OSError(113, "No route to host"), "no route to host"),
        (TimeoutError(), "no connection in time"),
        (TimeoutError(110, "Connection timed out"), "no connection in time"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "name not found"),
        (UnicodeError("label empty or too long"), "name not found"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "TLS: it failed"),
        (OSError("hidden 10.0.0.1"), "no connection"),
    ],
)  # fmt: skip
def test_the_words_name_no_address(error: Exception, words: str) -> None:
    assert unreached(error) == words
    assert "10.0.0.1" not in unreached(error)


@pytest.mark.parametrize(
    ("trouble", "begin"),
    [
        ("connection refused", "start that server, or correct its address in PLACE"),
        ("no answer within 2 s", "start that server"),
        ("name not found", "correct the name in PLACE"),
        ("it refuses the key (401)", "set KEY to a key of that server"),
        ("it lists no model", "load one there"),
        ("status 503", "see that server's own log"),
        ("TLS: self-signed certificate", "correct its address in PLACE (http or https?)"),
        (NOT_COMPATIBLE, "correct its address in PLACE: it must end in /v1"),
    ],
)
def test_each_has_its_advice(trouble: str, begin: str) -> None:
    assert advice(trouble, "PLACE", "KEY").startswith(begin)


# ---- the log


async def test_checks_eject_and_bring_back_with_a_line_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, POOL)
    port = free_port()
    options = {"health_interval": 0.05, "eject_after": 2, "eject_seconds": 0.1}
    async with engine_over(f"http://127.0.0.1:{port}/v1", **options) as engine:

        def failures() -> int:
            return engine.state().servers[0].failures

        await until(lambda: failures() > 5, "several checks have failed")
        assert said(caplog) == [f"upstream 127.0.0.1:{port} ejected: connection refused"]
        async with Loopback(port=port):
            await until(lambda: not engine.state().servers[0].ejected, "it is back")
            assert trouble(engine) == [""]
            await until(lambda: len(said(caplog)) == 2, "that is logged")
        await until(lambda: engine.state().servers[0].ejected, "it is gone again")
    first, back, again = said(caplog)
    assert first.startswith(again.partition(" ejected")[0])
    assert re.fullmatch(rf"upstream 127\.0\.0\.1:{port} is back after \d+ s", back)


async def test_calls_eject_with_a_line(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        Loopback() as server,
        engine_over(server.url, eject_after=2, eject_seconds=60, health_interval=60) as engine,
    ):
        for _ in range(4):
            await read(engine, request(status=503))
        assert said(caplog) == [f"upstream 127.0.0.1:{server.port} ejected: status 503"]
        assert trouble(engine) == ["status 503"]
        assert engine.state().servers[0].ejected_seconds > 0
        assert (await read(engine, request()))[0] == 200
        assert engine.state().servers[0].ejected_seconds == 0
        (back,) = said(caplog)[1:]
        assert re.fullmatch(rf"upstream 127\.0\.0\.1:{server.port} is back after \d+ s", back)


async def test_answers_that_are_cut_short_eject_with_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Loopback() as server, engine_over(server.url, eject_after=1) as engine:
        with pytest.raises(EngineFailed):
            await read(engine, request(die=3, delay=0.02))
    assert said(caplog)[0] == f"upstream 127.0.0.1:{server.port} ejected: an answer was cut short"


async def test_who_answers_calls_is_of_use_whatever_its_list_says() -> None:
    """A key that may call models, but not list them."""
    async with Loopback(models=None) as server, engine_over(server.url) as engine:
        assert (await read(engine, request()))[0] == 200
        server.api_key = "another"
        (upstream,) = engine.pool.upstreams
        await engine.servers._check(upstream)
        assert trouble(engine) == [""]


# ---- at the start


async def test_what_is_waited_for_is_said_once_and_when_it_changes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PATIENCE", 0.0)
    port = free_port()
    url = f"http://127.0.0.1:{port}/v1"
    settings = EngineSettings(upstreams=(url,))
    told: list[str] = []

    def lines() -> list[str]:
        told.extend(capsys.readouterr().err.splitlines())
        return told

    async with engine_over(url, api_key="wrong") as engine:
        wait = asyncio.create_task(waiting.for_servers(engine, settings))
        await until(lines, "the first line")
        await asyncio.sleep(3 * waiting.LOOK)
        async with Loopback(port=port, api_key="right"):
            await until(lambda: len(lines()) > 1, "the second line")
            assert not wait.done()
        async with Loopback(port=port):
            await asyncio.wait_for(wait, PATIENCE)
    place = "correct its address in GATEWAY_UPSTREAMS"
    assert lines()[:2] == [
        f"waiting for {url}: connection refused -> start that server, or {place}",
        f"waiting for {url}: it refuses the key (401) -> "
        "set GATEWAY_UPSTREAM_API_KEY to a key of that server",
    ]


async def test_servers_with_one_trouble_share_a_line() -> None:
    urls = [f"http://127.0.0.1:{free_port()}/v1" for _ in range(5)]
    async with engine_over(*urls) as engine:
        (line,) = waiting.troubles(engine.state(), EngineSettings(upstreams=urls))
    assert line.startswith(f"waiting for {', '.join(urls[:3])} and 2 more: connection refused -> ")


async def test_a_gateway_that_waits(tmp_path: Path) -> None:
    """The line at the start; strangers learn the reason, operators the server as well."""
    url = f"http://127.0.0.1:{free_port()}/v1"

    def health(headers: dict[str, str]) -> list[str]:
        asked = urllib.request.Request(gateway.url + "/health", headers=headers)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked, timeout=60)
        assert refused.value.code == 503
        return list(orjson.loads(refused.value.read())["errors"])

    settings = {"upstreams": url, "api_keys": KEY, "operator_keys": OPERATOR}
    with Gateway(tmp_path, ready="/health/live", **settings) as gateway:
        line = f"waiting for {url}: connection refused -> start that server"
        await until(lambda: line in gateway.text(), "it says what it waits for")
        for headers in ({}, AUTH, {"Authorization": "Bearer wrong"}):
            found = await asyncio.to_thread(health, headers)
            assert found == ["no engine is ready", "upstream: connection refused"]
        found = await asyncio.to_thread(health, OPERATOR_AUTH)
        assert found == ["no engine is ready", f"{url}: connection refused"]
        assert gateway.text().count("waiting for") == 1
