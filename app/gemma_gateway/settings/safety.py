"""The ``safety`` section: what may be said."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from gemma_gateway.settings.fields import Commas, Strict

CONTROL_TEXT = r"\S{2,64}"


def _tokens(tokens: tuple[str, ...]) -> tuple[str, ...]:
    for token in tokens:
        if not re.fullmatch(CONTROL_TEXT, token):
            raise ValueError(f"{token!r} is not a token: 2 to 64 characters, none of them a space")
    return tokens


class SafetySettings(Strict):
    """What may be said."""

    policy_file: Path | None = Field(
        None, description=("Term policy in YAML; empty: the four built-in terms")
    )
    control_tokens: Annotated[Commas, AfterValidator(_tokens)] = Field(
        (),
        description=(
            "Control tokens of the upstreams' tokenizers, beside those of Gemma 1 to 4, "
            "comma-separated: in what callers send they stay plain text"
        ),
    )
