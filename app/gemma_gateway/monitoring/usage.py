"""Usage of all keys, priced: what the finance person asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

from gemma_gateway.monitoring.prices import Prices
from gemma_gateway.monitoring.views import UsageRow, UsageTotals

COLUMNS = tuple(UsageRow.model_fields)


class UsageSheet:
    """Prices rows as they come, and adds them up.

    Args:
        prices: the price table.

    Attributes:
        unpriced: models that were used and have no price.
    """

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._counts = [0, 0, 0, 0]
        self._cost: Decimal | None = None
        self.unpriced: set[str] = set()

    def row(
        self, key_id: str, name: str, model: str, day: str, calls: int, tokens: tuple[int, int, int]
    ) -> dict[str, Any]:
        """One row, see :class:`monitoring.views.UsageRow`; its cost is a Decimal.

        Args:
            tokens: read, generated, and those of the read ones that came from the prefix cache.
        """
        read, written, cached = tokens
        cost = self._prices.cost(model, read, written, cached)
        if cost is None:
            self.unpriced.add(model)
        else:
            self._cost = cost + (self._cost or 0)
        for place, amount in enumerate((calls, read, written, cached)):
            self._counts[place] += amount
        values = (key_id, name, model, day, calls, read, written, cached, cost)
        return dict(zip(COLUMNS, values, strict=True))

    def totals(self) -> dict[str, Any]:
        """The sums of all rows so far, see :class:`monitoring.views.UsageTotals`."""
        names = (name for name in UsageTotals.model_fields if name != "cost")
        return {**dict(zip(names, self._counts, strict=True)), "cost": number(self._cost)}


def number(cost: Decimal | None) -> float | None:
    """A cost as a JSON number."""
    return None if cost is None else float(cost)


async def as_numbers(rows: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    """Rows for JSON."""
    async for row in rows:
        yield {**row, "cost": number(row["cost"])}
