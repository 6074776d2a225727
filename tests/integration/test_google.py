"""Upstreams on Vertex AI: google-auth's own library, against a metadata server as GKE's."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gemma_gateway.core.engine import EngineRequest
from gemma_gateway.engines.upstream.google import SCOPE, GoogleToken
from tests.engines import engine_over, read, request
from tests.loopback import Loopback
from tests.process import free_port
from tests.waiting import eventually, until

PORT = free_port()  # google-auth reads where the metadata server is only once
Handler = Callable[[web.Request], Awaitable[web.Response]]
ENDPOINT = "/v1beta1/projects/p/locations/europe-west4/endpoints/123"


class Metadata:
    """The machine's metadata server: hands out numbered tokens."""

    def __init__(self) -> None:
        self.life = 3600  # seconds that a token lives
        self.tokens = 0
        self.scopes = ""

    async def answer(self, call: web.Request) -> web.Response:
        flavor = {"Metadata-Flavor": "Google"}
        assert call.path == "/" or call.headers["metadata-flavor"] == "Google"
        if call.path.endswith("/token"):
            self.tokens += 1
            self.scopes = call.query.get("scopes", "")
            token = {"access_token": f"token-{self.tokens}", "expires_in": self.life}
            return web.json_response(token | {"token_type": "Bearer"}, headers=flavor)
        if "/service-accounts/" in call.path:
            who = {"email": "gateway@p.iam.gserviceaccount.com", "scopes": [SCOPE]}
            return web.json_response(who | {"aliases": ["default"]}, headers=flavor)
        if call.path.endswith("/universe-domain"):
            return web.Response(text="googleapis.com", headers=flavor)
        return web.Response(text="p", headers=flavor)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on Google's cloud, without anybody's own credentials."""
    monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{PORT}")
    monkeypatch.setenv("GCE_METADATA_IP", f"127.0.0.1:{PORT}")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)


@contextlib.asynccontextmanager
async def listening(answer: Handler, port: int) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


@pytest.fixture
async def metadata() -> AsyncIterator[Metadata]:
    server = Metadata()
    async with listening(server.answer, PORT):
        yield server


async def test_calls_carry_a_token_of_the_machines_identity(metadata: Metadata) -> None:
    async with (
        Loopback(api_key="token-1") as server,
        engine_over(server.url, credentials=GoogleToken()) as engine,
    ):
        assert (await read(engine, request()))[0] == 200
        assert engine.state().ready  # the checks carry it, too
    assert (metadata.tokens, metadata.scopes) == (1, SCOPE)


async def test_a_token_is_replaced_before_it_ends(
    metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemma_gateway.engines.upstream.google.RETRY", 0.1)
    metadata.life = 299  # it is good for minutes, and yet within the margin
    token = GoogleToken()
    await token.start()
    try:
        await eventually(lambda: int(token.header.removeprefix("Bearer token-")) >= 3)
    finally:
        await token.stop()


@pytest.mark.parametrize(
    ("life", "least", "most"),
    [
        (3600, 3200, 3300),  # five minutes before its end
        (400, 10, 100),
        (320, 10, 20),
        (309, 10, 10),  # never more often than after a failure
        (1, 10, 10),
    ],
)
async def test_when_a_token_is_replaced(
    metadata: Metadata, life: int, least: float, most: float
) -> None:
    metadata.life = life
    token = GoogleToken()
    pause = await token._fetch()
    assert least <= pause <= most  # the less, the longer this machine took
    assert (token.header, metadata.tokens) == ("Bearer token-1", 1)


async def test_after_a_failure_it_is_tried_again_soon_and_no_sooner() -> None:
    assert await GoogleToken()._fetch() == 10  # nobody listens there


async def test_an_identity_that_comes_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemma_gateway.engines.upstream.google.RETRY", 0.1)
    server = Metadata()
    async with (
        Loopback(api_key="token-1") as vertex,
        engine_over(vertex.url, credentials=GoogleToken()) as engine,
    ):
        reply = await engine.send(request())
        assert reply.status == 401  # told to clients as ENGINE_UNAVAILABLE
        await reply.abort()

        async def served() -> bool:
            return (await read(engine, request()))[0] == 200

        async with listening(server.answer, PORT):
            await until(served, "the token is there")


async def test_a_base_url_of_vertex_ai() -> None:
    """Its routes have no /v1 of their own, and it lists no models."""
    seen: list[tuple[str, Any]] = []

    async def answer(call: web.Request) -> web.Response:
        seen.append((call.path, call.headers.get("authorization")))
        if not call.path.endswith("/chat/completions"):
            return web.Response(status=404)
        return web.json_response({"choices": []})

    port = free_port()
    async with (
        listening(answer, port),
        engine_over(f"http://127.0.0.1:{port}{ENDPOINT}", api_key="key") as engine,
    ):
        call = EngineRequest("r", "/v1/chat/completions", b"{}", "google/gemma-3-4b-it")
        assert (await read(engine, call))[0] == 200
        assert engine.serves("google/gemma-3-4b-it")
    assert (f"{ENDPOINT}/chat/completions", "Bearer key") in seen
    assert (f"{ENDPOINT}/models", "Bearer key") in seen


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.auth", None)
    with pytest.raises(RuntimeError, match="pip install"):
        GoogleToken()
