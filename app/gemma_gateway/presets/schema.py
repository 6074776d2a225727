"""The schema of a preset's variables, and what a client sends for them.

JSON Schema, Draft 2020-12, without what has no bound or looks elsewhere: an allow-list of keywords
(no regular expressions), references to the same schema only, and none that leads back to itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from typing import Any
from urllib.parse import unquote

import orjson
from jsonschema import Draft202012Validator, SchemaError, ValidationError, validators
from referencing import Registry

from gemma_gateway.core.dialect import Json
from gemma_gateway.presets import budget

MOST_NODES = 2_000  # values in a schema
MOST_VALUES = 5_000  # in what is sent for one, keys among them
MOST_DEPTH = 16
MOST_CHARS = 64 * 1024  # of all strings that are sent, but for media
MOST_NAMED = 32  # values that an error's text lists
SEVERAL = 8  # values of an enum, or items, that cost as much as one keyword

FALLBACK = "fallback"  # our own keyword: what a variable is whose value doesn't fit
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
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


class VariableFault(ValueError):
    """A variable that can't be used; ``place`` begins with its name."""

    def __init__(self, place: Place, why: str) -> None:
        super().__init__(why)
        self.place = place
        self.why = why


class Schema:
    """What a preset's variables may be.

    Args:
        document: JSON Schema of an object; empty: there are no variables.

    Attributes:
        document: the same, with its ``type`` and ``properties``.
        names: of the variables.

    Raises:
        SchemaFault: it can't be used.
    """

    def __init__(self, document: Json) -> None:
        _check_json(document)
        document = {"type": "object", "properties": {}, **document}
        try:
            Draft202012Validator.check_schema(document)
        except SchemaError as error:
            raise SchemaFault(tuple(error.absolute_path), _short(error.message)) from None
        if document["type"] != "object":
            raise SchemaFault(("type",), "variables are an object")
        _check(document, document, (), {})
        self.document = document
        self.names = frozenset(document["properties"])
        for name, one in document["properties"].items():
            if not _NAME.fullmatch(name):
                raise SchemaFault(("properties", name), "not a name: letters, digits and _")
            if isinstance(one, dict):
                for keyword in (FALLBACK, "default"):
                    if keyword in one and not self.fits(name, one[keyword]):
                        place = ("properties", name, keyword)
                        raise SchemaFault(place, "doesn't fit the variable's own schema")

    def take(self, given: object) -> tuple[Json, Json]:
        """What a template gets of what a client sent; within a budget (``budget.within``).

        Args:
            given: decoded JSON, media already in one form.

        Returns:
            The variables, defaults among them; and of those whose value didn't fit and that have a
            ``fallback``, what they are instead.

        Raises:
            VariableFault: a variable isn't known, is missing, or doesn't fit.
            OverBudget: checking it takes too long.
        """
        if not isinstance(given, dict):
            raise VariableFault((), "must be an object")
        for name in given:
            if name not in self.names:
                known = ", ".join(sorted(self.names)) or "none"
                raise VariableFault((name,), f"is not a variable of this preset, which has {known}")
        values = {name: self._read(name, value) for name, value in given.items()}
        _check_size(values)
        replaced: Json = {}
        for name, one in self.document["properties"].items():
            if isinstance(one, dict):
                if name in values and FALLBACK in one and not self._fits(name, values[name]):
                    values[name] = replaced[name] = one[FALLBACK]
                elif name not in values and "default" in one:
                    values[name] = one["default"]
        error = next(_validator(self.document).iter_errors(values), None)
        if error is not None:
            raise _fault(error)
        return values, replaced

    def _read(self, name: str, value: Any) -> Any:
        """A value as it is meant: OpenAI's input_text is its text, and of what isn't a string,
        clients whose type of variables has only strings send the JSON."""
        if isinstance(value, dict) and value.get("type") == "input_text" and "text" in value:
            value = value["text"]
        if isinstance(value, str) and not self._may_be_text(name):
            if len(value) > MOST_CHARS:
                raise VariableFault((name,), f"holds more than {MOST_CHARS} characters")
            try:
                return orjson.loads(value)
            except ValueError:
                return value  # of the wrong type, which the schema will say
        return value

    def _may_be_text(self, name: str) -> bool:
        one = self.document["properties"][name]
        types = one.get("type", "string") if isinstance(one, dict) else "string"
        return "string" in ([types] if isinstance(types, str) else types)

    def fits(self, name: str, value: Any) -> bool:
        """Whether a value of the operator's fits a variable, by itself."""
        with budget.within(budget.Budget()):
            return self._fits(name, value)

    def _fits(self, name: str, value: Any) -> bool:
        rest = {key: value for key, value in self.document.items() if key == "$defs"}
        one = {"allOf": [self.document["properties"][name]], **rest}
        return bool(_validator(one).is_valid(value))


def _counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A keyword's check that counts for the budget."""

    def run(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        costs = 1
        if name == "$ref":
            costs += 2
        elif name == "enum":
            costs += len(value) // SEVERAL
        elif name == "uniqueItems" and isinstance(instance, list):
            costs += len(instance) ** 2 // SEVERAL
        budget.running().check(costs)
        return function(validator, value, instance, schema)

    return run


_Validator: Any = validators.extend(
    Draft202012Validator,
    {name: _counted(name, check) for name, check in Draft202012Validator.VALIDATORS.items()},
)


def _validator(document: Json) -> Any:
    return _Validator(document, registry=Registry())  # which never fetches anything


def _fault(error: ValidationError) -> VariableFault:
    """The first fault that was found, in words without what was sent."""
    place: Place = tuple(error.absolute_path)
    value, instance = error.validator_value, error.instance
    match error.validator:
        case "required":
            missing = next(name for name in value if name not in instance)
            return VariableFault((*place, missing), "is missing")
        case "additionalProperties" if isinstance(instance, dict):
            known = error.schema.get("properties", {})
            odd = next(name for name in instance if name not in known)
            return VariableFault((*place, odd), "is not known here")
        case "type":
            types = [value] if isinstance(value, str) else value
            why = f"must be of type {' or '.join(types)}"
        case "enum":
            why = f"must be one of {', '.join(map(_plain, value[:MOST_NAMED]))}"
        case "minItems" | "maxItems" | "minLength" | "maxLength" | "minimum" | "maximum":
            most = "at most" if error.validator.startswith("max") else "at least"
            what = {"Items": " items", "Length": " characters"}.get(error.validator[3:], "")
            why = f"must {'have' if what else 'be'} {most} {value}{what}"
        case "uniqueItems":
            why = "must not hold an item twice"
        case None:
            why = "is not allowed"
        case _:
            why = f"breaks {error.validator} of the preset's schema"
    return VariableFault(place, why)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _short(words: str) -> str:
    return words if len(words) <= 200 else f"{words[:200]}..."


def _check_json(document: Any) -> None:
    """Raise SchemaFault unless this is JSON, of a bounded size; YAML can hold more."""
    count = 0
    stack: list[tuple[Any, Place]] = [(document, ())]
    while stack:
        node, place = stack.pop()
        count += 1
        if count > MOST_NODES or len(place) > 2 * MOST_DEPTH:
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


def _check_size(values: Json) -> None:
    """Raise VariableFault where variables are larger or deeper than anybody's prompt needs."""
    count = chars = 0
    stack: list[tuple[Any, str, int]] = [(value, name, 1) for name, value in values.items()]
    while stack:
        node, name, depth = stack.pop()
        count += 1
        inner: list[Any] = []
        if isinstance(node, str):
            chars += len(node)
        elif isinstance(node, dict):
            inner = [*node, *node.values()]
        elif isinstance(node, list):
            inner = node
        if depth > MOST_DEPTH:
            raise VariableFault((name,), f"is nested more than {MOST_DEPTH} deep")
        if count + len(inner) > MOST_VALUES:
            raise VariableFault((name,), f"with it there are more than {MOST_VALUES} values")
        if chars > MOST_CHARS:
            raise VariableFault((name,), f"with it there are more than {MOST_CHARS} characters")
        stack += [(value, name, depth + 1) for value in inner]
