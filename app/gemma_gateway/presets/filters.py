"""The filters and tests that a preset's text may use: an allow-list, each of a bounded cost.

Those that yield pieces do all their work at once, so that it is counted where it is done.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from jinja2 import Undefined, filters, tests

from gemma_gateway.presets import budget

MOST_INDENT = 64
CALL = 6  # steps that a filter takes, beside its work
EACH = 100  # work of a filter that calls something for each item
# Integers past this are no numbers of anybody's prompt; Python's grow until memory is full.
MOST_NUMBER = 2**63

COMPARE = "_compare"  # what comparisons, ``~`` and loops are rewritten to, see ``sandbox``
JOIN = "_join"
LOOP = "_loop"


def text(value: Any) -> str:
    """A value as a text says it: JSON's words for true and false, nothing for null.

    Raises:
        TypeError: a list or an object; how these are told is for the template to say.
        UndefinedError: there is none.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, int | float | Undefined):
        return str(value)
    raise TypeError("a list or an object is no text: use join, items or tojson")


def number(value: Any) -> Any:
    """A result of an operator: numbers are bounded."""
    if isinstance(value, int | float) and abs(value) > MOST_NUMBER:
        raise budget.OverBudget(f"a number would be above {MOST_NUMBER}")
    return value


def _charged(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter or test that counts what it looks at and what it makes."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        running = budget.running()
        running.step(CALL)
        running.look(*args, *kwargs.values())
        made = function(*args, **kwargs)
        if isinstance(made, str):
            running.work(len(made))
        elif isinstance(made, list):
            running.work(budget.ITEM * len(made))
        return made

    return run


def _by_item(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that goes through items one by one, and does all of that at once."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        many = sum(len(value) for value in args if isinstance(value, list | dict | range))
        budget.running().work(EACH * many)
        made = function(*args, **kwargs)
        return list(made) if isinstance(made, Iterator) else made

    return run


def _indent(value: str, width: int = 4, first: bool = False, blank: bool = False) -> str:
    """Lines moved to the right; the first one and empty ones only where that is asked for."""
    if not 0 <= width <= MOST_INDENT:
        raise budget.OverBudget(f"an indent would be above {MOST_INDENT}")
    lines = text(value).split("\n")
    budget.running().work(len(lines) * width)
    moved = [
        " " * width + line if (first or n) and (blank or line) else line
        for n, line in enumerate(lines)
    ]
    return "\n".join(moved)


def _items(value: Any) -> list[tuple[str, Any]]:
    """Names and values of an object; none of an undefined one."""
    if isinstance(value, Undefined):
        return []
    if not isinstance(value, dict):
        raise TypeError("items is for objects")
    return list(value.items())


def _join(value: Any, between: str = "", attribute: str | None = None) -> str:
    """Texts joined."""
    if isinstance(value, str) or attribute is not None:
        raise TypeError("join is for lists; use map(attribute=...) before it")
    parts = [text(part) for part in value]
    budget.running().work(sum(map(len, parts)) + len(between) * len(parts))
    return between.join(parts)


def _replace(value: str, old: str, new: str) -> str:
    """A text with another one in place of each ``old``."""
    if not old:
        raise ValueError("replace needs something to replace")
    budget.running().work(len(value) + value.count(old) * len(new))
    return value.replace(old, new)


def _tojson(value: Any, indent: int | None = None) -> str:
    """A value as JSON, every character as itself."""
    if indent is not None and not 0 <= indent <= 8:
        raise budget.OverBudget("an indent of JSON would be above 8")
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _truncate(value: str, length: int = 255, end: str = "...") -> str:
    """At most so many characters of a text, the mark at its end among them."""
    return value if len(value) <= length else value[: max(0, length - len(end))] + end


def _compare(left: Any, how: str, right: Any) -> bool:
    return _COMPARISONS[how](left, right)


def _loop(values: Any, weight: int) -> list[Any]:
    """What a loop goes over; all its rounds are paid before the first."""
    if isinstance(values, str):
        raise TypeError("a text is no list")
    listed = list(values)
    budget.running().step(len(listed) * weight)
    return listed


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gteq": operator.ge,
    "lt": operator.lt,
    "lteq": operator.le,
    "in": lambda value, holder: value in holder,
    "notin": lambda value, holder: value not in holder,
}
_OWN: dict[str, Callable[..., Any]] = {
    "indent": _indent,
    "items": _items,
    "join": _join,
    "replace": _replace,
    "string": text,
    "tojson": _tojson,
    "truncate": _truncate,
    COMPARE: _compare,
    JOIN: _join,
    LOOP: _loop,
}
_PLAIN = (
    *("capitalize", "count", "d", "default", "first", "last", "length", "list", "lower"),
    *("title", "trim", "upper"),
)
_BY_ITEM = (
    *("dictsort", "map", "max", "min", "reject", "rejectattr", "reverse", "select"),
    *("selectattr", "sort", "unique"),
)
_TESTS = (
    *("boolean", "defined", "divisibleby", "even", "false", "in", "mapping", "none", "number"),
    *("odd", "string", "true", "undefined", "eq", "ne", "gt", "ge", "lt", "le", "=="),
)

FILTERS: dict[str, Callable[..., Any]] = {
    name: _charged(function)
    for name, function in {
        **_OWN,
        **{name: filters.FILTERS[name] for name in _PLAIN},
        **{name: _by_item(filters.FILTERS[name]) for name in _BY_ITEM},
    }.items()
}
_KNOWN_TESTS: dict[str, Any] = dict(tests.TESTS)
TESTS: dict[str, Callable[..., Any]] = {name: _charged(_KNOWN_TESTS[name]) for name in _TESTS}
