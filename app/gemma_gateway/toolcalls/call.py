"""A call of a tool, as found in an answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool.

    Args:
        name: one of the tools'.
        arguments: by name; as the tool's schema has them, where they could be brought to it.
        faults: what of the arguments doesn't fit the schema, such as ``days: not an integer``.
    """

    name: str
    arguments: dict[str, Any]
    faults: tuple[str, ...] = field(default=(), compare=False)

    def arguments_json(self) -> str:
        """The arguments as OpenAI's protocol has them: a JSON object, as text."""
        return json.dumps(self.arguments, ensure_ascii=False)
