"""The three ways in which calls are spelt: ``name(a=1)``, lists of these, and JSON objects."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gemma_gateway.toolcalls import literal
from gemma_gateway.toolcalls.call import Call
from gemma_gateway.toolcalls.literal import NotACall, Unfinished
from gemma_gateway.toolcalls.tool import Tool, Tools

# What a model may put before a name: it was trained on such examples.
NAMESPACES = ("default_api", "functions", "tools", "api")
NAME = re.compile(r"[A-Za-z_][\w.:/-]{0,255}")
_PRINT = re.compile(r"print[ \t]*\(\s*")
_KEYWORD = re.compile(r"""([A-Za-z_][\w-]*|"[^"\n]{1,128}"|'[^'\n]{1,128}')[ \t]*(?:=(?!=)|:)\s*""")
_NAME_KEYS = ("name", "function", "function_name", "tool", "tool_name", "action")
_ARGUMENT_KEYS = (
    *("arguments", "parameters", "args", "params", "kwargs"),
    *("input", "tool_input", "action_input"),
)
_WRAPPERS = ("tool_calls", "function_calls", "calls", "function_call", "tool_call", "function")
_ASIDE = {"type", "id", "index", "call_id", "thought"}
# What an object of a call may begin with; anything else is let go at its first key.
_FIRST = {*_NAME_KEYS, *_ARGUMENT_KEYS, *_WRAPPERS, *_ASIDE}
_KEY = re.compile(r"""\{\s*(?:(["'])(.{0,128}?)\1|$|["'].{0,128}$)""", re.DOTALL)


def tool_named(name: str, tools: Tools) -> Tool | None:
    """The tool that a name means."""
    tool = tools.get(name)
    if tool is None:
        space, _, rest = name.partition(".")
        tool = tools.get(rest) if space in NAMESPACES else None
    return tool


def may_name(beginning: str, tools: Tools) -> bool:
    """Whether a name of a tool may begin so."""
    if any(name.startswith(beginning) for name in tools):
        return True
    space, dot, rest = beginning.partition(".")
    if dot:
        return space in NAMESPACES and any(name.startswith(rest) for name in tools)
    return any(name.startswith(space) for name in NAMESPACES)


def read_call(text: str, at: int, tools: Tools) -> tuple[Call, int]:
    """The call ``name(...)`` that begins at ``at``, and where it ends.

    Raises:
        Unfinished: the text ends first.
        NotACall: no such call, or of no known tool.
    """
    if at >= len(text):
        raise Unfinished
    found = NAME.match(text, at)
    if found is None:
        raise NotACall
    name, at = found[0], found.end()
    if at == len(text):
        if may_name(name, tools):
            raise Unfinished
        raise NotACall
    tool = tool_named(name, tools)
    if tool is None:
        raise NotACall
    at = literal.space(text, literal.expect(text, literal.space(text, at), "("))
    values: list[Any] = []
    named: dict[str, Any] = {}
    while not text.startswith(")", at):
        at = _argument(text, at, values, named)
        at = literal.comma(text, literal.space(text, at), ")")
    return _made(tool, values, named), at + 1


def read_printed(text: str, at: int, tools: Tools) -> tuple[Call, int] | None:
    """The call within the ``print(...)`` that begins at ``at``, and where that ends; None: nothing
    is printed there, or ``print`` is a tool.

    Raises:
        Unfinished, NotACall: as ``read_call``.
    """
    printed = _PRINT.match(text, at)
    if printed is None or "print" in tools:
        return None
    call, at = read_call(text, printed.end(), tools)
    return call, literal.expect(text, literal.space(text, at), ")")


def read_list(text: str, at: int, tools: Tools) -> tuple[list[Call], int]:
    """The list of calls that begins at ``at``: ``[f(a=1), g()]``, or one of JSON objects.

    Raises:
        Unfinished, NotACall: as ``read_call``.
    """
    at = literal.space(text, literal.expect(text, at, "["))
    if text.startswith("]", at):
        raise NotACall
    calls: list[Call] = []
    while not text.startswith("]", at):
        if text.startswith("{", at):
            more, at = read_json(text, at, tools)
            calls += more
        else:
            call, at = read_call(text, at, tools)
            calls.append(call)
        at = literal.comma(text, literal.space(text, at), "]")
    return calls, at + 1


def read_json(text: str, at: int, tools: Tools) -> tuple[list[Call], int]:
    """The calls in the JSON object that begins at ``at``, and where it ends.

    Raises:
        Unfinished, NotACall: as ``read_call``.
    """
    literal.expect(text, at, "{")
    first = _KEY.match(text, at)
    if first is None:
        raise NotACall
    if first[1] and first[2] not in _FIRST and first[2] not in tools:
        raise NotACall  # long before the end of an answer in JSON
    document, end = literal.read(text, at)
    return list(_calls_in(document, tools, 0)), end


def read_any(text: str, at: int, tools: Tools) -> tuple[list[Call], int]:
    """Calls in any of the three ways.

    Raises:
        Unfinished, NotACall: as ``read_call``.
    """
    if text.startswith("[", at):
        return read_list(text, at, tools)
    if text.startswith("{", at):
        return read_json(text, at, tools)
    call, at = read_call(text, at, tools)
    return [call], at


def _argument(text: str, at: int, values: list[Any], named: dict[str, Any]) -> int:
    """One argument, into ``values`` or ``named``; where it ends."""
    if text.startswith("*", at):
        value, at = literal.read(text, literal.expect(text, at, "**"))
        if not isinstance(value, dict):
            raise NotACall
        named.update(value)
        return at
    if (keyword := _KEYWORD.match(text, at)) is not None:
        if keyword.end() == len(text):
            raise Unfinished
        name = keyword[1].strip("\"'")
        if name in named:
            raise NotACall
        named[name], at = literal.read(text, keyword.end())
        return at
    try:
        value, end = literal.read(text, at)
    except NotACall:
        word = NAME.match(text, at)  # of a keyword, maybe
        if word is not None and literal.space(text, word.end()) == len(text):
            raise Unfinished from None
        raise
    if literal.space(text, end) == len(text):  # a quoted keyword, maybe
        raise Unfinished
    values.append(value)
    return end


def _made(tool: Tool, values: list[Any], named: dict[str, Any]) -> Call:
    """A call of a tool, whose arguments without a name go by the order of its schema."""
    names = tool.schema.names
    alone = values[0] if len(values) == 1 and not named else None
    if isinstance(alone, dict) and alone.keys() <= set(names):  # one object with all of them
        return _fitted(tool, alone)
    if len(values) > len(names):
        raise NotACall
    for name, value in zip(names, values, strict=False):
        if name in named:
            raise NotACall
        named[name] = value
    return _fitted(tool, named)


def _fitted(tool: Tool, arguments: dict[str, Any]) -> Call:
    fitted, faults = tool.schema.fit(arguments)
    known = set(tool.schema.names)
    if (faults and tool.strict) or (arguments and known and known.isdisjoint(arguments)):
        raise NotACall
    return Call(tool.name, fitted, faults)


def _calls_in(document: Any, tools: Tools, depth: int) -> Iterator[Call]:
    """The calls that a JSON document consists of.

    Raises:
        NotACall: it holds something else.
    """
    if isinstance(document, list) and document and depth < 3:
        for entry in document:
            yield from _calls_in(entry, tools, depth + 1)
        return
    if not isinstance(document, dict) or not document:
        raise NotACall
    for key in _WRAPPERS:  # {"tool_calls": [...]}, {"type": "function", "function": {...}}
        if isinstance(document.get(key), dict | list) and document.keys() <= {key, *_ASIDE}:
            if depth < 3:
                yield from _calls_in(document[key], tools, depth + 1)
                return
            raise NotACall
    names = [key for key in _NAME_KEYS if key in document]
    if names:
        yield _json_call(document, names[0], tools)
        return
    for name, arguments in document.items():  # {"get_weather": {"city": "Paris"}}
        tool = tools.get(name)
        if tool is None or not isinstance(arguments, dict):
            raise NotACall
        yield _fitted(tool, arguments)


def _json_call(document: dict[str, Any], key: str, tools: Tools) -> Call:
    """``{"name": ..., "arguments": {...}}``, under whatever names."""
    name = document[key]
    tool = tool_named(name, tools) if isinstance(name, str) else None
    held = [each for each in _ARGUMENT_KEYS if each in document]
    if tool is None or len(held) > 1 or document.keys() - {key, *held, *_ASIDE}:
        raise NotACall
    if not held and "required" in tool.schema.document:
        raise NotACall  # something else that has a name
    arguments = document[held[0]] if held else {}
    if isinstance(arguments, str):
        try:
            arguments, _ = literal.read(arguments.strip() + " ", 0)
        except Unfinished:
            raise NotACall from None
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise NotACall
    return _fitted(tool, arguments)
