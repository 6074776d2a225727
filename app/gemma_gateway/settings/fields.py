"""What the fields of several sections are made of."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_settings import NoDecode


class Strict(BaseModel):
    """A part of the settings that takes no name it doesn't know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def split(value: Any) -> Any:
    """Comma-separated text, as an environment variable gives it, to its parts."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Commas = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split)]
# Of time-outs: event loops know no "for ever".
Seconds = Annotated[float, Field(le=31 * 86_400)]
