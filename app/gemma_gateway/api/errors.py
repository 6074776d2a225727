"""Errors of the routes that FastAPI serves, in the client's own dialect."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.wire.anthropic.messages import Messages
from gemma_gateway.wire.openai.chat import Chat

OPENAI, ANTHROPIC = Chat(), Messages()
STATUS_CODES = {404: Code.NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED}


def told(path: str, error: GatewayError, request_id: str) -> bytes:
    """The body that tells ``error``; Anthropic's shape below ``/v1/messages``."""
    anthropic = path == "/v1/messages" or path.startswith("/v1/messages/")
    return (ANTHROPIC if anthropic else OPENAI).error(error, request_id)


def respond(path: str, error: GatewayError, request_id: str) -> Response:
    """The response that tells ``error``."""
    body = told(path, error, request_id)
    return Response(body, error.status, error.headers, media_type="application/json")


async def _gateway_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)
    return respond(request.url.path, error, request.state.request_id)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = STATUS_CODES.get(error.status_code, Code.VALIDATION_ERROR)
    known = GatewayError(code, headers=dict(error.headers or {}))
    return respond(request.url.path, known, request.state.request_id)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    param = ".".join(str(part) for part in first["loc"][1:])
    known = GatewayError(Code.VALIDATION_ERROR, first["msg"], param=param or None)
    return respond(request.url.path, known, request.state.request_id)


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(GatewayError, _gateway_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
