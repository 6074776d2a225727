"""``gemma-gateway parse-calls``."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from gemma_gateway.cli.main import main

TOOL = {"name": "get_weather", "parameters": {"properties": {"days": {"type": "integer"}}}}


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    path = tmp_path / "tools.json"
    path.write_text(json.dumps([{"type": "function", "function": TOOL}]))
    return path


def run(monkeypatch: pytest.MonkeyPatch, answer: bytes, tools: Path) -> int:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(answer)))
    return main(["parse-calls", "--tools", str(tools)])


def test_calls_are_printed_as_openai_has_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tools: Path
) -> None:
    answer = b'Sure.\n```tool_code\nget_weather(days="2")\nget_weather(days="few")\n```'
    assert run(monkeypatch, answer, tools) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == [
        {"id": f"call_{number}", "type": "function",
         "function": {"name": "get_weather", "arguments": json.dumps({"days": days})}}
        for number, days in enumerate([2, "few"])
    ]  # fmt: skip
    assert printed.err == "call_1 (get_weather): days: not an integer\n"


def test_an_answer_without_calls_is_an_empty_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tools: Path
) -> None:
    assert run(monkeypatch, b"[1, 2, 3] \xff", tools) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (None, "can't be read: No such file or directory"),
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("5", "must hold a list of tools"),
        ('[{"type": "web_search"}]', "holds no tool"),
    ],
)
def test_unusable_tools_are_explained(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    written: Any,
    why: str,
) -> None:
    path = tmp_path / "tools.json"
    if written is not None:
        path.write_text(written)
    assert run(monkeypatch, b"", path) == 2
    assert why in capsys.readouterr().err
