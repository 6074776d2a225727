"""Gemma 3; also stands for every Gemma that has no file of its own here.

Gemma 3 has no tool tokens. Asked for a Python list of calls, as gemma3.jinja does, it also writes
fences, JSON or a call after prose. vLLM's ``pythonic``, which its documentation pairs with Gemma 3,
finds the list alone.
"""

from __future__ import annotations

from pathlib import Path

from gemma_gateway.engines.families.family import Family

CHAT_TEMPLATE = Path(__file__).with_name("gemma3.jinja")
END_OF_TURN = "<end_of_turn>"
SAMPLING = {"do_sample": True, "top_k": 64, "top_p": 0.95}  # the family's own defaults

TOOL_PARSER = "gemma"  # engines/local/tool_parser.py

FAMILY = Family(
    title="Gemma 1 to 3n",
    model_types=("gemma",),
    tool_parser=TOOL_PARSER,
    chat_template=CHAT_TEMPLATE,
)
