"""A chat call with tools as one that a server without tools can answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gemma_gateway.core.dialect import Json
from gemma_gateway.engines.tools.turns import turns
from gemma_gateway.toolcalls.tool import Tools, read_tools

_TOOL_FIELDS = frozenset({"tools", "tool_choice", "parallel_tool_calls"})
_RESULTS = frozenset({"tool", "function"})  # roles


class Invalid(ValueError):
    """A request that can't be answered.

    Args:
        message: for the client.
        param: the field at fault; None: it isn't about one.
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller asked of tools.

    Args:
        tools: that may be called; empty: nothing is looked for in the answer.
        single: one call at most.
        named: the one tool that has to be called; empty: none is.
    """

    tools: Tools = field(default_factory=dict)
    single: bool = False
    named: str = ""


def concerns_tools(document: Json) -> bool:
    """Whether a chat call has tools, or a conversation with calls or their results."""
    return bool(document.get("tools")) or any(
        message.get("tool_calls") or message.get("role") in _RESULTS
        for message in document["messages"]
    )


def without_tools(document: Json) -> tuple[Json, Asked]:
    """The call with its tools told as text, and what was asked of them.

    Args:
        document: of chat completions, checked.

    Raises:
        Invalid: ``tool_choice`` asks for what isn't there.
    """
    tools = _functions(document.get("tools") or ())
    told = {name: value for name, value in document.items() if name not in _TOOL_FIELDS}
    told["messages"] = turns(document["messages"], tools)
    choice = document.get("tool_choice")
    forced = _forced(tools, choice)
    single = document.get("parallel_tool_calls") is False
    if forced is not None:
        told.pop("structured_outputs", None)
        schema = _calls_schema(forced, single or choice != "required")
        told["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "tool_calls", "schema": schema},
        }
    if not tools or choice == "none":
        return told, Asked()
    named = "" if forced is None or choice == "required" else forced[0]["function"]["name"]
    return told, Asked(read_tools(tools), single or bool(named), named)


def _functions(declared: Sequence[Any]) -> list[Json]:
    """The tools with the fields that the template shows, as vLLM has them."""
    found = []
    for place, tool in enumerate(declared):
        function = tool.get("function") if tool.get("type") == "function" else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Invalid("A tool must be a function of the client's own.", f"tools.{place}")
        if not isinstance(function.get("parameters"), dict | None):
            raise Invalid("A function's parameters must be an object.", f"tools.{place}")
        shown = {name: function.get(name) for name in ("name", "description", "parameters")}
        if function.get("strict") is not None:
            shown["strict"] = function["strict"]
        found.append({"type": "function", "function": shown})
    return found


def _forced(tools: list[Json], choice: Any) -> list[Json] | None:
    """The tools one of which has to be called; None: none has to."""
    if choice in (None, "none", "auto"):
        return None
    if choice == "required":
        if not tools:
            raise Invalid("tool_choice asks for a tool, and there is none.", "tool_choice")
        return tools
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    named = [tool for tool in tools if tool["function"]["name"] == name]
    if not named:
        raise Invalid("tool_choice must be auto, none, required or one of tools.", "tool_choice")
    return named[:1]


def _calls_schema(tools: list[Json], single: bool) -> Json:
    """The JSON Schema of calls, in a form that the parser finds: an object, or a list of them."""
    shared: Json = {}
    calls = [_call_schema(tool["function"], shared) for tool in tools]
    call = calls[0] if len(calls) == 1 else {"anyOf": calls}
    schema = call if single else {"type": "array", "minItems": 1, "items": call}
    return {**schema, "$defs": shared} if shared else schema


def _call_schema(function: Json, shared: Json) -> Json:
    name, parameters = function["name"], function["parameters"] or {"type": "object"}
    if _refers(parameters):  # within itself, and its place is another one now
        root = f"#/$defs/{len(shared)}"
        shared[str(len(shared))] = _moved(parameters, root)
        parameters = {"$ref": root}
    return {
        "type": "object",
        "properties": {"name": {"type": "string", "enum": [name]}, "parameters": parameters},
        "required": ["name", "parameters"],
        "additionalProperties": False,
    }


def _refers(schema: Any) -> bool:
    if isinstance(schema, dict):
        return isinstance(schema.get("$ref"), str) or any(map(_refers, schema.values()))
    return isinstance(schema, list) and any(map(_refers, schema))


def _moved(schema: Any, root: str) -> Any:
    """A schema whose references go to another place."""
    if isinstance(schema, list):
        return [_moved(each, root) for each in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {key: _moved(value, root) for key, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = root + reference[1:]
    return moved
