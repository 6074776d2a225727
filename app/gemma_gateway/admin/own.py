"""What a caller may know of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gemma_gateway.core.call import Principal
from gemma_gateway.core.catalogue import Catalogue
from gemma_gateway.core.engine import Engine
from gemma_gateway.core.usage_report import UsageReport
from gemma_gateway.limits.ledger import Ledger
from gemma_gateway.limits.places import Places
from gemma_gateway.pipeline.routing import Routing


class Card(NamedTuple):
    """What a caller may know of a model.

    Args:
        root: the model that stands behind an alias; else its own name.
        context: tokens that a prompt and its answer may have together; None: not told.
        max_tokens: longest answer that this caller may ask for; None: not bounded.
        description: what people should know of it; None: nothing is known.
        modalities: what a prompt may be made of; None: not told.
    """

    root: str
    context: int | None
    max_tokens: int | None
    description: str | None
    modalities: frozenset[str] | None


class Own:
    """Answers of ``/v1/models`` and ``/v1/usage``.

    Args:
        routing: knows the models.
        catalogue: knows their other names.
        engine: knows how much they take.
        ledger: knows what was used.
        places: knows what is in flight.
        describe: says what people should know of a model, or None.
    """

    def __init__(
        self,
        routing: Routing,
        catalogue: Catalogue,
        engine: Engine,
        ledger: Ledger,
        places: Places,
        describe: Callable[[str], str | None],
    ) -> None:
        self.models, self.unknown = routing.models, routing.unknown
        self._catalogue = catalogue
        self._engine = engine
        self._ledger = ledger
        self._places = places
        self._describe = describe

    def card(self, principal: Principal, name: str) -> Card:
        """One of the caller's ``models``."""
        root = self._catalogue.resolve(name)
        context = self._engine.max_model_len(root)
        bounds = (principal.tier.max_tokens_cap, context)
        most = min((b for b in bounds if b is not None), default=None)
        return Card(root, context, most, self._describe(root), self._engine.modalities(root))

    async def usage(self, principal: Principal) -> UsageReport:
        """What this caller has used. Never raises StoreError."""
        report = await self._ledger.usage(principal)
        report.in_flight = self._places.held(principal)
        report.max_in_flight = principal.tier.max_in_flight
        return report
