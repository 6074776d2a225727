"""What tokens cost, by the price table of the settings."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from gemma_gateway.core.catalogue import Catalogue
from gemma_gateway.settings import Price

MILLION = 1_000_000
SMALLEST = Decimal("0.000001")  # costs are rounded to this, row by row, so that rows add up


class Prices:
    """The price table.

    Args:
        prices: by model.
        currency: ISO 4217.
        catalogue: models that may have a price of their own.
    """

    def __init__(
        self, prices: Mapping[str, Price], currency: str, catalogue: Catalogue | None = None
    ) -> None:
        self._prices = dict(prices)
        self._catalogue = catalogue or Catalogue()
        self.currency = currency

    def cost(self, model: str, read: int, written: int, cached: int) -> Decimal | None:
        """What tokens of a model cost.

        Args:
            model: its name.
            read: prompt tokens, the cached ones among them.
            written: generated tokens.
            cached: prompt tokens that came from the prefix cache.

        Returns:
            None for a model without a price.
        """
        price = self._prices.get(model)
        if price is None and (listed := self._catalogue.find(model)) is not None:
            price = listed.price
        if price is None:
            return None
        cached = min(cached, read)
        per_cached = price.cached_per_million
        if per_cached is None:
            per_cached = price.input_per_million
        whole = (read - cached) * price.input_per_million + cached * per_cached
        whole += written * price.output_per_million
        return (whole / MILLION).quantize(SMALLEST)
