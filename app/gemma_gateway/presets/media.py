"""Images and files among a preset's variables: each form that clients have for them, as one."""

from __future__ import annotations

from typing import Any, Literal

from gemma_gateway.core.dialect import Json
from gemma_gateway.presets.schema import VariableFault
from gemma_gateway.wire.media import DETAILS

Kind = Literal["image", "file"]
KINDS: tuple[Kind, ...] = ("image", "file")
_MOST_NAME = 256


def read(kind: Kind, name: str, value: Any) -> Json:
    """A variable's value as a part of a chat message.

    Args:
        kind: what the preset wants.
        name: of the variable.
        value: a data: URL, or a part as chat completions or Responses have it.

    Raises:
        VariableFault: it is something else, or would have to be loaded from somewhere.
    """
    if isinstance(value, str):
        return _part(kind, name, value, {})
    if not isinstance(value, dict):
        raise VariableFault((name,), f"must be a data: URL, or a part of type input_{kind}")
    given = {key: inner for key, inner in value.items() if inner is not None}
    match given.pop("type", None):
        case "input_image" if kind == "image":
            return _part(kind, name, given.pop("image_url", None), given)
        case "image_url" if kind == "image":
            inner = given.pop("image_url", None)
            inner = dict(inner) if isinstance(inner, dict) else {"url": inner}
            return _part(kind, name, inner.pop("url", None), {**given, **inner})
        case "input_file" if kind == "file":
            return _part(kind, name, given.pop("file_data", None), given)
        case "file" if kind == "file":
            inner = given.pop("file", None)
            inner = dict(inner) if isinstance(inner, dict) else {}
            return _part(kind, name, inner.pop("file_data", None), {**given, **inner})
    raise VariableFault((name, "type"), f"must be input_{kind}")


def _part(kind: Kind, name: str, data: Any, more: Json) -> Json:
    """A part with its data; ``more`` is what it may have beside."""
    if not isinstance(data, str) or data[:5].lower() != "data:":
        what = "nothing is kept here, and nothing is loaded from elsewhere"
        raise VariableFault((name,), f"must hold a data: URL: {what}")
    known = "detail" if kind == "image" else "filename"
    if odd := sorted(more.keys() - {known}):
        raise VariableFault((name, odd[0]), "is not taken here")
    beside = more.get(known)
    if kind == "image":
        if beside is not None and beside not in DETAILS:
            raise VariableFault((name, known), f"must be one of {', '.join(DETAILS)}")
        detail = {} if beside is None else {known: beside}
        return {"type": "image_url", "image_url": {"url": data, **detail}}
    if beside is not None and not (isinstance(beside, str) and len(beside) <= _MOST_NAME):
        raise VariableFault((name, known), f"must be a name of at most {_MOST_NAME} characters")
    called = {} if beside is None else {known: beside}
    return {"type": "file", "file": {"file_data": data, **called}}
