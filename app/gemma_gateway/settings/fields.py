"""What the fields of several sections are made of."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_settings import NoDecode


class Strict(BaseModel):
    """A part of the settings that takes no name it doesn't know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def split(value: Any) -> Any:
    """Comma-separated text, as an environment variable gives it, to its parts."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _printable(name: str) -> str:
    if not name.isprintable() or name != name.strip():
        raise ValueError("only printable characters, with no space at either end")
    return name


# Of a key, for people.
Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_printable)]
Commas = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split)]
# Of time-outs: event loops know no "for ever".
Seconds = Annotated[float, Field(le=31 * 86_400)]
# Place of a setting, and what is wrong with it.
Fault = tuple[tuple[str | int, ...], str]


class Contradiction(ValueError):
    """Fields that can't go together.

    Args:
        faults: place and reason of each.
    """

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, at))}: {why}" for at, why in faults))
        self.faults = faults
