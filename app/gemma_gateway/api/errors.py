"""Errors outside of the engine routes, in the client's own protocol."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from gemma_gateway.api.head import Fields, fields
from gemma_gateway.api.paths import Routes
from gemma_gateway.core.dialect import Dialect
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.wire.openai import errors as openai

STATUS_CODES = {404: Code.NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED}


class ErrorBodies:
    """Which protocol a client is spoken to in: at an engine route and below it that route's own, on
    every other path that of which it sends a header, else OpenAI's.

    Args:
        dialects: of the engine routes.
    """

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        longest_first = sorted(dialects, key=lambda dialect: -len(dialect.path))
        self._dialects = [(d.path, d.path + "/", d) for d in longest_first]
        self._by_header = {d.client_header: d for d in dialects if d.client_header}
        self._routes = Routes(())

    def body(self, path: str, head: Fields, error: GatewayError, request_id: str) -> bytes:
        """The body that tells ``error`` to who asked for ``path``."""
        dialect = self._dialect(path, head)
        return openai.error_body(error) if dialect is None else dialect.error(error, request_id)

    def id_headers(self, path: str, head: Fields) -> tuple[bytes, ...]:
        """Names of the headers that tell the request's id to who asked for ``path``."""
        dialect = self._dialect(path, head)
        return Dialect.id_headers if dialect is None else dialect.id_headers

    def _dialect(self, path: str, head: Fields) -> Dialect | None:
        for route, below, dialect in self._dialects:
            if path == route or path.startswith(below):
                return dialect
        return next((d for name, d in self._by_header.items() if name in head), None)

    def response(self, path: str, head: Fields, error: GatewayError, request_id: str) -> Response:
        """The response that tells it."""
        body = self.body(path, head, error, request_id)
        return Response(body, error.status, error.headers, media_type="application/json")

    def install(self, app: FastAPI) -> None:
        """Register the handlers of what FastAPI's routes raise; they are all there already."""
        paths = [route.path for route in app.routes if isinstance(route, Route)]
        self._routes = Routes([*paths, *(path for path, _, _ in self._dialects)])
        app.add_exception_handler(GatewayError, self._gateway_error)
        app.add_exception_handler(HTTPException, self._http_error)
        app.add_exception_handler(RequestValidationError, self._invalid)

    def _tell(self, request: Request, error: GatewayError) -> Response:
        head = fields(request.scope["headers"])
        return self.response(request.scope["path"], head, error, request.state.request_id)

    async def _gateway_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, GatewayError)
        return self._tell(request, error)

    async def _http_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = STATUS_CODES.get(error.status_code, Code.VALIDATION_ERROR)
        headers, message = dict(error.headers or {}), ""
        if code is Code.METHOD_NOT_ALLOWED:
            headers["allow"] = ", ".join(sorted(_methods(request)))
        elif code is Code.NOT_FOUND and (meant := self._routes.nearest(request.scope["path"])):
            message = f"No such route; did you mean {meant}?"
        return self._tell(request, GatewayError(code, message, headers=headers))

    async def _invalid(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"][1:])
        known = GatewayError(Code.VALIDATION_ERROR, first["msg"], param=param or None)
        return self._tell(request, known)


def _methods(request: Request) -> set[str]:
    """All that a path takes: each of its routes knows its own only (RFC 9110, 15.5.6)."""
    found: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return found | {"HEAD"} if "GET" in found else found
