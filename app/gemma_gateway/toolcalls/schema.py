"""The arguments of a call against the JSON Schema of its tool: brought to it where that loses
nothing, and checked.

The schema is a client's, and this runs between the tokens of everybody's streams. So there is a
budget instead of a library: no pattern is run, no reference leaves the schema, and what takes more
than ``MAX_STEPS`` counts as fitting. The words that matter for arguments are known: ``type``,
``enum``, ``const``, ``properties``, ``required``, ``additionalProperties``, ``items``, ``anyOf``,
``oneOf``, ``allOf``, ``$ref``; others are passed over.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from typing import Any

import orjson

MAX_STEPS = 20_000  # looks at a value or a part of a schema, for one call
MAX_FAULTS = 8

_INTEGER = re.compile(r"[+-]?\d{1,100}")
_NUMBER = re.compile(r"[+-]?(?:\d{1,100}(?:\.\d{0,100})?|\.\d{1,100})(?:[eE][+-]?\d{1,2})?")
_TRUTH = {"true": True, "yes": True, "false": False, "no": False}


class _Spent(Exception):
    """The budget is used up."""


@dataclass(frozen=True, slots=True)
class Schema:
    """A JSON Schema of an object, the arguments of a tool.

    Args:
        document: the schema; empty: anything fits.
    """

    document: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its arguments, in their order."""
        properties = self.document.get("properties")
        return tuple(properties) if isinstance(properties, dict) else ()

    def fit(self, arguments: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The arguments, brought to the schema, and what still doesn't fit it."""
        work = _Work(self.document)
        try:
            fitted = work.value(arguments, self.document, "")
        except (_Spent, RecursionError):
            return arguments, ()
        return (fitted if isinstance(fitted, dict) else arguments), tuple(work.faults)


class _Work:
    """One look at one call's arguments.

    Attributes:
        faults: what doesn't fit, so far.
    """

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._steps = 0
        self.faults: list[str] = []

    def value(self, value: Any, schema: Any, where: str) -> Any:
        """A value, brought to its schema."""
        self._step()
        schema = self._resolved(schema)
        if schema is False:
            self._fault(where, "not allowed")
        if not isinstance(schema, dict):
            return value
        for name in ("anyOf", "oneOf"):
            if isinstance(schema.get(name), list):
                value = self._one_of(value, schema[name], where)
        for part in schema["allOf"] if isinstance(schema.get("allOf"), list) else ():
            value = self.value(value, part, where)
        value = self._chosen(self._typed(value, schema, where), schema, where)
        if isinstance(value, dict):
            return self._object(value, schema, where)
        if isinstance(value, list) and "items" in schema:
            return [
                self.value(each, schema["items"], f"{where}.{i}") for i, each in enumerate(value)
            ]
        return value

    def _one_of(self, value: Any, schemas: list[Any], where: str) -> Any:
        """What the first schema makes of it that it fits as it is, or else at all."""
        kept, best = self.faults, None
        for schema in schemas:
            self.faults = []
            fitted = self.value(value, schema, where)
            if not self.faults:
                if fitted == value and fitted.__class__ is value.__class__:
                    self.faults = kept
                    return value
                best = best or (fitted,)
        self.faults = kept
        if best is None:
            self._fault(where, "fits none of the alternatives")
            return value
        return best[0]

    def _typed(self, value: Any, schema: dict[str, Any], where: str) -> Any:
        asked = schema.get("type")
        kinds = [asked] if isinstance(asked, str) else asked if isinstance(asked, list) else []
        if not kinds and "properties" in schema:
            kinds = ["object"]
        if not kinds or any(_is(value, kind) for kind in kinds):
            return value
        if value is None and schema.get("nullable") is True:
            return None
        for kind in kinds:
            made = _made(value, kind)
            if made:
                return made[0]
        words = " or ".join(str(kind) for kind in kinds)
        self._fault(where, f"not {'an' if words[:1] in 'aeio' else 'a'} {words}")
        return value

    def _chosen(self, value: Any, schema: dict[str, Any], where: str) -> Any:
        choices = schema.get("enum")
        if not isinstance(choices, list):
            if "const" not in schema:
                return value
            choices = [schema["const"]]
        self._step(len(choices))
        if any(_same(value, choice) for choice in choices):
            return value
        if isinstance(value, str):
            plain = value.strip().casefold()
            close = [c for c in choices if isinstance(c, str) and c.casefold() == plain]
            if len(close) == 1:
                return close[0]
        self._fault(where, "not one of the values that its enum allows")
        return value

    def _object(self, value: dict[str, Any], schema: dict[str, Any], where: str) -> dict[str, Any]:
        properties = schema.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        required = schema.get("required")
        for name in required if isinstance(required, list) else ():
            self._step()
            if isinstance(name, str) and name not in value:
                self._fault(_below(where, name), "missing")
        further = schema.get("additionalProperties", True)
        found: dict[str, Any] = {}
        for name, each in value.items():
            known = name in properties
            if not known and further is False and not schema.get("patternProperties"):
                self._fault(_below(where, name), "unknown")
            below = properties[name] if known else further
            found[name] = self.value(each, below, _below(where, name)) if below else each
        return found

    def _resolved(self, schema: Any) -> Any:
        """A schema, or the one that it refers to within the same document."""
        while isinstance(schema, dict) and isinstance(reference := schema.get("$ref"), str):
            self._step()
            if not reference.startswith("#"):
                return {}
            schema = self._root
            for name in reference[1:].split("/")[1:]:
                key = name.replace("~1", "/").replace("~0", "~")
                schema = schema.get(key) if isinstance(schema, dict) else None
        return schema

    def _step(self, count: int = 1) -> None:
        self._steps += count
        if self._steps > MAX_STEPS:
            raise _Spent

    def _fault(self, where: str, what: str) -> None:
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(f"{where or 'arguments'}: {what}")


def _below(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 is 1.0, and no boolean."""
    return bool(one == other) and isinstance(one, bool) is isinstance(other, bool)


_TYPES: dict[Any, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of a type; of one that nobody knows, each is."""
    known = _TYPES.get(kind) if isinstance(kind, str) else None
    if isinstance(value, bool) and kind in ("integer", "number"):
        return False
    return known is None or isinstance(value, known)


def _made(value: Any, kind: Any) -> tuple[Any, ...]:
    """A value as another type, in a tuple; an empty one where something would be lost."""
    if isinstance(value, str):
        return _from_text(value.strip(), kind)
    if isinstance(value, bool | None):
        return (("true" if value else "false"),) if kind == "string" and value is not None else ()
    if isinstance(value, int | float):
        if kind == "string":
            return (str(value),)
        if kind == "integer" and float(value).is_integer():
            return (int(value),)
    return ()


def _from_text(text: str, kind: Any) -> tuple[Any, ...]:
    plain = text.casefold()
    if kind == "boolean" and plain in _TRUTH:
        return (_TRUTH[plain],)
    if kind == "null" and plain in ("null", "none"):
        return (None,)
    if kind in ("integer", "number"):
        return _from_digits(text, kind)
    if kind in ("object", "array") and text[:1] == ("{" if kind == "object" else "["):
        with contextlib.suppress(ValueError):
            return (orjson.loads(text),)
    return ()


def _from_digits(text: str, kind: str) -> tuple[int | float, ...]:
    if _INTEGER.fullmatch(text):
        return (int(text),)
    if _NUMBER.fullmatch(text) is None:
        return ()
    number = float(text)
    if kind == "number":
        return (number,)
    return (int(number),) if number.is_integer() else ()
