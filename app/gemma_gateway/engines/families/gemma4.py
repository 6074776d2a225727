"""Gemma 4, which has tokens of its own for tool calls."""

from __future__ import annotations

from gemma_gateway.engines.families.family import Family
from gemma_gateway.engines.families.gemma3 import CHAT_TEMPLATE

FAMILY = Family(model_types=("gemma4",), tool_parser="gemma4", chat_template=CHAT_TEMPLATE)
