"""The ``store`` section: where all gateways keep what they share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gemma_gateway.settings.fields import Strict


class StoreSettings(Strict):
    """Where all gateways keep what they share, and what happens while it is away."""

    redis_url: str = Field(
        "",
        repr=False,
        description=(
            "redis://HOST:PORT/DB, unix:///PATH, redis+cluster://HOST:PORT,HOST:PORT, or "
            "redis+sentinel://HOST:PORT,HOST:PORT/MASTER/DB; rediss for TLS; empty: embedded Valkey"
        ),
    )
    redis_prefix: str = Field("gemma", pattern=r"^[a-z0-9-]{1,32}$", description="Key prefix")
    store_failure: Literal["local", "deny", "allow"] = Field(
        "local",
        description=("When the store is unavailable: limit in process, deny all, or allow all"),
    )
    store_timeout: float = Field(
        0.05,
        gt=0,
        le=5,
        description=(
            "Longest wait of a call for the store, seconds; 1 for the embedded one unless set"
        ),
    )
