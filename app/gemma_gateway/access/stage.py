"""Who is calling: the first stage of a call."""

from __future__ import annotations

from gemma_gateway.access.keys import KeyRing
from gemma_gateway.core.call import NO_CREDENTIALS, Call, Client


class Identify:
    """Finds the caller by the call's credentials, unless whoever began the call knows it already.

    Args:
        keys: the keys of all callers.
    """

    name = "access"

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    async def enter(self, call: Call, client: Client) -> None:
        """See ``Stage``; raises INVALID_API_KEY or what else is wrong with the key."""
        if call.principal is None:
            given = call.credentials
            call.principal = await self._keys.identify(*given, call.client_address)
        call.credentials = NO_CREDENTIALS
