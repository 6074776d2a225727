"""Responses and Messages streams under the output guard: whatever the text and the cuts, nothing
blocked leaves through any event, and what leaves is a sound stream that says one thing."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_gateway.core.dialect import AnswerStream
from gemma_gateway.safety.output import OutputGuard
from gemma_gateway.safety.policy import Policy
from gemma_gateway.wire.anthropic.messages_stream import MessagesStream
from gemma_gateway.wire.openai.responses_stream import ResponsesStream
from tests.unit import wire_streams
from tests.unit.wire_streams import Pieces

POLICY = Policy.load()
WORDS = st.sampled_from(["ha", "te", "hate", "ful", " ", "vio", "lence", "x", "\n", "Hat", "", "é"])
RULE_TYPES = st.sampled_from(["text", "reasoning", "tool"])
PIECES = st.lists(st.tuples(RULE_TYPES, WORDS), max_size=14).map(
    lambda p: [(k, w) for k, w in p if w]
)


def guarded(stream: AnswerStream, raws: list[bytes], cuts: list[int]) -> tuple[bytes, OutputGuard]:
    guard = OutputGuard(POLICY, stream)
    data = b"".join(raws)
    out, start = b"", 0
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        out += guard.feed(data[start:cut])
        start = cut
    return out + guard.close(), guard


def docs(raw: bytes) -> list[dict[str, Any]]:
    return [json.loads(part.split(b"data: ", 1)[1]) for part in raw.split(b"\n\n") if part]


def strings(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [text for key, value in node.items() if key != "logprobs" for text in strings(value)]
    if isinstance(node, list):
        return [text for value in node for text in strings(value)]
    return [node] if isinstance(node, str) else []


def tokens(event: dict[str, Any]) -> str:
    part = event.get("part", event)
    return "".join(entry["token"] for entry in part.get("logprobs") or ())


def blocked(pieces: Pieces) -> bool:
    return any(POLICY.find("".join(texts)) for _, texts in wire_streams.runs(pieces))


def responses_texts(events: list[dict[str, Any]]) -> dict[int, str]:
    texts: dict[int, str] = {}
    for event in events:
        if event["type"].endswith(".delta"):
            index = event["output_index"]
            texts[index] = texts.get(index, "") + event["delta"]
    return texts


def item_text(item: dict[str, Any]) -> str:
    parts = item.get("content") or []
    return "".join(part["text"] for part in parts) + item.get("arguments", "")


@given(PIECES, st.lists(st.integers(0, 10**6), max_size=8), st.booleans())
@settings(max_examples=400, deadline=None)
def test_responses(pieces: Pieces, cuts: list[int], logprobs: bool) -> None:
    raws = wire_streams.responses(pieces, logprobs=logprobs)
    out, guard = guarded(ResponsesStream(), raws, cuts)
    events = docs(out)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert (guard.blocked is not None) == blocked(pieces)
    whole = [event for event in events if not event["type"].endswith(".delta")]
    assert not any(POLICY.find(text) for event in whole for text in strings(event))
    texts = responses_texts(events)
    assert not any(POLICY.find(text) for text in texts.values())
    assert not any(POLICY.find(tokens(event)) for event in whole)
    for index in texts:
        deltas = [e for e in events if e.get("output_index") == index and "delta" in e]
        assert not POLICY.find("".join(map(tokens, deltas)))
    for event in events:  # what is said again is what was said
        if event["type"].endswith("_text.done"):
            assert event["text"] == texts.get(event["output_index"], "")
        if event["type"] == "response.output_item.done":
            assert item_text(event["item"]) == texts.get(event["output_index"], "")
    last = events[-1]
    added = sum(event["type"] == "response.output_item.added" for event in events)
    done = sum(event["type"] == "response.output_item.done" for event in events)
    assert added == done
    if guard.blocked is None:
        assert last["type"] == "response.completed"
        said = ["".join(run) for _, run in wire_streams.runs(pieces)]
        assert [item_text(item) for item in last["response"]["output"]] == said
    else:
        assert last["type"] == "response.incomplete"
        assert last["response"]["incomplete_details"] == {"reason": "content_filter"}


@given(PIECES, st.lists(st.integers(0, 10**6), max_size=8))
@settings(max_examples=400, deadline=None)
def test_messages(pieces: Pieces, cuts: list[int]) -> None:
    out, guard = guarded(MessagesStream(), wire_streams.messages(pieces), cuts)
    events = docs(out)
    texts: dict[int, str] = {}
    open_blocks: list[int] = []
    for event in events:
        if event["type"] == "content_block_start":
            open_blocks.append(event["index"])
        elif event["type"] == "content_block_stop":
            open_blocks.remove(event["index"])
        elif event["type"] == "content_block_delta":
            assert event["index"] in open_blocks
            delta = event["delta"]
            (text,) = (delta[key] for key in delta if key != "type")
            texts[event["index"]] = texts.get(event["index"], "") + text
    assert open_blocks == []
    assert not any(POLICY.find(text) for text in texts.values())
    assert (guard.blocked is not None) == blocked(pieces)
    assert events[-1]["type"] == "message_stop"
    said = ["".join(run) for _, run in wire_streams.runs(pieces)]
    if guard.blocked is None:
        assert out.count(b"end_turn") == 1
        assert [texts[index] for index in sorted(texts)] == said
    else:
        assert events[-2]["delta"]["stop_reason"] == "refusal"
        for index, text in texts.items():
            assert said[index].startswith(text)


@pytest.mark.parametrize("logprobs", [False, True])
def test_the_official_client_follows_a_guarded_stream_to_its_refusal(logprobs: bool) -> None:
    pieces: Pieces = [("reasoning", "Hm"), ("text", "I"), ("text", " ha"), ("text", "te you")]
    raws = wire_streams.responses(pieces, logprobs=logprobs)
    out, _ = guarded(ResponsesStream(), raws, [])

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=out, headers={"content-type": "text/event-stream"})

    http = httpx.Client(transport=httpx.MockTransport(answer))
    client = openai.OpenAI(api_key="k", base_url="http://test/v1", http_client=http)
    with client.responses.stream(model="m", input="x") as stream:
        events = list(stream)
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.output_text == "I "
