"""The schema of a preset's variables, and what a client sends for them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import orjson
from jsonschema import Draft202012Validator, ValidationError, validators
from referencing import Registry

from gemma_gateway.core.dialect import Json
from gemma_gateway.presets import budget, keywords
from gemma_gateway.presets.keywords import FALLBACK, Place, SchemaFault

MOST_VALUES = 5_000  # in what is sent for one, keys among them
MOST_DEPTH = 16
MOST_CHARS = 64 * 1024  # of all strings that are sent, but for media
MOST_NAMED = 32  # values that an error's text lists
SEVERAL = 8  # values of an enum, or items, that cost as much as one keyword

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


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
        document = {"type": "object", "properties": {}, **document}
        keywords.check(document)
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
        one = _validator(self.document).evolve(schema=self.document["properties"][name])
        return bool(one.is_valid(value))


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
