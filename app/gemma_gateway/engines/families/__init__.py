"""The families of Gemma models, and which of them a model belongs to.

A new family is one file here and one entry in ``FAMILIES``.
"""

from __future__ import annotations

from pathlib import Path

from gemma_gateway.engines.families import functiongemma, gemma3, gemma4, templates
from gemma_gateway.engines.families.family import Family

# The first that fits: Gemma 3 comes last, because it takes every Gemma.
FAMILIES = (functiongemma.FAMILY, gemma4.FAMILY, gemma3.FAMILY)
TOWERS = {"image": "vision_config", "audio": "audio_config"}
POSITIONS = ("max_target_positions", "max_position_embeddings")  # the first: of speech models
OTHER = Family(title="another model", tool_parser="pythonic")  # models that are no Gemma


def of(model: Path) -> Family:
    """The family of a model: by its name, else by its config.

    Args:
        model: its folder, or a hub name, of which only the name is known.
    """
    name = model.as_posix().lower()
    for family in FAMILIES:
        if any(part in name for part in family.names):
            return family
    return _by_type(model)


def chat_template(model: Path) -> Path | None:
    """The template to give to vLLM; None: the model brings its own, or is no Gemma.

    Args:
        model: its folder, or a hub name: of that nobody knows what it brings, so it gets none.
    """
    family = of(model)
    return templates.choose(model, family) if model.is_dir() and family is not OTHER else None


def reads(model: Path) -> frozenset[str]:
    """What a model's prompts may be made of, as its config says.

    Args:
        model: its folder; of a hub name only ``text`` is known.
    """
    config = templates.read_json(model / "config.json")
    if config.get("model_type") == "whisper":
        return frozenset({"audio"})
    return frozenset({"text"}).union(kind for kind, name in TOWERS.items() if config.get(name))


def describe(model: Path) -> str:
    """What a model gets, in a line for operators.

    Args:
        model: its folder.
    """
    family, template = of(model), chat_template(model)
    told = [f"tool parser {family.tool_parser}"]
    if family.reasoning_parser:
        told.append(f"reasoning parser {family.reasoning_parser}")
    told.append(f"chat template {template.name if template else 'of its own'}")
    told.append(f"takes {', '.join(sorted(reads(model)))}")
    return f"{family.title}: {'; '.join(told)}"


def context(model: Path) -> int | None:
    """Tokens that a model has positions for, as its config says; None: it doesn't.

    Args:
        model: its folder.
    """
    config = templates.read_json(model / "config.json")
    for holder in (config, config.get("text_config")):
        if isinstance(holder, dict):
            for name in POSITIONS:
                if isinstance(found := holder.get(name), int):
                    return found
    return None


def _by_type(model: Path) -> Family:
    model_type = str(templates.read_json(model / "config.json").get("model_type", ""))
    return next((f for f in FAMILIES if model_type.startswith(f.model_types)), OTHER)
