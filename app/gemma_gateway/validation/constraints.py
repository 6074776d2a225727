"""Bounds on what binds an answer: JSON schemas, choices, regular expressions and grammars.

An engine compiles such a constraint before the call begins and asks it for the allowed tokens at
each step, beside everybody else's tokens. The bounds are on structure, chosen so that whatever they
let through compiles in less than 0.3 s of CPU and gives its tokens in less than 20 ms with Gemma's
vocabulary (``python -m benchmarks.constraints``; docs/constraints.md holds the table).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from gemma_gateway.core.dialect import Json
from gemma_gateway.settings import Tier
from gemma_gateway.validation.expressions import Refused, weigh_grammar, weigh_regex
from gemma_gateway.validation.parameters import invalid

MAX_BYTES = 64 * 1024  # one constraint, as JSON
MAX_TOOLS = 256
MAX_TOOLS_BYTES = 512 * 1024  # all tools, as JSON
MAX_PATTERN_CHARS = 2048
MAX_PATTERNS_WEIGHT = 4000  # all patterns of a constraint
MAX_PROPERTIES = 1000
MAX_OPTIONAL = 200  # of one object: each may be followed by any later one
MAX_OBJECTS = 2500  # JSON objects in a schema
MAX_BRANCHES = 1000  # of anyOf, oneOf, allOf, prefixItems
MAX_TEXTS = 2000  # enum values or choices
MAX_TEXT_CHARS = 1000  # one of them
MAX_TEXTS_CHARS = 30_000  # all of them
MAX_LENGTH = 100_000  # of strings
MAX_ITEMS = 2500  # all counts of items and properties
MAX_RANGES = 150  # numbers with a least or greatest value
MAX_FORMATS = 150

_LENGTHS = ("minLength", "maxLength")
_ITEMS = ("minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains")
_RANGES = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_BRANCHES = ("anyOf", "oneOf", "allOf", "prefixItems")
STRUCTURED = frozenset(
    {
        *("json", "regex", "choice", "grammar", "json_object", "structural_tag"),
        *("disable_any_whitespace", "disable_additional_properties", "whitespace_pattern"),
    }
)
_BINDING = frozenset({"structured_outputs", "response_format", "text", "output_config", "tools"})
_FREE_CHOICES = (None, "auto", "none")


def check_constraints(body: Json, tier: Tier) -> None:
    """Check all that binds the answer of a call, wherever its dialect puts it.

    Args:
        body: decoded request.
        tier: says whether grammars and regular expressions are taken at all.

    Raises:
        GatewayError: VALIDATION_ERROR with the path of the field.
    """
    if _BINDING.isdisjoint(body):
        return
    if (value := body.get("structured_outputs")) is not None:
        _structured(value, tier)
    if (value := body.get("response_format")) is not None:
        _format(value, "response_format", tier)
    for name in ("text", "output_config"):
        holder = body.get(name)
        if holder.__class__ is dict and holder.get("format") is not None:
            _format(holder["format"], f"{name}.format", tier)
    if (value := body.get("tools")) is not None:
        _tools(value, body.get("tool_choice"), tier)


def _structured(value: Any, tier: Tier) -> None:
    where = "structured_outputs"
    _small(value, where, MAX_BYTES)
    for name, item in value.items():
        at = f"{where}.{name}"
        if name not in STRUCTURED:
            raise invalid(f"{where} accepts {', '.join(sorted(STRUCTURED))}.", where)
        if item is None or item.__class__ is bool:
            continue
        if name == "json":
            check_schema(_decoded(item, at), at)
        elif name == "choice":
            _Count(at).texts(item)
        elif name == "structural_tag":
            _opted(at, tier)
            check_schema(_decoded(item, at), at)
        else:
            _opted(at, tier)
            weigh(item, at, weigh_grammar if name == "grammar" else weigh_regex)


def _format(value: Any, where: str, tier: Tier) -> None:
    _small(value, where, MAX_BYTES)
    kind = value.get("type")
    if kind in ("structural_tag", "grammar", "regex", "lark_grammar", "ebnf"):
        _opted(f"{where}.type", tier)
    check_schema(value, where)


def _tools(tools: Any, choice: Any, tier: Tier) -> None:
    if tools.__class__ is not list:
        raise invalid("tools must be a list.", "tools")
    if len(tools) > MAX_TOOLS:
        raise invalid(f"Send at most {MAX_TOOLS} tools, not {len(tools)}.", "tools")
    if len(orjson.dumps(tools)) > MAX_TOOLS_BYTES:
        raise invalid(f"tools are larger than {MAX_TOOLS_BYTES} bytes.", "tools")
    _custom(tools, "tools", tier)
    if chosen(choice) or any(map(_strict, tools)):  # their schemas bind the answer
        check_schema(tools, "tools")


def chosen(tool_choice: Any) -> bool:
    """Whether an answer has to call a tool."""
    kind = tool_choice.get("type") if tool_choice.__class__ is dict else tool_choice
    return kind not in _FREE_CHOICES


def _custom(tools: list[Any], where: str, tier: Tier) -> None:
    """Tools whose input follows a grammar; a namespace holds further tools."""
    for place, tool in enumerate(tools):
        if tool.__class__ is not dict:
            continue
        if (inner := tool.get("tools")).__class__ is list:
            _custom(inner, f"{where}.{place}.tools", tier)
        holder = custom if (custom := tool.get("custom")).__class__ is dict else tool
        form = holder.get("format")
        if form.__class__ is dict and form.get("type") == "grammar":
            at = f"{where}.{place}.format"
            _opted(at, tier)
            # OpenAI puts syntax and definition into an object of their own in chat
            grammar = form["grammar"] if form.get("grammar").__class__ is dict else form
            if grammar.get("syntax") != "regex":
                raise invalid(
                    f"{at}: of grammars for tools, only the syntax regex is accepted.", at
                )
            weigh(grammar.get("definition"), at, weigh_regex)


def _strict(tool: Any) -> bool:
    if tool.__class__ is not dict:
        return False
    function = tool.get("function")
    return bool(tool.get("strict") or (function.__class__ is dict and function.get("strict")))


def _small(value: Any, where: str, most: int) -> None:
    if value.__class__ is not dict:
        raise invalid(f"{where} must be an object.", where)
    if len(orjson.dumps(value)) > most:
        raise invalid(f"{where} is larger than {most} bytes.", where)


def _decoded(value: Any, where: str) -> Any:
    """A schema that may come as a JSON text."""
    if value.__class__ is not str:
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        raise invalid(f"{where} must be a JSON schema.", where) from None


def _opted(where: str, tier: Tier) -> None:
    if not tier.grammars:
        raise invalid(
            "Grammars and regular expressions are off for this key: send a JSON schema "
            "(response_format), or have the operator set grammars: true in its tier.",
            where,
        )


def weigh(text: Any, where: str, scale: Callable[[str], int]) -> int:
    """The weight of an expression.

    Raises:
        GatewayError: VALIDATION_ERROR where it is none, or too heavy.
    """
    if text.__class__ is not str or len(text) > MAX_PATTERN_CHARS:
        raise invalid(f"{where} must be a string of at most {MAX_PATTERN_CHARS} characters.", where)
    try:
        return scale(text)
    except Refused as why:
        raise invalid(f"{where} {why}.", where) from None


def check_schema(schema: Any, where: str) -> None:
    """Check a JSON schema, or a tree that holds some.

    Raises:
        GatewayError: VALIDATION_ERROR with ``where`` and what there is too much of.
    """
    count = _Count(where)
    stack = [schema]
    while stack:
        node = stack.pop()
        if node.__class__ is dict:
            count.object(node)
            stack.extend(node.values())
        elif node.__class__ is list:
            stack.extend(node)


class _Count:
    """What a schema holds so far."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._sums: dict[str, float] = {}

    def object(self, node: Json) -> None:
        """Count what one object of the schema says itself."""
        self._add(1, MAX_OBJECTS, "objects")
        if "x-guidance" in node:
            raise invalid(f"{self._where}: x-guidance is not accepted.", self._where)
        properties = node.get("properties")
        if properties.__class__ is dict:
            self._add(len(properties), MAX_PROPERTIES, "properties")
            required = node.get("required")
            names = required if required.__class__ is list else ()
            optional = properties.keys() - {name for name in names if name.__class__ is str}
            self._bound(len(optional), MAX_OPTIONAL, "optional properties in one object")
        self._counts(node)
        if (pattern := node.get("pattern")).__class__ is str:
            self._pattern(pattern)
        if (patterns := node.get("patternProperties")).__class__ is dict:
            for pattern in patterns:
                self._pattern(pattern)
        if (values := node.get("enum")).__class__ is list:
            self.texts(values)
        if (value := node.get("const")).__class__ is str:
            self.texts([value])

    def texts(self, values: Any) -> None:
        """Fixed texts: values of an enum, choices."""
        if values.__class__ is not list:
            raise invalid(f"{self._where} must be a list of strings.", self._where)
        self._add(len(values), MAX_TEXTS, "values to choose from")
        sizes = [len(value) for value in values if value.__class__ is str]
        self._bound(max(sizes, default=0), MAX_TEXT_CHARS, "characters in a value to choose")
        self._add(sum(sizes), MAX_TEXTS_CHARS, "characters in values to choose from")

    def _pattern(self, pattern: str) -> None:
        weight = weigh(pattern, self._where, weigh_regex)
        self._add(weight, MAX_PATTERNS_WEIGHT, "pieces in its patterns, repeats unrolled")

    def _counts(self, node: Json) -> None:
        for name in _LENGTHS:
            self._bound(_number(node, name), MAX_LENGTH, f"for {name}")
        items = max(_number(node, name) for name in _ITEMS)
        self._add(items, MAX_ITEMS, "items and properties by its least or most counts")
        if any(name in node for name in _RANGES):
            self._add(1, MAX_RANGES, "numbers within bounds")
        if node.get("format").__class__ is str:
            self._add(1, MAX_FORMATS, "formats")
        for name in _BRANCHES:
            if (branches := node.get(name)).__class__ is list:
                self._add(len(branches), MAX_BRANCHES, "alternatives")

    def _add(self, found: float, most: int, what: str) -> None:
        self._sums[what] = self._sums.get(what, 0) + found
        self._bound(self._sums[what], most, what)

    def _bound(self, found: float, most: int, what: str) -> None:
        if found > most:
            raise invalid(
                f"{self._where} has {found:,.0f} {what}; at most {most:,} are accepted.",
                self._where,
            )


def _number(node: Json, name: str) -> float:
    value = node.get(name)
    return value if isinstance(value, int | float) else 0
