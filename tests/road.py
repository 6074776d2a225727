"""The whole gateway in this process: no socket, no store, no model; made in a tenth of a second.

    road = Road()
    reply = await road.post("chat", ask("chat", "Hello"))

The engine is a script: what it says is given to ``Road``, or asked for with ``echo: TEXT``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from gemma_gateway.api.app import GatewayApp
from gemma_gateway.api.cors import Cors
from gemma_gateway.core.call import Call, Principal, Request
from gemma_gateway.core.dialect import Dialect
from gemma_gateway.core.engine import EngineRequest
from gemma_gateway.core.stage import End
from gemma_gateway.engines.scripted import Script, ScriptedEngine, ScriptedReply
from gemma_gateway.main import DIALECTS, Parts, build
from gemma_gateway.safety.stage import Sanitise
from gemma_gateway.settings import Settings, Tier
from gemma_gateway.validation.stage import Decode, Validate
from tests import loopback
from tests.calls import MODEL, PATHS, Json
from tests.process import AUTH, KEY

ENGINE_PATHS = {dialect.path for dialect in DIALECTS}


@dataclass
class Reply:
    """What a client got."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body)


def say(*pieces: str, **script: Any) -> Script:
    """An engine's script: the same pieces of text for every call, in the dialect of its route;
    none: what the call asks for, as ``tests.loopback`` answers."""
    if pieces:
        script["pieces"] = list(pieces)

    def answer(request: EngineRequest) -> ScriptedReply:
        body = request.document
        if counted := loopback.count(request.path, body):
            return ScriptedReply.json(counted)
        said = loopback.said(
            body, {"pieces": list(pieces), **script} if pieces else script, 1, MODEL
        )
        stream, whole = loopback.ROUTES[request.path]
        if not body.get("stream"):
            return ScriptedReply.json(whole(said))
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        return ScriptedReply.events(list(stream(said, usage)))

    return answer


class Told:
    """An observer: what is told of each call. ``tests/unit/conftest.py`` puts one in its list."""

    def __init__(self) -> None:
        self.calls: list[tuple[Call, End]] = []

    def settle(self, call: Call, end: End) -> None:
        self.calls.append((call, end))

    @property
    def ends(self) -> list[tuple[int, str]]:
        """Status and outcome of each."""
        return [(end.status, end.outcome) for _, end in self.calls]


class Road:
    """One gateway.

    Args:
        script: of the engine; see ``say``.
        context: tokens that its models take; None: it doesn't tell.
        modalities: what they read; None: it doesn't tell.
        engine: instead of the script.
        settings: of the gateway, beside a key; ``max_model_len`` is such a context, too.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        context: int | None = None,
        modalities: frozenset[str] | None = None,
        engine: Any = None,
        **settings: Any,
    ) -> None:
        given = {
            "api_keys": (KEY,),
            "redis_url": "redis://127.0.0.1:1",  # nobody is there: limits count in this process
            "data_dir": Path("/nonexistent"),  # with keys and a store of its own nothing is written
            "access_log": False,
            **settings,
        }
        found = Settings(**given)
        listed = tuple(name for model in found.models for name in model.names)
        context = context or found.engine.max_model_len or None
        self.engine = engine or ScriptedEngine(
            script or say(), listed or (MODEL,), context, modalities
        )
        self.parts = Parts(found, self.engine)
        self._app = build(self.parts, routes=())  # FastAPI takes half of all the time for them

    @cached_property
    def _whole(self) -> GatewayApp | Cors:
        """With the routes that don't go to an engine."""
        return build(self.parts)

    async def post(
        self, route: str, body: Any, headers: dict[str, str] = AUTH, **client: Any
    ) -> Reply:
        """POST to a route or a dialect's name; see ``request`` for what the client does."""
        return await self.request("POST", PATHS.get(route, route), body, headers, **client)

    async def get(self, path: str, headers: dict[str, str] = AUTH) -> Reply:
        return await self.request("GET", path, b"", headers)

    async def request(
        self,
        method: str,
        path: str,
        body: Any,
        headers: dict[str, str],
        *,
        stays: bool = True,
        takes: int | None = None,
        reply: Reply | None = None,
    ) -> Reply:
        """One request.

        Args:
            stays: whether the client waits for the whole answer; else it leaves once it was heard.
            takes: messages that it takes before it reads no more; None: all.
            reply: where to put what comes, as it comes.
        """
        data = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        sent = {"content-type": "application/json"} | headers
        reply = reply or Reply()
        parts = iter([{"type": "http.request", "body": data, "more_body": False}])
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path.partition("?")[0],
            "raw_path": path.partition("?")[0].encode(),
            "query_string": path.partition("?")[2].encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 8000),
            "state": {},
        }

        async def receive() -> dict[str, Any]:
            for message in parts:
                return message
            if stays:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            nonlocal takes
            if takes is not None:
                if not takes:
                    await asyncio.Event().wait()
                takes -= 1
            if message["type"] == "http.response.start":
                reply.status = message["status"]
                reply.headers = {k.decode(): v.decode() for k, v in message["headers"]}
            else:
                reply.body += message.get("body", b"")

        app = self._app if path in ENGINE_PATHS else self._whole
        await app(scope, receive, send)
        return reply

    def figures(self) -> dict[str, float]:
        """The metrics by name and labels, as Prometheus writes them."""
        return dict(_figures(self.parts.metrics.render().decode()))


def _figures(text: str) -> Iterator[tuple[str, float]]:
    for line in text.splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            yield name, float(value)


def read(
    raw: bytes, dialect: Dialect, tier: Tier, max_depth: int, allowed: frozenset[str]
) -> Request:
    """A body as it is once the steps up to the policy have read it; raises GatewayError."""
    call = Call("req", dialect, principal=Principal("key", "name", "default", tier))
    call.request.raw = raw
    for step in (Decode(max_depth, allowed), Sanitise(), Validate(allowed)):
        step.run(call)
    return call.request


__all__ = ["Json", "Reply", "Road", "Told", "read", "say"]
