"""The ``validation`` section: what a request may hold, whoever sends it."""

from __future__ import annotations

from pydantic import Field

from gemma_gateway.settings.fields import Commas, Strict


class ValidationSettings(Strict):
    """What a request may hold, whoever sends it; a tier bounds the rest."""

    max_body_bytes: int = Field(2 * 1024 * 1024, ge=1024, description="Largest request body, bytes")
    max_json_depth: int = Field(64, ge=8, le=512, description="Deepest nesting of a request body")
    allow_engine_parameters: Commas = Field(
        (),
        description=(
            "Further fields that clients may send to the engine, such as priority, "
            "cache_salt, chat_template_kwargs.date_string"
        ),
    )
