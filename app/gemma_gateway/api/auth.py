"""Who calls a route that FastAPI serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import Request

from gemma_gateway.api import head
from gemma_gateway.core.call import Principal
from gemma_gateway.core.errors import GatewayError

Identify = Callable[[bytes | None, bytes | None, str], Awaitable[Principal]]


class Auth:
    """Dependencies of routes.

    Args:
        identify: the caller by the values of ``authorization`` and ``x-api-key`` and the client's
            address; raises INVALID_API_KEY or what else is wrong with the key.
        admit: raises RATE_LIMIT_EXCEEDED when a caller asks too often.
    """

    def __init__(self, identify: Identify, admit: Callable[[Principal], None]) -> None:
        self._identify = identify
        self._admit = admit

    async def any_caller(self, request: Request) -> Principal:
        """The caller, whoever that is; RATE_LIMIT_EXCEEDED when it asks too often."""
        principal = await self._caller(request)
        self._admit(principal)
        return principal

    async def operator(self, request: Request) -> Principal:
        """The caller of a route that shows or changes what belongs to others; OPERATOR_REQUIRED
        for everybody else, whatever else is wrong with the request. Operators may ask as often as
        they like."""
        principal = await self._caller(request)
        principal.require_operator()
        return principal

    async def is_operator(self, request: Request) -> bool:
        """Whether the request bears an operator's key: for a route that is open to all, and says
        more to operators. Any other key, and none, is as good here."""
        try:
            principal = await self._caller(request)
            principal.require_operator()
        except GatewayError:
            return False
        return True

    async def _caller(self, request: Request) -> Principal:
        given = head.credentials(head.fields(request.scope["headers"]))
        address = request.client.host if request.client is not None else ""
        return await self._identify(*given, address)
