"""The outermost part of the application: request ids, engine routes, and the last resort."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gemma_gateway.api import head
from gemma_gateway.api.deadlines import Deadlines
from gemma_gateway.api.errors import ErrorBodies
from gemma_gateway.api.peer import Peers
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.telemetry.log import logger


class GatewayApp:
    """The ASGI application that the server runs, around FastAPI's.

    Engine routes go straight to their endpoints, past FastAPI's router, which costs more than all
    of the gateway's policy. ``client`` of each request becomes the client's own address, also
    behind proxies. Every other answer gets its ``x-request-id`` here, and no exception
    leaves as more than an INTERNAL_ERROR. Where GET works, HEAD does: FastAPI sees a GET, and the
    server leaves the body out.

    Args:
        app: FastAPI's application.
        endpoints: of the engine routes, by path.
        peers: knows which addresses are clients' own.
        deadlines: looks after the calls to them.
        errors: tells the errors of all other paths.
    """

    def __init__(
        self,
        app: ASGIApp,
        endpoints: Mapping[str, ASGIApp],
        peers: Peers,
        deadlines: Deadlines,
        errors: ErrorBodies,
    ) -> None:
        self.app = app
        self.endpoints = endpoints
        self.peers = peers
        self.errors = errors
        self._deadlines = deadlines
        self._requests: set[asyncio.Task[None]] = set()  # those that FastAPI serves
        self._stopped = False

    def stop(self) -> None:
        """The process stops: end what is here, each in its own dialect (SHUTTING_DOWN)."""
        self._stopped = True
        self._deadlines.stop(Code.SHUTTING_DOWN)
        while self._requests:
            self._requests.pop().cancel()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        scope["client"] = self.peers.client(scope)
        endpoint = self.endpoints.get(scope["path"]) or self._fastapi
        return endpoint(scope, receive, send)

    async def _fastapi(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, fields = scope["path"], head.fields(scope["headers"])
        call_id = head.request_id(fields)
        scope.setdefault("state", {})["request_id"] = call_id
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        ids = [(name, call_id.encode()) for name in self.errors.id_headers(path, fields)]
        begun = False

        async def send_with_id(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message["headers"], *ids]
            await send(message)

        task = asyncio.current_task()
        assert task is not None
        self._requests.add(task)
        try:
            await self.app(scope, receive, send_with_id)
            return
        except asyncio.CancelledError:
            if not self._stopped:
                raise
            code = Code.SHUTTING_DOWN
        except Exception:
            logger.exception("request failed")
            if begun:
                raise
            code = Code.INTERNAL_ERROR
        finally:
            self._requests.discard(task)
        if not begun:
            response = self.errors.response(path, fields, GatewayError(code), call_id)
            await response(scope, receive, send_with_id)
