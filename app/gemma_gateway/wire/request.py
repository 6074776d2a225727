"""What the OpenAPI models of all dialects' requests share.

They describe, and are not run on the hot path. They name only the usual fields: what else a route
takes stands in its dialect's ``fields``, so every body is open.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

Text = str | list[dict[str, Any]]


class Body(BaseModel):
    """What all engine routes share."""

    model_config = ConfigDict(extra="allow")
    model: str | None = Field(None, max_length=256, description="Served model; default: the first")
