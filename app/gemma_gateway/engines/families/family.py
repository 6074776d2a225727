"""What a family of models has in common and a model's own files don't tell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A family, and how its models are told from others.

    Args:
        title: what people call it.
        names: parts of a folder's or hub name, in lower case, that tell the family by themselves.
        model_types: beginnings of the ``model_type`` in a model's config.json.
        tool_parser: vLLM's parser for the way the models write tool calls.
        reasoning_parser: vLLM's parser for the way they mark thoughts; empty: they have none.
        chat_template: takes whatever clients send, and stands in for the instruct models' own (see
            ``templates``); None: theirs stay.
    """

    title: str
    names: tuple[str, ...] = ()
    model_types: tuple[str, ...] = ()
    tool_parser: str
    reasoning_parser: str = ""
    chat_template: Path | None = None
