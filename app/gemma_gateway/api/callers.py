"""Who calls a route that FastAPI serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import Request

from gemma_gateway.core.call import Principal
from gemma_gateway.pipeline.gateway import Gateway

CallerOf = Callable[[Request], Awaitable[Principal]]


def any_caller(gateway: Gateway) -> CallerOf:
    """A dependency that gives the caller, or raises INVALID_API_KEY or what else is wrong with the
    key; RATE_LIMIT_EXCEEDED when it asks too often."""
    identify = _identified(gateway)

    async def caller(request: Request) -> Principal:
        principal = await identify(request)
        gateway.admit_aside(principal)
        return principal

    return caller


def operator(gateway: Gateway) -> CallerOf:
    """The same for routes that show or change what belongs to others; OPERATOR_REQUIRED for
    everybody else, whatever else is wrong with the request. Operators may ask as often as they
    like."""
    identify = _identified(gateway)

    async def caller(request: Request) -> Principal:
        principal = await identify(request)
        principal.require_operator()
        return principal

    return caller


def _identified(gateway: Gateway) -> CallerOf:
    async def caller(request: Request) -> Principal:
        headers = dict(request.scope["headers"])
        return await gateway.identify(
            headers.get(b"authorization"),
            headers.get(b"x-api-key"),
            request.client.host if request.client is not None else "",
        )

    return caller
