"""Half a tool call must not run: what is left of answers that the policy cut, and that it is
accepted when it comes back as the next request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_gateway.core.dialect import Dialect
from gemma_gateway.safety.input import check
from gemma_gateway.safety.output import OutputGuard, judge_answer
from gemma_gateway.safety.policy import Policy
from gemma_gateway.wire.anthropic.messages import Messages
from gemma_gateway.wire.openai.chat import Chat
from gemma_gateway.wire.openai.responses import Responses
from tests.unit import wire_streams

POLICY = Policy.load()
WORD = st.sampled_from(["hello", "I hate it", "ha", "hateful", "violence", "", "ok"])
ARGUMENTS = st.one_of(
    st.dictionaries(st.sampled_from(["t", "hate", "u"]), WORD, max_size=2).map(json.dumps),
    st.sampled_from(["", "{}", '{"t": "hat', '{"n": 1}', '{"t": "\\u0068ate"}']),
)
CALLS = st.lists(st.tuples(st.sampled_from(["f", "hate", "run"]), ARGUMENTS), max_size=3)
TEXT = st.one_of(st.none(), WORD)
QUESTION = {"role": "user", "content": "go on"}


def chat(text: str | None, thought: str | None, calls: list[tuple[str, str]]) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "reasoning": thought, "function_call": None}
    message["tool_calls"] = [
        {"id": f"c{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for i, (name, arguments) in enumerate(calls)
    ]
    reason = "tool_calls" if calls else "stop"
    return {"choices": [{"index": 0, "message": message, "finish_reason": reason}], "usage": {}}


def messages(text: str | None, thought: str | None, calls: list[tuple[str, str]]) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if thought is not None:
        content.append({"type": "thinking", "thinking": thought, "signature": ""})
    if text is not None:
        content.append({"type": "text", "text": text})
    for i, (name, arguments) in enumerate(calls):
        try:
            value = json.loads(arguments)
        except ValueError:
            value = {"raw": arguments}
        content.append({"type": "tool_use", "id": f"c{i}", "name": name, "input": value})
    return {"type": "message", "role": "assistant", "content": content, "stop_reason": "end_turn"}


def responses(
    text: str | None, thought: str | None, calls: list[tuple[str, str]]
) -> dict[str, Any]:
    output: list[dict[str, Any]] = []
    if thought is not None:
        parts = [{"type": "reasoning_text", "text": thought}]
        output.append({"type": "reasoning", "id": "r", "summary": [], "content": parts})
    if text is not None:
        part = {"type": "output_text", "text": text, "annotations": []}
        output.append({"type": "message", "role": "assistant", "id": "m", "content": [part]})
    for i, (name, arguments) in enumerate(calls):
        call = {"type": "function_call", "id": f"f{i}", "call_id": f"c{i}", "name": name}
        output.append({**call, "arguments": arguments})
    return {"object": "response", "status": "completed", "output": output}


def chat_left(doc: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    message = doc["choices"][0]["message"]
    return message.get("tool_calls") or [], {"messages": [QUESTION, message, QUESTION]}


def messages_left(doc: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    said = {"role": "assistant", "content": doc["content"]}
    calls = [block for block in doc["content"] if block["type"] == "tool_use"]
    return calls, {"messages": [QUESTION, said, QUESTION]}


def responses_left(doc: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    calls = [item for item in doc["output"] if item["type"] == "function_call"]
    return calls, {"input": [QUESTION, *doc["output"], QUESTION]}


DIALECTS: dict[str, tuple[Dialect, Any, Any]] = {
    "chat": (Chat(), chat, chat_left),
    "messages": (Messages(), messages, messages_left),
    "responses": (Responses(), responses, responses_left),
}


@pytest.mark.parametrize("name", DIALECTS)
@settings(max_examples=300, deadline=None)
@given(text=TEXT, thought=TEXT, calls=CALLS)
def test_what_is_left_of_an_answer_is_whole_and_comes_back(
    name: str, text: str | None, thought: str | None, calls: list[tuple[str, str]]
) -> None:
    dialect, build, left = DIALECTS[name]
    doc = build(text, thought, calls)
    before, _ = left(json.loads(json.dumps(doc)))
    verdict = judge_answer(POLICY, dialect, doc)
    kept, body = left(json.loads(json.dumps(doc)))
    assert kept == before[: len(kept)]
    if verdict.match is None:
        assert kept == before
        if text is None and not calls:
            return  # an answer that says nothing isn't ours to mend
    check(POLICY, dialect.messages(body))


@pytest.mark.parametrize(("kind", "at"), [("name", 0), ("arguments", 0), ("arguments", 1)])
@pytest.mark.parametrize("name", DIALECTS)
def test_the_call_that_is_cut_goes_and_those_before_it_stay(name: str, kind: str, at: int) -> None:
    dialect, build, left = DIALECTS[name]
    calls = [("f", '{"t": "a"}'), ("f", '{"t": "b"}'), ("f", '{"t": "c"}')]
    calls[at] = ("hate", "{}") if kind == "name" else ("f", '{"t": "I hate it", "u": "x"}')
    doc = build(None, None, calls)
    before, _ = left(json.loads(json.dumps(doc)))
    assert judge_answer(POLICY, dialect, doc).match is not None
    kept, _ = left(doc)
    assert kept == before[:at]
    assert "I hate" not in json.dumps(doc)
    assert '"I ' not in json.dumps(doc)


def test_a_function_call_of_the_old_kind_goes_too() -> None:
    call = {"name": "f", "arguments": '{"t": "I hate it"}'}
    message = {"role": "assistant", "content": None, "function_call": call}
    doc = {"choices": [{"index": 0, "message": message, "finish_reason": "function_call"}]}
    assert judge_answer(POLICY, Chat(), doc).match is not None
    assert (message["function_call"], message["content"]) == (None, "")
    assert doc["choices"][0]["finish_reason"] == "content_filter"


def test_a_stream_that_is_cut_in_a_call_says_so() -> None:
    """What left can't be taken back; no dialect's ending lets a client take the call for whole."""
    pieces: wire_streams.Pieces = [("tool", '{"t": "I '), ("tool", "hate"), ("tool", ' it"}')]
    guard = OutputGuard(POLICY, Responses().stream(False))
    out = guard.feed(b"".join(wire_streams.responses(pieces)))
    docs = [json.loads(part.split(b"data: ", 1)[1]) for part in out.split(b"\n\n") if part]
    done = [doc["item"] for doc in docs if doc["type"] == "response.output_item.done"]
    assert [item["status"] for item in done] == ["incomplete"]
    assert docs[-1]["response"]["output"] == []

    guard = OutputGuard(POLICY, Messages().stream(False))
    out = guard.feed(b"".join(wire_streams.messages(pieces)))
    assert b'"stop_reason":"refusal"' in out
    assert b"tool_use" not in out.split(b"content_block_stop")[-1]

    guard = OutputGuard(POLICY, Chat().stream(False))
    for _, text in pieces:
        call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": text}}
        choice = {"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}
        out = guard.feed(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n") or out
    assert b'"finish_reason":"content_filter"' in out
    assert b'"finish_reason":"tool_calls"' not in out
