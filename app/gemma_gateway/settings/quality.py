"""The ``quality`` section: how answers are judged."""

from __future__ import annotations

from pydantic import Field

from gemma_gateway.settings.fields import Strict


class QualitySettings(Strict):
    """How the answers are judged that a tier's ``quality_sample`` picks."""

    quality_embeddings: str = Field(
        "",
        description="Sentence-embedding model that judges answers: a folder or hub name; empty: "
        "all-MiniLM-L6-v2 (extra quality)",
    )
    quality_consistency: int = Field(
        2,
        ge=0,
        le=8,
        description="Further answers that an answer without a context is compared with; 0: none",
    )
    quality_max_in_flight: int = Field(
        8, ge=0, description="With more calls in flight than that, sampled ones are not judged"
    )
