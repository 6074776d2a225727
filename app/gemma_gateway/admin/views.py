"""Keys as operators and their callers see them: the answers of ``/v1/keys``."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, Field

from gemma_gateway.access.keys import Key
from gemma_gateway.access.model import StoredKey
from gemma_gateway.core.usage_report import Period
from gemma_gateway.monitoring.prices import Prices
from gemma_gateway.settings import LimitSettings, Window


class Spent(BaseModel):
    """What a key has used over a stretch of time."""

    calls: int
    total_tokens: int
    cost: float | None = Field(
        description="In the settings' ``currency``; null: no model that it used has a price"
    )

    @classmethod
    def of(cls, period: Period, prices: Prices) -> Spent:
        """Price what the ledger has counted."""
        costs = [
            prices.cost(model, t.prompt_tokens, t.completion_tokens, t.cached_tokens)
            for model, t in period.models.items()
        ]
        known = [cost for cost in costs if cost is not None]
        cost = float(sum(known, Decimal())) if known else None
        return cls(calls=period.calls, total_tokens=period.total_tokens, cost=cost)


class KeyUsage(BaseModel):
    """What a key has used."""

    today: Spent = Field(description="Since midnight UTC")
    all_time: Spent


class KeyView(BaseModel):
    """A key, without its secret."""

    id: str = Field(description="64 hex digits; unchanged when the key gets a new secret")
    name: str
    tier: str
    models: list[str] = Field(description="Models it may use; empty: all")
    scopes: list[str] = Field(description="operator: may see and change what belongs to others")
    created: datetime | None = Field(description="null: a key from the settings")
    expires: datetime | None = Field(description="null: never")
    source: Literal["settings", "store"] = Field(description="settings: change it there")
    windows: list[Window] | None = Field(description="Its own limits; null: those of its tier")
    state: Literal["active", "expired", "revoked"]
    usage: KeyUsage | None = Field(description="null: the store is unavailable")

    @classmethod
    def of(cls, key: Key | StoredKey, usage: KeyUsage | None, now: float) -> KeyView:
        """Show a key.

        Args:
            key: of the settings, or made at run time.
            usage: what it has used; None: that isn't known.
            now: seconds since the epoch.
        """
        if isinstance(key, StoredKey):
            return cls(
                id=key.id,
                name=key.name,
                tier=key.tier,
                models=list(key.models),
                scopes=list(key.scopes),
                created=_moment(key.created),
                expires=_moment(key.expires),
                source="store",
                windows=[Window(limit=n, seconds=s) for n, s in key.windows] or None,
                state=key.state(now),
                usage=usage,
            )
        who, expired = key.principal, key.expires is not None and now >= key.expires
        return cls(
            id=who.key_id,
            name=who.name,
            tier=who.tier_name,
            models=sorted(who.models),
            scopes=sorted(who.scopes),
            created=None,
            expires=_moment(key.expires),
            source="settings",
            windows=None,
            state="expired" if expired else "active",
            usage=usage,
        )


class KeyWithSecret(KeyView):
    """A key and its new secret."""

    key: str = Field(description="The secret: shown only once, and stored nowhere")


class TierView(BaseModel):
    """What the keys of a tier may use."""

    windows: list[Window]
    max_tokens_cap: int | None = Field(description="null: what the model's context holds")
    sanitise: str = Field(description="Active content in messages: strip, flag or off")
    policy: str = Field(description="The term policy: block, flag or off")


class KeyList(BaseModel):
    """A page of keys: those of the settings, then those made at run time, newest first."""

    data: list[KeyView]
    cursor: str | None = Field(description="``after`` of the next page; null: this is the last")
    tiers: dict[str, TierView]


def tier_views(limits: LimitSettings) -> dict[str, TierView]:
    """All tiers that a key may have."""
    tiers = {name: limits.tier(name) for name in limits.tiers}
    return {
        name: TierView(
            windows=list(tier.windows),
            max_tokens_cap=tier.max_tokens_cap,
            sanitise=tier.sanitise,
            policy=tier.policy,
        )
        for name, tier in tiers.items()
    }


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
