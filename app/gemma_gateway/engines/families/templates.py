"""Which chat template a Gemma gets.

An instruct model's own template refuses what clients send every day (two user messages in a row, a
tool's result) and drops tools and a lone system text in silence. The family's here takes all that,
and writes what the own one takes just the same, so it stands in for it. A template that writes
anything else was made for that model, and stays. A model without any is a base model, unless its
name says otherwise: it knows no turns, and gets a page of questions and answers to go on with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gemma_gateway.engines.families.family import Family

BASE = Path(__file__).with_name("base.jinja")
_INSTRUCT = re.compile(r"gemma[^/]*[-_]it\b", re.IGNORECASE)  # google/gemma-3-4b-it
_USER, _MODEL = {"role": "user", "content": " Hi\n"}, {"role": "assistant", "content": "Yo "}
_SYSTEM = {"role": "system", "content": "Be brief. "}


def choose(model: Path, family: Family) -> Path | None:
    """The template to give to vLLM; None: the model's own.

    Args:
        model: its folder.
        family: that it belongs to, one of Gemma's.
    """
    own = tuple(_own(model))
    if not own:
        instruct = _INSTRUCT.search(model.as_posix())
        return family.chat_template if instruct and family.chat_template else BASE
    if family.chat_template and all(_says_the_same(text, family.chat_template) for text in own):
        return family.chat_template
    return None


def _own(model: Path) -> Iterator[str]:
    """The model's templates, from wherever transformers looks for them; empty for a set of them."""
    for path in (*model.glob("chat_template*.jinja"), *model.glob("*chat_templates/*.jinja")):
        yield path.read_text("utf-8", errors="replace")
    for name in ("chat_template.json", "tokenizer_config.json"):
        found = read_json(model / name).get("chat_template")
        if isinstance(found, str):
            yield found
        elif found:  # several, by name: for tools, for retrieval
            yield ""


def _says_the_same(own: str, ours: Path) -> bool:
    """Whether ours may stand in for a model's own template: it writes the same turns, and the own
    one has no way to show tools."""
    if "tools" in own:
        return False
    text, turns, system = ours.read_text("utf-8"), [_USER, _MODEL, _USER], [_SYSTEM, _USER]
    if _render(own, turns) != _render(text, turns):
        return False
    return _render(own, system) in (None, _render(text, system))  # Gemma 2 refuses system texts


def _render(template: str, messages: list[dict[str, str]]) -> str | None:
    """What a template makes of a conversation, as vLLM renders it; None: it refuses it."""
    from transformers.utils.chat_template_utils import render_jinja_template

    values = {"bos_token": "<bos>", "add_generation_prompt": True}
    try:
        (text,), _ = render_jinja_template([messages], chat_template=template, **values)
    except Exception:  # of any kind: templates raise what they like
        return None
    return str(text)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
