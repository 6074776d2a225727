"""What a caller may know of itself."""

from __future__ import annotations

from gemma_gateway.core.call import Principal
from gemma_gateway.core.usage_report import UsageReport
from gemma_gateway.limits.ledger import Ledger
from gemma_gateway.limits.places import Places
from gemma_gateway.pipeline.routing import Routing


class Own:
    """Answers of ``/v1/models`` and ``/v1/usage``.

    Args:
        routing: knows the models.
        ledger: knows what was used.
        places: knows what is in flight.
    """

    def __init__(self, routing: Routing, ledger: Ledger, places: Places) -> None:
        self.models, self.unknown = routing.models, routing.unknown
        self._ledger = ledger
        self._places = places

    async def usage(self, principal: Principal) -> UsageReport:
        """What this caller has used. Never raises StoreError."""
        report = await self._ledger.usage(principal)
        report.in_flight = self._places.held(principal)
        report.max_in_flight = principal.tier.max_in_flight
        return report
