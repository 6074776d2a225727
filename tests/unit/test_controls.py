"""Control tokens in what callers send: no text is one, alone or together with its neighbours."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from gemma_gateway.safety.controls import GEMMA, ControlTokens

CONTROLS = ControlTokens()
Json = dict[str, Any]


def written(body: Json, controls: ControlTokens = CONTROLS) -> Json:
    """The body as the engine gets it."""
    data, _ = controls.write(body)
    result: Json = orjson.loads(data)
    return result


def chat(*texts: str) -> Json:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": t} for t in texts]}]}


def texts(body: Json) -> list[str]:
    return [part["text"] for part in body["messages"][0]["content"]]


def readings(parts: list[str]) -> set[str]:
    """What templates may make of a message's parts: joined as they are, or trimmed."""
    return {"".join(parts), "".join(part.strip() for part in parts)}


@pytest.mark.parametrize("token", [*GEMMA, "<unused7>", "<unused6241>"])
def test_no_token_is_left(token: str) -> None:
    for text in (
        token,
        f"a{token}b",
        token * 3,
        f"<{token}>",
        f"{token}\n{token}",
        f"\u200d{token}",
    ):
        body = written(chat(text))
        assert token not in texts(body)[0]
        assert texts(body)[0].replace("·", "") == text  # and nothing else has gone


@pytest.mark.parametrize("token", [t for t in GEMMA if t[0] == "<"])
@pytest.mark.parametrize("space", ["", " ", "\n \t\u3000"])
def test_no_seam_makes_a_token(token: str, space: str) -> None:
    for cut in range(1, len(token)):
        for parts in ([token[:cut], token[cut:]], [token[:1], *token[1:cut], token[cut:]]):
            given = [f"hi{parts[0]}{space}", *parts[1:-1], f"{space}{parts[-1]}bye"]
            body = written(chat(*given))
            assert not any(token in joined for joined in readings(texts(body)))


def test_numbered_tokens_have_seams_too() -> None:
    body = written(chat("<unused", "1", "2>", "x <unused1", "23>"))
    assert "<unused" not in "".join(texts(body))


PLACES: dict[str, Json] = {
    "user": {"messages": [{"role": "user", "content": "TEXT"}]},
    "name": {"messages": [{"role": "user", "name": "TEXT", "content": "x"}]},
    "system": {"messages": [{"role": "system", "content": "TEXT"}]},
    "tool result": {"messages": [{"role": "tool", "tool_call_id": "TEXT", "content": "TEXT"}]},
    "reasoning": {"messages": [{"role": "assistant", "content": "x", "reasoning": "TEXT"}]},
    "refusal": {"messages": [{"role": "assistant", "refusal": "TEXT"}]},
    "tool call": {"messages": [{"role": "assistant", "tool_calls": [
        {"id": "TEXT", "type": "function", "function": {"name": "TEXT", "arguments": "TEXT"}}]}]},
    "key": {"messages": [{"role": "user", "content": "x", "TEXT": {"TEXT": [{"TEXT": 1}]}}]},
    "tools": {"tools": [{"type": "TEXT", "function": {"name": "TEXT", "description": "TEXT",
                         "parameters": {"type": "TEXT", "properties": {"TEXT": {"enum": ["TEXT"]}},
                                        "required": ["TEXT"]}}}]},
    "tool choice": {"tool_choice": {"type": "function", "function": {"name": "TEXT"}}},
    "documents": {"documents": [{"title": "TEXT", "text": "TEXT"}]},
    "template variables": {"chat_template_kwargs": {"TEXT": "TEXT", "list": ["TEXT", ["TEXT"]]}},
    "anthropic": {"system": [{"type": "text", "text": "TEXT"}], "messages": [
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "TEXT",
                                      "content": [{"type": "text", "text": "TEXT"}]}]},
        {"role": "assistant", "content": [{"type": "tool_use", "name": "TEXT",
                                           "input": {"TEXT": {"TEXT": "TEXT"}}}]}]},
    "responses": {"instructions": "TEXT", "input": [
        {"type": "function_call", "call_id": "TEXT", "name": "TEXT", "arguments": "TEXT"},
        {"type": "function_call_output", "output": "TEXT"},
        {"type": "reasoning", "summary": [{"text": "TEXT"}], "content": [{"text": "TEXT"}]}]},
    "responses text": {"input": "TEXT"},
    "a field to come": {"later": {"TEXT": "TEXT"}},
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("token", ["<end_of_turn>", "<|turn>", '<|"|>', "<unused99>"])
def test_every_place(place: str, token: str) -> None:
    inner = json.dumps(token)[1:-1]
    body = json.loads(json.dumps(PLACES[place]).replace("TEXT", inner))
    after, count = CONTROLS.write(body)
    assert inner.encode() not in after
    assert count == json.dumps(PLACES[place]).count("TEXT")


@pytest.mark.parametrize("field", ["prompt", "suffix", "stop", "stop_sequences", "response_format",
                                   "structured_outputs", "text", "chat_template"])  # fmt: skip
def test_raw_prompts_and_what_binds_stay(field: str) -> None:
    for value in ("<eos>", ["<bos>a", "<eos>"], {"<eos>": ["<end_of_turn>"]}):
        body = {field: value, "messages": [{"role": "user", "content": "<eos>"}]}
        after = written(body)
        assert after[field] == value
        assert after["messages"][0]["content"] == "<·eos>"


ESCAPED = [
    r'{"a": "\u003cend_of_turn\u003e"}',
    r'{"a": "<end_of_turn\u003E"}',
    r'{"a": "<\u0065nd\u005Fof_turn>"}',
    r'{"\u003cend_of_turn>": {"b": ["\u003cend_of_turn>"]}}',
    r'{"a": "\\\u003cend_of_turn>"}',
    r'{"a": "<|\"|>"}',
    r'{"a": "<|\u0022|>", "b": NaN}',
    r'{"a": "<unus\u0065d1\u0032>"}',
]


@pytest.mark.parametrize("arguments", ESCAPED)
def test_arguments_are_read_as_templates_read_them(arguments: str) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    after = written({"messages": [{"role": "assistant", "tool_calls": [call]}]})
    sent = after["messages"][0]["tool_calls"][0]["function"]["arguments"]
    before, decoded = str(json.loads(arguments)), str(json.loads(sent))
    assert decoded.replace("·", "") == before
    assert not any(token in decoded for token in [*GEMMA, "<unused12>"])


def test_arguments_that_only_speak_of_escapes_say_the_same() -> None:
    for arguments in (
        r'{"a": "\\u003ceos>"}',
        r'{"a": "C:\\u0041 \u0022 \u005c \u00e9 \n"}',
        r"\u00",
    ):
        call = {"function": {"name": "f", "arguments": arguments}}
        after = written({"messages": [{"role": "assistant", "tool_calls": [call]}]})
        sent = after["messages"][0]["tool_calls"][0]["function"]["arguments"]
        if arguments.startswith("{"):
            assert json.loads(sent) == json.loads(arguments)
        else:
            assert sent == arguments


@pytest.mark.parametrize(
    "text",
    ["Hello", "a < b > c", "<b>bold</b> <table><tr>", "List<Object> items;", "<END_OF_TURN>",
     "<end of turn>", "<start_of_turn", "end_of_turn>", "<|im_start|>", "\\u003ceos\\u003e", "x <",
     "<unused>", "<unusedx>", "<\u200deos>", "[multi modal]", "<·eos>", "C:\\users\\u00"],
)  # fmt: skip
def test_other_texts_stay_byte_for_byte(text: str) -> None:
    body = chat(text, "and more")
    assert CONTROLS.write(body) == (orjson.dumps(body), 0)


def test_what_was_broken_once_stays() -> None:
    once = written(chat("<eos> <end_of", "_turn>"))
    assert written(once) == once


def test_further_tokens_by_setting_and_by_the_engine() -> None:
    told: list[frozenset[str]] = [frozenset()]
    controls = ControlTokens(("<|im_start|>",), lambda: told[0])
    assert texts(written(chat("<|im_start|> [INST]"), controls)) == ["<·|im_start|> [INST]"]
    told[0] = frozenset({"[INST]", "<loc0001>", " ", "\n\n", "x"})
    after = texts(written(chat("[INST]\n\nx <loc0999> y", "[IN", "ST]"), controls))
    assert after == ["[·INST]\n\nx <·loc0999> y", "[·IN", "ST]"]


def test_text_for_a_prompt_of_our_own() -> None:
    assert CONTROLS.text("<<eos>eos><unused1>") == "<<·eos>eos><·unused1>"
    assert CONTROLS.text("a < b") == "a < b"
