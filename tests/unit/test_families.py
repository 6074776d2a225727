"""What is known of the families of Gemma."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gemma_gateway.engines import families


def folder(path: Path, **config: Any) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize(
    ("name", "model_type", "parser"),
    [
        ("gemma-3-4b-it", "gemma3", "gemma"),
        ("gemma-4-e2b", "gemma4", "gemma4"),
        ("functiongemma-270m-it", "gemma3_text", "functiongemma"),
    ],
)
def test_tool_parser_fits_the_model(
    tmp_path: Path, name: str, model_type: str, parser: str
) -> None:
    assert families.of(folder(tmp_path / name, model_type=model_type)).tool_parser == parser


def test_the_documents_table_is_that_of_the_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    rows = text.partition("| Family | Told by |")[2].partition("\n\n")[0].splitlines()[2:]
    found = {}
    for row in rows:
        title, told, tools, thoughts, _ = (cell.strip() for cell in row.strip("|").split("|"))
        words = [re.findall(r"`([^`]+)`", cell) for cell in (told, tools, thoughts)]
        found[title] = words
    assert found == {
        each.title: [
            [*each.names, *each.model_types],
            [each.tool_parser],
            [each.reasoning_parser] if each.reasoning_parser else [],
        ]
        for each in (*families.FAMILIES, families.OTHER)
    }


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (
            {"model_type": "gemma4", "vision_config": {"a": 1}, "audio_config": {"a": 1}},
            "Gemma 4: tool parser gemma4; reasoning parser gemma4; chat template of its own; takes "
            "audio, image, text",
        ),
        (
            {"model_type": "gemma3_text"},
            "Gemma 1 to 3n: tool parser gemma; chat template base.jinja; takes text",
        ),
        (
            {"model_type": "whisper"},
            "another model: tool parser pythonic; chat template of its own; takes audio",
        ),
    ],
)
def test_what_a_model_gets_is_said_in_a_line(
    tmp_path: Path, config: dict[str, Any], line: str
) -> None:
    model = folder(tmp_path / "model", **config)
    if config["model_type"] == "gemma4":
        (model / "chat_template.jinja").write_text("{{ messages }}")
    assert families.describe(model) == line


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({"max_target_positions": 448, "max_source_positions": 1500}, 448),
        ({"text_config": {"max_position_embeddings": 8192}}, 8192),
        ({}, None),
    ],
)
def test_a_models_own_context(tmp_path: Path, config: dict[str, Any], tokens: int | None) -> None:
    assert families.context(folder(tmp_path / "model", **config)) == tokens
