"""What was most likely meant by a name that isn't known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel


def meant(name: str, known: Iterable[str]) -> str:
    """``: did you mean port?``; empty where no known name is like it."""
    close = difflib.get_close_matches(name, list(known), 1)
    return f": did you mean {close[0]}?" if close else ""


def names(model: type[BaseModel], place: Iterable[str | int]) -> Iterable[str]:
    """The fields that a model has at a place within it.

    Args:
        place: names, keys of mappings and indexes that lead there.
    """
    here: type[BaseModel] | None = model
    for part in place:
        if here is not None and part in here.model_fields:
            here = _inner(here.model_fields[str(part)].annotation)
    return here.model_fields if here is not None else ()


def _inner(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation is or holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_inner(argument) for argument in get_args(annotation))
    return next((model for model in found if model is not None), None)
