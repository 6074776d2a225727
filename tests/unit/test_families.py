"""What is known of the families of Gemma."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gemma_gateway.engines import families


def folder(path: Path, **config: str) -> Path:
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
