"""Gemma 3; also stands for every Gemma that has no file of its own here.

Gemma 3 has no tool tokens: vLLM's documentation pairs it with ``pythonic`` (calls as a Python
list), which is also what gemma3.jinja asks for.
"""

from __future__ import annotations

from pathlib import Path

from gemma_gateway.engines.families.family import Family

CHAT_TEMPLATE = Path(__file__).with_name("gemma3.jinja")
END_OF_TURN = "<end_of_turn>"
SAMPLING = {"do_sample": True, "top_k": 64, "top_p": 0.95}  # the family's own defaults

FAMILY = Family(model_types=("gemma",), tool_parser="pythonic", chat_template=CHAT_TEMPLATE)
