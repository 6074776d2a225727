"""Logprobs tell no more than the text may, in whole answers as in streams, in every dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gemma_gateway.safety.output import OutputGuard, judge_answer
from gemma_gateway.safety.policy import Category, Policy
from gemma_gateway.wire.openai.chat import Chat
from gemma_gateway.wire.openai.completions import Completions
from gemma_gateway.wire.openai.responses import Responses
from tests.unit.wire_streams import sse

POLICY = Policy((Category(name="x", terms=("hate", "憎い")),))
Token = dict[str, Any]


def token(text: str, *others: str, data: bytes | None = None) -> Token:
    top = [{"token": o, "logprob": -2.0, "bytes": list(o.encode())} for o in others]
    numbers = list(text.encode() if data is None else data)
    return {"token": text, "logprob": -1.0, "bytes": numbers, "top_logprobs": top}


RAW = "憎い".encode()
HALVES = [token("�", data=RAW[i : i + 1]) for i in range(3)] + [token("い")]
# What stands in the logprobs, and how much of it the text says (a stop string cut the rest).
CASES: dict[str, tuple[list[Token], str]] = {
    "chosen": ([token("so"), token(" hate"), token(" it")], "so h"),
    "split": ([token("so"), token(" ha"), token("te"), token(" it")], "so h"),
    "last": ([token("so"), token(" ha"), token("te")], "so "),
    "alternative": ([token("so"), token(" it", " it", " hate")], "so it"),
    "parts of characters": ([token("so "), *HALVES, token(" it")], "so "),
    "parts in the text": ([token("so "), *HALVES, token(" it")], "so 憎い it"),
    "alternative in bytes": (
        [{**token("so"), "top_logprobs": [token("<0x68>", data=b" hate ")]}],
        "so",
    ),
}


def arrays(tokens: list[Token]) -> dict[str, Any]:
    """The logprobs of completions; a part of a character as OpenAI's own wrote it."""

    def name(entry: Token) -> str:
        data = bytes(entry["bytes"])
        if data == entry["token"].encode():
            return str(entry["token"])
        return "bytes:" + "".join(f"\\x{number:02x}" for number in data)

    return {
        "tokens": [name(entry) for entry in tokens],
        "token_logprobs": [entry["logprob"] for entry in tokens],
        "top_logprobs": [{name(o): -2.0 for o in entry["top_logprobs"]} for entry in tokens],
        "text_offset": list(range(len(tokens))),
    }


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
SHAPES: dict[str, dict[str, Any]] = {
    "text": {},
    "reasoning": {"reasoning": "Hm."},
    "call": {"tool_calls": [{"index": 0, **CALL}]},
}


def chat_whole(tokens: list[Token], text: str, more: dict[str, Any], n: int) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, **json.loads(json.dumps(more))}
    choice = {"message": message, "logprobs": {"content": tokens}, "finish_reason": "stop"}
    clean = {"message": {"role": "assistant", "content": "ok"}, "logprobs": None}
    choices = [*([clean] * (n - 1)), choice]
    return {"choices": [{"index": i, **c} for i, c in enumerate(choices)], "usage": {}}


def chat_stream(tokens: list[Token], text: str, more: dict[str, Any], n: int) -> bytes:
    def event(delta: dict[str, Any], logprobs: list[Token], finish: str | None = None) -> bytes:
        choice = {"index": n - 1, "delta": delta, "finish_reason": finish}
        choice["logprobs"] = {"content": logprobs} if logprobs else None
        return b"data: " + json.dumps({"id": "1", "choices": [choice]}).encode() + b"\n\n"

    # Thoughts, calls and text in one event, as a parser may send them; then token by token.
    out = event({**more, "content": ""}, [])
    for place, entry in enumerate(tokens):
        out += event({"content": text[place : place + 1]}, [entry])
    return out + event({"content": text[len(tokens) :]}, [], "stop") + b"data: [DONE]\n\n"


def completions_whole(
    tokens: list[Token], text: str, more: dict[str, Any], n: int
) -> dict[str, Any]:
    del more
    return {
        "choices": [
            *({"index": i, "text": "ok", "logprobs": None} for i in range(n - 1)),
            {"index": n - 1, "text": text, "logprobs": arrays(tokens), "finish_reason": "stop"},
        ]
    }


def completions_stream(tokens: list[Token], text: str, more: dict[str, Any], n: int) -> bytes:
    del more
    out = b""
    for place, entry in enumerate(tokens):
        choice = {"index": n - 1, "text": text[place : place + 1], "logprobs": arrays([entry])}
        out += b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"
    choice = {"index": n - 1, "text": text[len(tokens) :], "finish_reason": "stop"}
    return out + b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\ndata: [DONE]\n\n"


def responses_output(tokens: list[Token], text: str, more: dict[str, Any]) -> list[dict[str, Any]]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": tokens}
    items: list[dict[str, Any]] = []
    if "reasoning" in more:
        thought = {"type": "reasoning_text", "text": "Hm."}
        items.append({"type": "reasoning", "id": "r", "summary": [], "content": [thought]})
    items.append({"type": "message", "role": "assistant", "id": "m", "content": [part]})
    if "tool_calls" in more:
        call = {"type": "function_call", "id": "f", "call_id": "c", "name": "f"}
        items.append({**call, "arguments": '{"a": 1}'})
    return items


def responses_whole(tokens: list[Token], text: str, more: dict[str, Any], n: int) -> dict[str, Any]:
    del n
    return {"object": "response", "status": "completed", "output": responses_output(
        tokens, text, more)}  # fmt: skip


def responses_stream(tokens: list[Token], text: str, more: dict[str, Any], n: int) -> bytes:
    del n
    events: list[dict[str, Any]] = []
    start = {"object": "response", "id": "resp", "status": "in_progress", "output": []}
    events.append({"type": "response.created", "response": start})
    output = responses_output(tokens, text, more)
    for index, item in enumerate(output):
        events.append({"type": "response.output_item.added", "output_index": index,
                       "item": {**item, "content": []}})  # fmt: skip
        if item["type"] == "message":
            place = {"item_id": "m", "output_index": index, "content_index": 0}
            for number, entry in enumerate(tokens):
                events.append({"type": "response.output_text.delta", **place, "logprobs": [entry],
                               "delta": text[number : number + 1]})  # fmt: skip
            events.append({"type": "response.output_text.delta", **place, "logprobs": [],
                           "delta": text[len(tokens) :]})  # fmt: skip
            events.append({"type": "response.output_text.done", **place, "text": text,
                           "logprobs": tokens})  # fmt: skip
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    done = {**start, "status": "completed", "output": output}
    events.append({"type": "response.completed", "response": done})
    return b"".join(sse({**e, "sequence_number": i}) for i, e in enumerate(events))


DIALECTS = {
    "chat": (Chat(), chat_whole, chat_stream),
    "completions": (Completions(), completions_whole, completions_stream),
    "responses": (Responses(), responses_whole, responses_stream),
}


def told(node: Any) -> bytes:
    """What the chosen tokens below a node spell, by their bytes."""
    if isinstance(node, list):
        return b"".join(map(told, node))
    if not isinstance(node, dict):
        return b""
    if isinstance(node.get("tokens"), list):
        return b"".join(
            bytes.fromhex(t[6:].replace("\\x", "")) if t.startswith("bytes:") else t.encode()
            for t in node["tokens"]
        )
    if "bytes" in node and "logprob" in node:
        return bytes(node["bytes"])
    return b"".join(told(value) for value in node.values())


def texts(node: Any) -> list[str]:
    """Every string below a node, names of fields and what bytes spell among them."""
    if isinstance(node, list):
        return [text for value in node for text in texts(value)]
    if not isinstance(node, dict):
        return [node] if isinstance(node, str) else []
    spelled = bytes(node.get("bytes") or ()).decode("utf-8", "replace")
    return [*node, spelled, *(text for value in node.values() for text in texts(value))]


def assert_clean(docs: list[Any]) -> None:
    assert not [text for text in texts(docs) if POLICY.find(text)]
    deltas = [doc for doc in docs if not str(doc.get("type", "")).endswith((".done", "completed"))]
    for logprobs in (deltas, *([doc] for doc in docs)):
        assert POLICY.find(told(logprobs).decode("utf-8", "replace")) is None
        # Nor the beginning of the character that makes the term.
        assert RAW[:2] not in told(logprobs)


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", DIALECTS)
def test_logprobs_tell_no_more_than_the_text_may(name: str, case: str, shape: str, n: int) -> None:
    dialect, whole, stream = DIALECTS[name]
    tokens, text = CASES[case]
    doc = json.loads(json.dumps(whole(tokens, text, SHAPES[shape], n)))
    verdict = judge_answer(POLICY, dialect, doc)
    assert verdict.changed
    assert_clean([doc])

    guard = OutputGuard(POLICY, dialect.stream(False))
    out = guard.feed(stream(tokens, text, SHAPES[shape], n)) + guard.close()
    assert not guard.failed
    parts = [part.split(b"data: ", 1)[1] for part in out.split(b"\n\n") if part]
    events = [json.loads(part) for part in parts if part != b"[DONE]"]
    assert_clean(events)
    assert (verdict.match is None) == (guard.blocked is None)
    deltas = [e for e in events if e.get("type", "x.delta").endswith(".delta")]
    if shape == "text":  # what the one tells, the other tells
        assert told(deltas).startswith(told(doc)) or told(doc).startswith(told(deltas))


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", DIALECTS)
def test_clean_logprobs_of_a_whole_answer_stay(name: str, shape: str, n: int) -> None:
    dialect, whole, _ = DIALECTS[name]
    halves = [token("�", data="雪".encode()[i : i + 1]) for i in range(3)]
    tokens = [token("so", "so", "no"), token(" ha"), *halves, token(" ha")]
    doc = whole(tokens, "so ha雪 ha", SHAPES[shape], n)
    before = json.dumps(doc)
    verdict = judge_answer(POLICY, dialect, doc)
    assert (verdict.match, verdict.changed, json.dumps(doc)) == (None, False, before)


def test_alternatives_of_the_prompt_are_judged_whatever_the_answer_holds() -> None:
    for more in SHAPES.values():
        for place in ("doc", "choice"):
            doc = chat_whole([], "fine", more, 1)
            doc["choices"][0]["logprobs"] = None
            holder = doc if place == "doc" else doc["choices"][0]
            holder["prompt_logprobs"] = [None, {"7": {"decoded_token": " hate", "logprob": -3.0}}]
            assert judge_answer(POLICY, Chat(), doc).changed
            assert holder["prompt_logprobs"] == [None, {}]


@pytest.mark.parametrize(
    "logprobs",
    [{"new": ["hate"]}, ["hate"], {"content": [token("a")], "refusal": [token("hate")]}],
)
def test_logprobs_of_a_shape_nobody_knows_become_null(logprobs: Any) -> None:
    doc = chat_whole([], "fine", {}, 1)
    doc["choices"][0]["logprobs"] = logprobs
    assert judge_answer(POLICY, Chat(), doc).changed
    assert doc["choices"][0]["logprobs"] is None
    choice = {"index": 0, "delta": {"content": "fine"}, "logprobs": logprobs}
    raw = b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"
    assert b"hate" not in OutputGuard(POLICY, Chat().stream(False)).feed(raw)


def test_parts_of_characters_leave_when_their_character_does() -> None:
    guard = OutputGuard(POLICY, Chat().stream(False))
    data = "憎む".encode()

    def feed(text: str, entry: Token) -> bytes:
        choice = {"index": 0, "delta": {"content": text}, "logprobs": {"content": [entry]}}
        out = guard.feed(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
        return told(json.loads(out[6:]))

    assert [feed("", token("�", data=data[i : i + 1])) for i in range(2)] == [b"", b""]
    assert feed("憎", token("�", data=data[2:3])) == b""
    assert feed("む", token("む")) == data
    assert guard.blocked is None
