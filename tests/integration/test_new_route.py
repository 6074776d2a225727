"""A new engine route is one class and its entry in the list of dialects: nothing else is edited."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest_asyncio
from aiohttp import web
from pydantic import BaseModel

from gemma_gateway.core.dialect import Dialect, Message, TextPart
from gemma_gateway.core.errors import Code, Family, GatewayError
from gemma_gateway.core.usage import Usage
from gemma_gateway.main import DIALECTS, Parts, assemble, build
from gemma_gateway.settings import Settings
from tests.loopback import Loopback
from tests.process import AUTH, KEY
from tests.waiting import until

Json = dict[str, Any]
PATH = "/v2/vectors"


class VectorsRequest(BaseModel):
    """Texts to vectors."""

    texts: list[str]


class VectorsError(BaseModel):
    problem: str
    kind: str
    id: str


class Vectors(Dialect):
    """A route with a protocol of its own, that neither streams nor generates text."""

    name = "vectors"
    path = PATH
    request_model = VectorsRequest
    error_model = VectorsError
    operation = "embeddings"
    fields = frozenset({"model", "texts", "stream"})
    charged = True

    def messages(self, body: Json) -> list[Message]:
        texts = body.get("texts")
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise GatewayError(Code.VALIDATION_ERROR, "texts must be strings.", param="texts")
        return [
            Message(f"texts.{i}", "user", [TextPart(texts, i, f"texts.{i}")])
            for i in range(len(texts))
        ]

    def usage(self, doc: Json) -> Usage | None:
        return Usage(prompt_tokens=doc["tokens"])

    def error(self, error: GatewayError, request_id: str) -> bytes:
        kind = "yours" if error.code.value.family is Family.INVALID_REQUEST else "other"
        return orjson.dumps({"problem": error.message, "kind": kind, "id": request_id})


class VectorEngine(Loopback):
    """A loopback engine that has the route, too."""

    async def _answer(
        self, request: web.Request, body: Json, script: Json
    ) -> web.Response | web.StreamResponse:
        if request.path != PATH:
            return await super()._answer(request, body, script)
        return web.json_response({"vectors": [[0.5, 1.0]] * len(body["texts"]), "tokens": 7})


@dataclass
class Site:
    """A gateway in this process, and the engine behind it."""

    parts: Parts
    engine: VectorEngine
    client: httpx.AsyncClient

    async def ask(self, **body: Any) -> httpx.Response:
        return await self.client.post(PATH, json=body, headers=AUTH)


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with VectorEngine() as engine:
        root = engine.url.removesuffix("/v1")
        settings = Settings(upstreams=(engine.url,), api_keys=(KEY,), data_dir=tmp_path)
        parts = assemble(settings)
        edge = build(parts, (*DIALECTS, Vectors()))
        transport = httpx.ASGITransport(edge)
        async with parts.running(), httpx.AsyncClient(transport=transport, base_url=root) as client:
            await until(parts.engine.models, "the engine")
            yield Site(parts, engine, client)


async def test_it_is_served_checked_and_charged(site: Site) -> None:
    reply = await site.ask(texts=["sea", "dunes"], colour="blue")
    assert reply.status_code == 200, reply.text
    assert reply.json() == {"vectors": [[0.5, 1.0], [0.5, 1.0]], "tokens": 7}
    assert reply.headers["x-gateway-ignored"] == "colour"
    assert site.engine.state.path == PATH
    sent = site.engine.state.body
    assert sent == {"texts": ["sea", "dunes"], "model": "gemma-3-270m"}  # nothing that generates
    (record,) = site.parts.request_log.own()
    assert (record.route, record.outcome) == (PATH, "ok")
    assert (record.input_tokens, record.output_tokens, record.usage_estimated) == (7, 0, False)
    usage = (await site.client.get("/v1/usage", headers=AUTH)).json()
    assert usage["all_time"]["prompt_tokens"] == 7, usage


async def test_its_errors_are_its_own_protocols(site: Site) -> None:
    for body in ({"texts": 5}, {"texts": ["a"], "stream": True}, {"texts": ["I hate you"]}):
        reply = await site.ask(**body)
        assert reply.status_code == 400, reply.text
        told = reply.json()
        assert (told["kind"], told["id"]) == ("yours", reply.headers["x-request-id"])
    stranger = await site.client.post(PATH, json={"texts": ["a"]})
    assert (stranger.status_code, stranger.json()["kind"]) == (401, "other")
    below = await site.client.post(f"{PATH}/more", json={}, headers=AUTH)
    assert (below.status_code, set(below.json())) == (404, {"problem", "kind", "id"})
    beside = await site.client.post(f"{PATH}more", json={}, headers=AUTH)
    assert (beside.status_code, beside.json()["error"]["gateway_code"]) == (404, "NOT_FOUND")


async def test_it_stands_in_the_openapi_document(site: Site) -> None:
    document = (await site.client.get("/openapi.json")).json()
    told = document["paths"][PATH]["post"]
    assert told["summary"] == "Texts to vectors."
    assert json.dumps(told["requestBody"]).count("#/components/schemas/VectorsRequest") == 1
    assert "#/components/schemas/VectorsError" in json.dumps(told["responses"]["400"])
    assert list(told["responses"]["200"]["content"]) == ["application/json"]
    assert {"VectorsRequest", "VectorsError"} <= set(document["components"]["schemas"])
