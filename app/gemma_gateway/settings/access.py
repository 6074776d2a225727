"""The ``access`` section: who may call."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from gemma_gateway.settings.fields import Commas, Name, Seconds, Strict


class KeyEntry(Strict):
    """A key in the YAML file: only its SHA-256 is kept there."""

    name: Name
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    tier: str = "default"
    models: tuple[str, ...] = ()
    scopes: tuple[Literal["operator"], ...] = ()
    expires: datetime | None = None


class AccessSettings(Strict):
    """Who may call."""

    api_keys: Commas = Field(
        (), repr=False, description="API keys in the clear, comma-separated, tier default"
    )
    operator_keys: Commas = Field(
        (),
        repr=False,
        description=(
            "The same, with operator scope: they may also see and manage what belongs to others"
        ),
    )
    keys: tuple[KeyEntry, ...] = Field((), description="Further keys, hashed (YAML)")
    allow_anonymous: bool = Field(
        False, description=("Serve without keys; only on a loopback host")
    )
    key_stale_seconds: Seconds = Field(
        3600.0,
        ge=0,
        description=(
            "When the store is unavailable: how long keys made at run time go on working where "
            "they are "
            "known, seconds"
        ),
    )
