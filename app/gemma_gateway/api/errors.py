"""Errors outside of the engine routes, in the client's own protocol."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Scope

from gemma_gateway.core.dialect import Dialect
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.wire.anthropic import errors as anthropic
from gemma_gateway.wire.openai import errors as openai

Headers = Iterable[tuple[bytes, bytes]]  # names in small letters
STATUS_CODES = {404: Code.NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED}


class ErrorBodies:
    """Which protocol an error is told in: at an engine route and below it that route's own, on
    every other path OpenAI's, or Anthropic's for a client that names its version of the protocol.

    Args:
        dialects: of the engine routes.
    """

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        longest_first = sorted(dialects, key=lambda dialect: -len(dialect.path))
        self._dialects = [(d.path, d.path + "/", d) for d in longest_first]

    def body(self, path: str, headers: Headers, error: GatewayError, request_id: str) -> bytes:
        """The body that tells ``error`` to who asked for ``path`` with ``headers``."""
        for route, below, dialect in self._dialects:
            if path == route or path.startswith(below):
                return dialect.error(error, request_id)
        if any(name == b"anthropic-version" for name, _ in headers):
            return anthropic.error_body(error, request_id)
        return openai.error_body(error)

    def response(self, scope: Scope, error: GatewayError, request_id: str) -> Response:
        """The response that tells it."""
        body = self.body(scope["path"], scope["headers"], error, request_id)
        return Response(body, error.status, error.headers, media_type="application/json")

    def install(self, app: FastAPI) -> None:
        """Register the handlers of what FastAPI's routes raise."""
        app.add_exception_handler(GatewayError, self._gateway_error)
        app.add_exception_handler(HTTPException, self._http_error)
        app.add_exception_handler(RequestValidationError, self._invalid)

    async def _gateway_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, GatewayError)
        return self.response(request.scope, error, request.state.request_id)

    async def _http_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = STATUS_CODES.get(error.status_code, Code.VALIDATION_ERROR)
        known = GatewayError(code, headers=dict(error.headers or {}))
        return self.response(request.scope, known, request.state.request_id)

    async def _invalid(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"][1:])
        known = GatewayError(Code.VALIDATION_ERROR, first["msg"], param=param or None)
        return self.response(request.scope, known, request.state.request_id)
