"""Requests beside the calls to an engine: for usage, models and the like."""

from __future__ import annotations

from gemma_gateway.core.buckets import Buckets
from gemma_gateway.core.call import Principal
from gemma_gateway.core.errors import Code, GatewayError

# A page that shows them asks once in some seconds, and each costs half a millisecond.
BURST, PER_SECOND = 200, 50


class Aside:
    """They are no calls for the limiter, but not free: so many for each key in this process."""

    def __init__(self) -> None:
        self._buckets = Buckets(BURST, PER_SECOND)

    def admit(self, principal: Principal) -> None:
        """Let a request through.

        Raises:
            GatewayError: RATE_LIMIT_EXCEEDED.
        """
        if wait := self._buckets.take(principal.key_id):
            raise GatewayError(
                Code.RATE_LIMIT_EXCEEDED,
                f"More than {PER_SECOND} such requests a second; try again shortly.",
                wait=wait,
            )
