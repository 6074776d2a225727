"""What is known of the families of Gemma, and Gemma 3's chat format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gemma_gateway.engines import families
from gemma_gateway.engines.families import gemma3


def folder(path: Path, **config: str) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_only_gemmas_without_a_template_get_one(tmp_path: Path) -> None:
    base = folder(tmp_path / "base", model_type="gemma3_text")
    assert families.chat_template(base)
    other = folder(tmp_path / "other", model_type="llama")
    assert not families.chat_template(other)
    tuned = folder(tmp_path / "tuned", model_type="gemma3")
    (tuned / "tokenizer_config.json").write_text('{"chat_template": "x"}')
    assert not families.chat_template(tuned)
    own = folder(tmp_path / "own", model_type="gemma3")
    (own / "chat_template.jinja").write_text("x")
    assert not families.chat_template(own)


@pytest.mark.parametrize(
    ("name", "model_type", "parser"),
    [
        ("gemma-3-4b-it", "gemma3", "pythonic"),
        ("gemma-4-e2b", "gemma4", "gemma4"),
        ("functiongemma-270m-it", "gemma3_text", "functiongemma"),
    ],
)
def test_tool_parser_fits_the_model(
    tmp_path: Path, name: str, model_type: str, parser: str
) -> None:
    assert families.of(folder(tmp_path / name, model_type=model_type)).tool_parser == parser


def render(messages: list[dict[str, Any]], **more: Any) -> str:
    """The template as transformers renders it."""
    sandbox = pytest.importorskip("jinja2.sandbox")
    environment = sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(gemma3.CHAT_TEMPLATE.read_text("utf-8"))
    values = {"bos_token": "<bos>", "add_generation_prompt": True, **more}
    return str(template.render(messages=messages, **values))


def turn(side: str, text: str) -> str:
    return f"<start_of_turn>{side}\n{text}<end_of_turn>\n"


OPEN = "<start_of_turn>model\n"
USER, MODEL = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([USER], turn("user", "Hi")),
        ([USER, MODEL, USER], turn("user", "Hi") + turn("model", "Yo") + turn("user", "Hi")),
        ([{"role": "system", "content": "Be brief."}, USER], turn("user", "Be brief.\n\nHi")),
        ([{"role": "developer", "content": "A"}, {"role": "system", "content": "B"}, USER],
         turn("user", "A\n\nB\n\nHi")),
        ([{"role": "system", "content": "Alone"}], turn("user", "Alone")),
        ([{"role": "system", "content": "S"}, MODEL, USER],
         turn("user", "S") + turn("model", "Yo") + turn("user", "Hi")),
        ([USER, MODEL, {"role": "system", "content": "S"}, USER],
         turn("user", "Hi") + turn("model", "Yo") + turn("user", "S\n\nHi")),
        ([USER, USER], turn("user", "Hi\n\nHi")),
        ([USER, {"role": "system", "content": "S"}], turn("user", "Hi\n\nS")),
        ([{"role": "user", "content": [{"type": "text", "text": "Look: "}, {"type": "image"}]}],
         turn("user", "Look:<start_of_image>")),
        ([USER, {"role": "assistant", "content": None, "tool_calls": [
            {"function": {"name": "f", "arguments": {"a": "b", "n": 2}}}]},
          {"role": "tool", "content": "42"}],
         turn("user", "Hi") + turn("model", '[f(a="b", n=2)]')
         + turn("user", "<tool_response>\n42\n</tool_response>")),
    ],
)  # fmt: skip
def test_gemmas_turns(messages: list[dict[str, Any]], expected: str) -> None:
    assert render(messages) == "<bos>" + expected + OPEN


def test_without_a_generation_prompt_the_last_turn_is_closed() -> None:
    assert render([USER, MODEL], add_generation_prompt=False) == (
        "<bos>" + turn("user", "Hi") + turn("model", "Yo")
    )


def test_tools_are_listed_in_the_first_user_turn() -> None:
    text = render([USER], tools=[{"type": "function", "function": {"name": "get_weather"}}])
    assert text.startswith("<bos><start_of_turn>user\nYou can call")
    assert '"name": "get_weather"' in text
    assert text.endswith("\n\nHi<end_of_turn>\n" + OPEN)
