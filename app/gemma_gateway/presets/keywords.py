"""Which JSON Schemas a preset may have for its variables.

Draft 2020-12, without what has no bound or looks elsewhere: an allow-list of keywords (no regular
expressions), references into the same schema only, and none that leads back to itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any
from urllib.parse import unquote

import orjson
from jsonschema import Draft202012Validator, SchemaError

from gemma_gateway.core.dialect import Json

MOST_NODES = 2_000  # values in a schema
MOST_DEPTH = 32
MOST_QUOTED = 200  # characters of what is wrong

FALLBACK = "fallback"  # our own keyword: what a variable is whose value doesn't fit
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_ONE = frozenset({"items", "additionalProperties", "not", "propertyNames"})
_SEVERAL = frozenset({"anyOf", "allOf", "oneOf", "prefixItems"})
_NAMED = frozenset({"properties", "$defs"})
_KEYWORDS = frozenset(
    {
        *_ONE,
        *_SEVERAL,
        *_NAMED,
        *("$schema", "$ref", "$comment", "title", "description", "default", "examples"),
        *("type", "enum", "const", "required", "minItems", "maxItems", "uniqueItems"),
        *("minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum"),
        *("exclusiveMaximum", "multipleOf", "minProperties", "maxProperties"),
    }
)
Place = tuple[str | int, ...]


class SchemaFault(ValueError):
    """A schema that can't be used.

    Args:
        place: inside it.
        why: what is wrong there.
    """

    def __init__(self, place: Place, why: str) -> None:
        super().__init__(why)
        self.place = place
        self.why = why


def check(document: Json) -> None:
    """Raise SchemaFault unless this is such a schema, of an object.

    Args:
        document: with its ``type`` and ``properties``.
    """
    _check_json(document)
    try:
        Draft202012Validator.check_schema(document)
    except SchemaError as error:
        raise SchemaFault(tuple(error.absolute_path), _short(error.message)) from None
    if document["type"] != "object":
        raise SchemaFault(("type",), "variables are an object")
    _check(document, document, (), {})


def _check_json(document: Any) -> None:
    """Raise SchemaFault unless this is JSON, of a bounded size; YAML can hold more."""
    count = 0
    stack: list[tuple[Any, Place]] = [(document, ())]
    while stack:
        node, place = stack.pop()
        count += 1
        if count > MOST_NODES or len(place) > MOST_DEPTH:
            raise SchemaFault((), "too large, or nested too deeply")
        if isinstance(node, dict):
            if odd := [key for key in node if not isinstance(key, str)]:
                raise SchemaFault(place, f"{odd[0]!r} is no name: put it in quotes")
            stack += [(value, (*place, key)) for key, value in node.items()]
        elif isinstance(node, list):
            stack += [(value, (*place, n)) for n, value in enumerate(node)]
        elif not (
            isinstance(node, str | int | None) or (isinstance(node, float) and isfinite(node))
        ):
            raise SchemaFault(place, f"{node} is no value of JSON: put it in quotes")
    try:
        orjson.dumps(document)
    except TypeError:  # half a surrogate pair, an integer past 64 bits
        raise SchemaFault((), "holds what JSON can't have") from None


def _check(root: Json, node: Any, place: Place, seen: dict[int, bool]) -> None:
    """Raise SchemaFault where a schema, or one inside of it, has a keyword that isn't allowed or a
    reference that leads nowhere, elsewhere or back.

    Args:
        seen: ids of the schemas so far; True: those that are being looked at.
    """
    if not isinstance(node, dict) or seen.get(id(node)) is False:
        return
    if seen.get(id(node)):
        raise SchemaFault(place, "a reference that leads back to itself")
    seen[id(node)] = True
    for keyword, value in node.items():
        own = len(place) == 2 and place[0] == "properties" and keyword == FALLBACK
        if keyword not in _KEYWORDS and not own:
            raise SchemaFault((*place, keyword), f"{keyword}: this keyword is not taken here")
        if keyword == "$schema" and value != _DRAFT:
            raise SchemaFault((*place, keyword), f"only {_DRAFT} is known")
    if "$ref" in node:
        _check(root, _target(root, node["$ref"], (*place, "$ref")), (*place, "$ref"), seen)
    for inner, one in _inner(node, place):
        _check(root, one, inner, seen)
    seen[id(node)] = False


def _inner(node: Mapping[str, Any], place: Place) -> Iterator[tuple[Place, Any]]:
    for keyword, value in node.items():
        if keyword in _ONE:
            yield (*place, keyword), value
        elif keyword in _SEVERAL:
            yield from (((*place, keyword, n), one) for n, one in enumerate(value))
        elif keyword in _NAMED:
            yield from (((*place, keyword, name), one) for name, one in value.items())


def _target(root: Json, reference: str, place: Place) -> Any:
    """The schema that a reference leads to."""
    if not (reference == "#" or reference.startswith("#/")):
        raise SchemaFault(place, "only references into the same schema are followed: #/$defs/NAME")
    found: Any = root
    for step in unquote(reference[2:]).split("/") if len(reference) > 1 else ():
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            raise SchemaFault(place, f"{_short(reference)} leads nowhere")
    return found


def _short(words: str) -> str:
    return words if len(words) <= MOST_QUOTED else f"{words[:MOST_QUOTED]}..."
