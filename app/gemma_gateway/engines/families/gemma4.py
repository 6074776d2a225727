"""Gemma 4, which has turns of its own, and tokens of its own for thoughts and tool calls."""

from __future__ import annotations

from gemma_gateway.engines.families.family import Family

FAMILY = Family(
    title="Gemma 4", model_types=("gemma4",), tool_parser="gemma4", reasoning_parser="gemma4"
)
