"""The ``limits`` section: how much callers may use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from gemma_gateway.settings.fields import Strict
from gemma_gateway.settings.tier import BUILT_IN, MOST_REQUESTS, Tier, Window


class LimitSettings(Strict):
    """How much callers may use."""

    requests_per_hour: int = Field(
        100,
        ge=1,
        le=MOST_REQUESTS,
        description=("Requests per key in any hour, for tiers without windows of their own"),
    )
    tiers: dict[str, Tier] = Field(
        default_factory=dict,
        validate_default=True,
        description="Limits and bounds by tier, beside the built-in default and open (YAML)",
    )
    max_in_flight: int = Field(1024, ge=1, description="Calls in flight in this process")

    @field_validator("tiers", mode="before")
    @classmethod
    def _with_built_in(cls, tiers: Any) -> Any:
        if not isinstance(tiers, Mapping):
            return tiers
        found = {**BUILT_IN, **tiers}
        for name, fields in BUILT_IN.items():
            if isinstance(found[name], Mapping):
                found[name] = {**fields, **found[name]}
        return found

    @property
    def samples(self) -> bool:
        """Whether the answers to any tier's calls are judged."""
        return any(tier.quality_sample for tier in self.tiers.values())

    def tier(self, name: str) -> Tier:
        """The tier of that name, with ``requests_per_hour`` filled in where it has no windows."""
        tier = self.tiers.get(name) or Tier()
        if tier.windows:
            return tier
        return tier.model_copy(
            update={"windows": (Window(limit=self.requests_per_hour, seconds=3600),)}
        )
