"""The ``monitoring`` section: health, records of calls, and what they cost."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field

from gemma_gateway.settings.fields import Seconds, Strict


class Price(Strict):
    """What a model's tokens cost, for a million of them, in the settings' ``currency``."""

    input_per_million: Decimal = Field(ge=0, le=1_000_000)
    output_per_million: Decimal = Field(ge=0, le=1_000_000)
    cached_per_million: Decimal | None = Field(
        None, ge=0, le=1_000_000, description="Prompt tokens of the prefix cache; unset: as others"
    )


class MonitoringSettings(Strict):
    """Health, records of calls, and what they cost."""

    health_cache_seconds: Seconds = Field(
        10.0, ge=0, description="How long a /health result is reused, seconds"
    )
    health_degraded_seconds: Seconds = Field(
        5.0, gt=0, description=("A health generation slower than this is degraded")
    )
    health_timeout: Seconds = Field(20.0, gt=0, description="Longest health generation, seconds")
    records_max: int = Field(
        10_000, ge=100, le=1_000_000, description="Records of finished calls kept in the store"
    )
    records_days: float = Field(
        7.0, gt=0, le=366, description="Age at which a record of a call is deleted, days"
    )
    prices: dict[str, Price] = Field(
        default_factory=dict,
        description="Prices by model for /v1/monitoring/usage, such as "
        "{gemma: {input_per_million: 0.1, output_per_million: 0.3}} (YAML)",
    )
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$", description="Of the prices: ISO 4217")
