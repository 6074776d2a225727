"""FunctionGemma: its config says Gemma 3, so that only the name tells it, but it writes tool calls
in its own way."""

from __future__ import annotations

from gemma_gateway.engines.families.family import Family

FAMILY = Family(title="FunctionGemma", names=("functiongemma",), tool_parser="functiongemma")
