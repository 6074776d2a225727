"""JSON bodies of the routes that FastAPI serves: bounded, strict, and read only for those who may.

FastAPI reads a body before it asks who sends it, whatever its length. These are read when their
turn comes among a route's dependencies: after the caller's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from gemma_gateway.api import head
from gemma_gateway.api.connection import too_large, too_late
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.settings.yamlfile import faults, field
from gemma_gateway.wire import coding, strict_json

MAX_BYTES = 64 * 1024
MAX_DEPTH = 16
SECONDS = 10.0  # a body that takes longer isn't waited for

M = TypeVar("M", bound=BaseModel)


def json_body(model: type[M]) -> Callable[[Request], Awaitable[M]]:
    """A dependency that reads the body as ``model``; declare it after the caller's.

    It raises VALIDATION_ERROR, whose ``param`` is the field, REQUEST_TOO_LARGE or
    UNSUPPORTED_ENCODING.
    """

    async def read(request: Request) -> M:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise _invalid("Send JSON with 'content-type: application/json'.")
        fields = head.fields(request.scope["headers"])
        coded = coding.read(fields.get(b"content-encoding", b""))
        raw = await _bytes(request)
        if coded:
            raw = coding.decode(raw, coded, MAX_BYTES)
        document = strict_json.loads(raw, MAX_DEPTH)
        try:
            return model.model_validate(document)
        except ValidationError as error:
            place, why = next(faults(error))
            raise _invalid(why, field(place) or None) from None

    return read


def takes(model: type[BaseModel]) -> dict[str, Any]:
    """What the OpenAPI document says of such a body (``openapi_extra`` of the route).

    Models inside of ``model`` must be part of an answer, too: there they are described.
    """
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def _bytes(request: Request) -> bytes:
    size, parts = 0, []
    try:
        async with asyncio.timeout(SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > MAX_BYTES:
                    raise too_large(MAX_BYTES)
                parts.append(part)
    except TimeoutError:
        raise too_late() from None
    except ClientDisconnect:
        raise _invalid("The connection ended before the body did.") from None
    return b"".join(parts)


def _invalid(message: str, param: str | None = None) -> GatewayError:
    return GatewayError(Code.VALIDATION_ERROR, message, param=param)
