"""The columns of what is kept of a call, as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import BaseModel, Field, create_model

from gemma_gateway.core.record import FinishedCall
from gemma_gateway.monitoring.timestamps import iso

ID_CHARS = 8  # of a key's id that are shown


def model_of(struct: type[FinishedCall]) -> type[BaseModel]:
    """The base of a view: the struct's columns in their order, with their descriptions.

    Every answer has all of them, so that none has a default.

    Args:
        struct: each of its fields is ``Annotated`` with a ``msgspec.Meta`` that describes it.
    """
    fields: dict[str, Any] = {}
    for column in msgspec.structs.fields(struct):
        (meta,) = column.type.__metadata__
        fields[column.name] = (column.type.__origin__, Field(description=meta.description))
    fields["time"] = (str, Field(description="End of the call"))
    fields["key_id"] = (str, Field(description=f"First {ID_CHARS} digits of the key's id"))
    return create_model(f"{struct.__name__}Columns", **fields)


def shown(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Values of such columns as a view has them.

    Args:
        columns: by name; of a ``FinishedCall``.
    """
    row = dict(columns)
    row["time"] = iso(row["time"])
    row["key_id"] = row["key_id"][:ID_CHARS]
    return row
