"""The ``prompts`` section: the operator's own prompt presets."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from gemma_gateway.settings.fields import Strict


class PromptSettings(Strict):
    """Prompt presets."""

    prompts_file: Path | None = Field(
        None,
        description=(
            "Prompt presets in YAML, a file or a folder of some, beside the built-in ones "
            "(docs/prompts.md)"
        ),
    )
