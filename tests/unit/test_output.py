"""What a model may say, through the real dialects."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.safety import output
from gemma_gateway.safety.output import OutputGuard, judge_answer
from gemma_gateway.safety.policy import Category, Match, Policy
from gemma_gateway.wire.anthropic.messages import Messages
from gemma_gateway.wire.openai.chat import Chat
from gemma_gateway.wire.openai.completions import Completions
from gemma_gateway.wire.openai.responses import Responses
from tests.growth import is_linear

SAMPLES = Path(__file__).parent / "samples"
POLICY = Policy.load()
DONE = b"data: [DONE]\n\n"


def chunk(text: str | None = None, index: int = 0, finish: str | None = None, **more: Any) -> bytes:
    choice: dict[str, Any] = {
        "index": index,
        "delta": {} if text is None else {"content": text},
        "logprobs": None,
        "finish_reason": finish,
    }
    choice.update(more)
    doc = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + orjson.dumps({**doc, "choices": [choice]}) + b"\n\n"


def guard(policy: Policy = POLICY, dialect: Any = None, hide: bool = True) -> OutputGuard:
    return OutputGuard(policy, (dialect or Chat()).stream(hide))


def docs(raw: bytes) -> list[Any]:
    parts = [part for part in raw.replace(b"\r\n", b"\n").split(b"\n\n") if part.strip()]
    datas = [part.split(b"data: ", 1)[1] for part in parts]
    return [json.loads(data) for data in datas if data != b"[DONE]"]


def said(raw: bytes, index: int = 0) -> str:
    return "".join(
        choice["delta"].get("content") or ""
        for doc in docs(raw)
        for choice in doc["choices"]
        if choice["index"] == index
    )


def finishes(raw: bytes) -> list[tuple[int, str]]:
    return [
        (choice["index"], choice["finish_reason"])
        for doc in docs(raw)
        for choice in doc["choices"]
        if choice["finish_reason"]
    ]


def test_clean_events_leave_as_the_same_bytes() -> None:
    judge = guard()
    for event in (chunk("Hello"), chunk(" wor"), chunk("ld"), chunk(finish="stop"), DONE):
        assert judge.feed(event) is event
    burst = chunk("a") + chunk(" b") + chunk(" c")
    assert guard().feed(burst) is burst
    assert (judge.events_with_text, judge.ended, judge.blocked) == (3, True, None)
    assert judge.close() == b""


def test_held_text_moves_into_the_next_event() -> None:
    judge = guard()
    out = [judge.feed(chunk(text)) for text in ("We", " ha", "ve", " it", " now")]
    assert [said(part) for part in out] == ["We", " ", "have", " it", " now"]
    assert out[3] == chunk(" it")


def test_held_text_leaves_with_the_event_that_closes_its_channel() -> None:
    judge = guard()
    out = judge.feed(chunk("a ha")) + judge.feed(chunk(finish="stop")) + judge.feed(DONE)
    assert [said(part + b"\n\n") for part in out.split(b"\n\n")[:3]] == ["a ", "ha", ""]
    assert finishes(out) == [(0, "stop")]
    judge = guard()
    out = judge.feed(chunk("a h")) + judge.feed(chunk("a", finish="length"))
    assert said(out) == "a ha"
    assert len(docs(out)) == 2


@pytest.mark.parametrize(
    "events",
    [
        [chunk("so I hate it")],
        [chunk("so I h"), chunk("at"), chunk("e"), chunk(" it")],
        [chunk("so I hate"), chunk(finish="stop"), DONE],
        [chunk("so I hat"), chunk("e", finish="stop"), DONE],
        [chunk("so I hate. ", finish="length"), DONE],
        [chunk("so I "), chunk("hate"), DONE],
    ],
)
def test_a_match_ends_the_answer(events: list[bytes]) -> None:
    judge = guard()
    out = b"".join(map(judge.feed, events))
    assert said(out) == "so I "
    assert finishes(out) == [(0, "content_filter")]
    assert out.endswith(DONE)
    assert judge.blocked == Match("harm", "hate")
    assert judge.feed(chunk("more")) == b""
    assert judge.close() == b""


def test_bytes_that_just_end_release_or_refuse_what_is_held() -> None:
    judge = guard()
    judge.feed(chunk("x ha"))
    assert said(judge.close()) == "ha"
    assert not judge.ended
    judge = guard()
    judge.feed(chunk("x hate"))
    assert finishes(judge.close()) == [(0, "content_filter")]
    assert judge.blocked is not None


def test_choices_are_texts_of_their_own() -> None:
    judge = guard()
    out = b"".join(
        map(judge.feed, [chunk("a ha", 0), chunk("te", 1), chunk("b", 1), chunk("nd", 0)])
    )
    assert (said(out, 0), said(out, 1)) == ("a hand", "teb")
    assert judge.blocked is None
    out = b"".join(map(judge.feed, [chunk(" vio", 0), chunk(" hate!", 1), chunk("lin", 0)]))
    assert (said(out, 0), said(out, 1)) == (" ", " ")
    assert sorted(finishes(out)) == [(0, "content_filter"), (1, "content_filter")]


def test_tool_arguments_and_reasoning_are_judged() -> None:
    def call(text: str) -> bytes:
        return chunk(delta={"tool_calls": [{"index": 0, "function": {"arguments": text}}]})

    judge = guard()
    out = b"".join(map(judge.feed, map(call, ['{"a": "', "\\u00", "68at", 'e"}'])))
    assert judge.blocked == Match("harm", "hate")
    calls = [
        call
        for doc in docs(out)
        for c in doc["choices"]
        for call in c["delta"].get("tool_calls", [])
    ]
    assert "".join(call["function"]["arguments"] for call in calls) == '{"a": "'
    judge = guard()
    judge.feed(chunk(delta={"reasoning": "they h"}) + chunk(delta={"reasoning": "ate."}))
    assert judge.blocked is not None


def entry(token: str, *others: str) -> dict[str, Any]:
    top = [{"token": other, "logprob": -1.0, "bytes": []} for other in others]
    return {"token": token, "logprob": -0.1, "bytes": [], "top_logprobs": top}


def tokens(raw: bytes, index: int = 0) -> list[str]:
    return [
        item["token"]
        for doc in docs(raw)
        for choice in doc["choices"]
        if choice["index"] == index
        for item in (choice["logprobs"] or {}).get("content") or []
    ]


def test_logprobs_move_and_end_with_the_text() -> None:
    judge = guard()
    events = [
        chunk(t, logprobs={"content": [entry(t)]}) for t in ("We", " ha", "ve", " ha", "te", "!")
    ]
    out = [judge.feed(event) for event in events]
    assert out[0] == events[0]
    assert [tokens(part) for part in out[:4]] == [["We"], [], [" ha", "ve"], []]
    assert tokens(b"".join(out[3:])) == []
    assert said(b"".join(out)) == "We have "


def test_logprobs_that_run_ahead_of_the_text_do_not_tell_it() -> None:
    judge = guard()
    out = judge.feed(chunk("", logprobs={"content": [entry(" ha"), entry("te"), entry(" you")]}))
    assert tokens(out) == []
    out = judge.feed(chunk(" fine", logprobs={"content": [entry(" x")]}))
    assert (tokens(out), judge.blocked) == ([], None)


def test_the_last_logprobs_leave_with_the_closing_event() -> None:
    judge = guard()
    out = judge.feed(chunk("a ha", logprobs={"content": [entry("a"), entry(" ha")]}))
    assert tokens(out) == ["a"]
    end = judge.feed(chunk("", finish="stop", logprobs={"content": [entry("")]}))
    assert (tokens(end), said(end)) == ([" ha", ""], "ha")


def test_alternatives_are_removed_when_they_are_blocked() -> None:
    judge = guard()
    out = judge.feed(chunk("We", logprobs={"content": [entry("We", "We", " hate", "you")]}))
    top = docs(out)[0]["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    assert [other["token"] for other in top] == ["We", "you"]


def test_usage_that_was_not_asked_for_is_noted_and_hidden() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    event = b'data: {"choices":[],"usage":' + orjson.dumps(usage) + b"}\n\n"
    for hide, out in ((True, b""), (False, event)):
        judge = guard(hide=hide)
        assert judge.feed(event) == out
        assert judge.usage is not None
        assert (judge.usage.prompt_tokens, judge.usage.completion_tokens) == (3, 5)


@pytest.mark.parametrize(
    "event", [b'data: {"error":{"message":"CUDA out of memory"}}\n\n', b"data: {broken\n\n"]
)
def test_the_engines_failure_is_not_forwarded(event: bytes) -> None:
    judge = guard()
    assert judge.feed(chunk("a") + event + chunk("b")) == chunk("a")
    assert (judge.failed, judge.ended) == (True, False)
    assert judge.feed(DONE) == b""
    assert judge.close() == b""


def test_any_framing_and_any_cut() -> None:
    plain = chunk("Hi") + b": ping\n\n" + chunk(" ha") + chunk("nd") + chunk(finish="stop") + DONE
    for raw in (plain, plain.replace(b"\n", b"\r\n")):
        whole = guard().feed(raw)
        for size in (1, 2, 3, 7, 64):
            judge = guard()
            out = b"".join(judge.feed(raw[i : i + size]) for i in range(0, len(raw), size))
            assert out == whole
            assert judge.ended
        assert said(whole.replace(b": ping", b"data: [DONE]")) == "Hi hand"


def test_an_event_without_end_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    piece = b"x" * 4096
    most = output.MAX_EVENT_BYTES // len(piece)

    def feed(pieces: int) -> OutputGuard:
        judge = guard()
        for _ in range(pieces):
            judge.feed(piece)
        return judge

    assert not feed(most).failed
    assert feed(most + 1).failed
    assert is_linear(feed, most // 16)


def test_an_empty_policy_lets_everything_pass() -> None:
    judge = guard(Policy())
    raw = chunk("hate") + chunk(finish="stop") + DONE
    assert judge.feed(raw) is raw
    assert (judge.ended, judge.events_with_text) == (True, 1)


def test_flags_are_told_and_hold_nothing() -> None:
    judge = guard(Policy((Category(name="sport", terms=("golf",), action="flag"),)))
    assert said(judge.feed(chunk("I go"))) == "I go"
    assert said(judge.feed(chunk("lf"))) == "lf"
    assert judge.flags == {"sport"}
    judge.feed(chunk(finish="stop"))
    assert judge.flags == {"sport"}


@pytest.mark.parametrize(
    ("dialect", "sample"),
    [
        (Messages(), "messages_stream_plain"),
        (Messages(), "messages_stream_tools_any"),
        (Responses(), "responses_stream_plain"),
        (Responses(), "responses_stream_logprobs"),
        (Responses(), "responses_stream_tools_required"),
    ],
)
def test_real_events_of_other_dialects(dialect: Any, sample: str) -> None:
    raw = (SAMPLES / f"{sample}.txt").read_bytes()
    judge = guard(dialect=dialect)
    assert judge.feed(raw) == raw.replace(b"response.completed", b"response.incomplete")
    assert (judge.ended, judge.failed, judge.blocked) == (True, False, None)
    assert judge.usage is not None


@pytest.mark.parametrize("size", [1, 50, 100_000])
@pytest.mark.parametrize(
    ("dialect", "sample", "term", "kept", "ending"),
    [
        (Messages(), "messages_stream_plain", "three colours", b"Name", b'"refusal"'),
        (Responses(), "responses_stream_plain", "three colours", b"Name", b'"content_filter"'),
        (Responses(), "responses_stream_logprobs", "Name name", b"", b'"content_filter"'),
    ],
)
def test_a_match_in_other_dialects(
    dialect: Any, sample: str, term: str, kept: bytes, ending: bytes, size: int
) -> None:
    raw = (SAMPLES / f"{sample}.txt").read_bytes()
    judge = guard(Policy((Category(name="x", terms=(term,)),)), dialect)
    out = b"".join(judge.feed(raw[i : i + size]) for i in range(0, len(raw), size)) + judge.close()
    assert judge.blocked == Match("x", term)
    assert ending in out
    assert kept in out
    for word in term.title().split() + term.split():
        assert f'"{word}'.encode() not in out
        assert f" {word}".encode() not in out
    numbers = [doc["sequence_number"] for doc in docs(out) if "sequence_number" in doc]
    assert numbers == list(range(len(numbers)))


def test_a_failure_after_held_text_has_its_error_event() -> None:
    stream = Chat().stream(True)
    judge = OutputGuard(POLICY, stream)
    judge.feed(chunk("a ha"))
    assert said(judge.close()) == "ha"
    assert b"GENERATION_ERROR" in stream.failure(GatewayError(Code.GENERATION_ERROR))


def whole(*contents: str, **more: Any) -> dict[str, Any]:
    choices = [
        {
            "index": i,
            "message": {"role": "assistant", "content": text, **more},
            "logprobs": None,
            "finish_reason": "stop",
        }
        for i, text in enumerate(contents)
    ]
    return {"id": "1", "object": "chat.completion", "choices": choices, "usage": {}}


def test_a_whole_answer_keeps_its_clean_part() -> None:
    doc = whole("so I hate it", "fine", "violence")
    assert judge_answer(POLICY, Chat(), doc).match == Match("harm", "hate")
    assert [c["message"]["content"] for c in doc["choices"]] == ["so I ", "fine", ""]
    assert [c["finish_reason"] for c in doc["choices"]] == [
        "content_filter",
        "stop",
        "content_filter",
    ]


def test_a_clean_whole_answer_is_left_alone() -> None:
    doc = whole("whatever you chat about", "fine")
    before = orjson.dumps(doc)
    verdict = judge_answer(POLICY, Chat(), doc)
    assert (verdict.match, verdict.changed, orjson.dumps(doc)) == (None, False, before)


def test_thoughts_that_match_end_the_choice_before_its_text() -> None:
    doc = whole("the answer", reasoning="they hate")
    assert judge_answer(POLICY, Chat(), doc).match is not None
    message = doc["choices"][0]["message"]
    assert (message["reasoning"], message["content"]) == ("they ", "")


def test_alternatives_and_flags_of_a_whole_answer() -> None:
    policy = Policy(
        (Category(name="x", terms=("bad",)), Category(name="y", terms=("odd",), action="flag"))
    )
    doc = whole("an odd one")
    doc["choices"][0]["logprobs"] = {"content": [entry("an odd one", "bad", "good")]}
    verdict = judge_answer(policy, Chat(), doc)
    assert (verdict.match, verdict.changed, verdict.flags) == (None, True, {"y"})
    assert b'"bad"' not in orjson.dumps(doc)


def test_completions_too() -> None:
    doc = {"choices": [{"index": 0, "text": "x hate", "finish_reason": "stop", "logprobs": None}]}
    assert judge_answer(POLICY, Completions(), doc).match is not None
    assert doc["choices"][0]["text"] == "x "


pieces = st.sampled_from(
    ["h", "a", "t", "e", "ha", "hate", " ", "te ", "viol", "ence", "x", "\\u0068", "\u200b", "é"]
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), pieces), max_size=20),
    st.lists(st.integers(1, 400), min_size=1, max_size=8),
    st.booleans(),
    st.booleans(),
)
def test_streams_of_several_choices(
    deltas: list[tuple[int, str]], sizes: list[int], finish: bool, logprobs: bool
) -> None:
    def event(text: str, index: int, finish: str | None = None) -> bytes:
        logprob = {"content": [entry(text)]} if logprobs else None
        return chunk(text, index, finish, logprobs=logprob)

    raw = b"".join(event(text, index) for index, text in deltas)
    ends = b"".join(event("", i, "stop") for i in range(3)) if finish else b""
    raw += ends + DONE
    judge, at, out = guard(), 0, b""
    for size in [*sizes, len(raw)]:
        out += judge.feed(raw[at : at + size])
        at += size
    texts = ["".join(text for i, text in deltas if i == index) for index in range(3)]
    blocked = any(POLICY.find(text) for text in texts)
    assert (judge.blocked is not None) == blocked
    assert out.endswith(DONE)
    for index, text in enumerate(texts):
        sent = said(out, index)
        assert POLICY.find(sent) is None
        assert text.startswith(sent)
        assert blocked or sent == text
        told = "".join(tokens(out, index))
        assert sent.startswith(told)
        assert not logprobs or not finish or blocked or told == text
    if finish and not blocked:
        assert finishes(out) == [(0, "stop"), (1, "stop"), (2, "stop")]
    assert len({index for index, _ in finishes(out)}) == len(finishes(out))


def test_held_text_is_counted() -> None:
    judge = guard()
    judge.feed(chunk("clean words"))
    assert (judge.held.characters, judge.held.seconds) == (0, 0)
    judge.feed(chunk(" vio"))
    time.sleep(0.02)
    assert judge.held.seconds == 0  # it is told when it is over
    judge.feed(chunk("le"))
    time.sleep(0.02)
    judge.feed(chunk("ts grow"))
    assert judge.held.characters == len("viole")
    assert 0.04 <= judge.held.seconds < 60


@pytest.mark.parametrize("end", ["finish", "close", "match"])
def test_held_text_is_counted_however_it_ends(end: str) -> None:
    judge = guard()
    judge.feed(chunk("ha"))
    time.sleep(0.02)
    if end == "finish":
        judge.feed(chunk(finish="stop"))
    elif end == "close":
        judge.close()
    else:
        judge.feed(chunk("te "))
        assert judge.blocked is not None
    assert judge.held.characters == 2
    assert judge.held.seconds >= 0.02


def test_channels_are_held_apart() -> None:
    judge = guard()
    judge.feed(chunk("viol", 0))
    judge.feed(chunk("ha", 1))
    time.sleep(0.02)
    judge.feed(chunk("ins", 0))
    first = judge.held.seconds
    assert first >= 0.02
    time.sleep(0.02)
    judge.feed(chunk("m", 1))
    assert judge.held.characters == 4
    assert judge.held.seconds > first
