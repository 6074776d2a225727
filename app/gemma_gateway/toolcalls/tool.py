"""The tools that a client declared, in any protocol's form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gemma_gateway.toolcalls.schema import Schema


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call.

    Args:
        name: as calls name it.
        schema: of its arguments.
        strict: a call counts only if its arguments fit.
    """

    name: str
    schema: Schema = field(default_factory=Schema)
    strict: bool = False


Tools = dict[str, Tool]


def read_tools(declared: Iterable[Any]) -> Tools:
    """Tools by name; what is no function is passed over.

    Args:
        declared: as in OpenAI's Chat Completions (``{type, function: {name, parameters}}``) and
            Responses (``{type, name, parameters}``), or Anthropic's Messages (``{name,
            input_schema}``).
    """
    found: Tools = {}
    for entry in declared:
        if not isinstance(entry, dict):
            continue
        within = entry.get("function")
        tool = within if isinstance(within, dict) else entry
        name = tool.get("name")
        if isinstance(name, str) and name:
            schema = tool.get("parameters", tool.get("input_schema"))
            strict = True in (tool.get("strict"), entry.get("strict"))
            found[name] = Tool(name, Schema(schema if isinstance(schema, dict) else {}), strict)
    return found
