"""Chat completions: where texts stand, how streams are read, changed and ended.

The events are vLLM 0.32's own, captured from a Gemma 3 270M and shortened.
"""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_gateway.core.dialect import ALL, Event, Message
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.safety.output import OutputGuard
from gemma_gateway.safety.policy import Policy
from gemma_gateway.wire.logprobs import ChatLogprobs
from gemma_gateway.wire.openai.chat import Chat

CHAT = Chat()
HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 17, "model": "gemma"}


def chunk(delta: dict[str, Any], index: int = 0, **choice: Any) -> bytes:
    base = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
    return b"data: " + orjson.dumps({**HEAD, "choices": [{**base, **choice}]}) + b"\n\n"


def docs(raw: bytes) -> list[Any]:
    """Events as a client reads them; ``[DONE]`` as text."""
    datas = [part.removeprefix(b"data: ") for part in raw.split(b"\n\n") if part]
    return ["[DONE]" if data == b"[DONE]" else orjson.loads(data) for data in datas]


def token(text: str, *others: str) -> dict[str, Any]:
    entry = {"token": text, "logprob": -1.0, "bytes": list(text.encode())}
    tops = [{"token": t, "logprob": -2.0, "bytes": list(t.encode())} for t in (text, *others)]
    return {**entry, "top_logprobs": tops}


def texts(event: Event) -> dict[Any, str]:
    return {text_part.channel: text_part.text for text_part in event.texts}


# --- requests


def messages(*entries: Any, **body: Any) -> list[Message]:
    return CHAT.messages({"model": "gemma", "messages": list(entries), **body})


def said(found: list[Message]) -> list[str]:
    return [text_part.text for message in found for text_part in message.texts]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": {"role": "user"}}, "messages"),
        ({"messages": ["hi"]}, "messages.0"),
        ({"messages": [None]}, "messages.0"),
        ({"messages": [{}]}, "messages.0.role"),
        ({"messages": [{"role": "root", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": {"text": "x"}}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [7]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages.0.content.0.type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "odd", "odd": "x"}]}]},
            "messages.0.content.0.type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": ["text"], "text": "x"}]}]},
            "messages.0.content.0.type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages.0.content.0.text",
        ),
    ],
)
def test_wrong_shapes_name_their_field(body: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        CHAT.messages(body)
    assert caught.value.code is Code.VALIDATION_ERROR
    assert caught.value.param == param


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "//169.254.169.254/latest"}},
        {"type": "image_url", "image_url": {"url": "ftp://example.com/a.png"}},
        {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
        {"type": "image_url", "image_url": {"url": " data:image/png;base64,AA"}},
        {"type": "image_url", "image_url": {"url": 7}},
        {"type": "image_url", "image_url": {}},
        {"type": "input_image", "image_url": "ws://example.com/a.png"},
        {"type": "input_image", "image_url": {"url": "data:image/png;base64,AA"}},
        {"type": "text", "text": "x", "image_url": "data:image/png;base64,AA"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "full"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}, "detail": 7},
        {"type": "audio_url", "audio_url": {"url": "http://example.com/a.wav"}},
        {"type": "video_url", "video_url": {"url": "http://example.com/a.mp4"}},
        {"type": "text", "text": "x", "video_url": {"url": "http://example.com/a.mp4"}},
        {"type": "text", "text": "x", "uuid": "other", "image_url": "data:image/png;base64,AA"},
        {"type": "text", "text": "x", "prompt_embeds": "AAAA"},
        {"type": "text", "text": "x", "image_embeds": "AAAA"},
        {"type": "file", "file": {"file_data": "http://example.com/a.pdf"}},
    ],
)
def test_nothing_is_fetched_and_nothing_unreadable_passes(part: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as caught:
        messages({"role": "user", "content": [part]})
    assert caught.value.code is Code.VALIDATION_ERROR
    assert str(caught.value.param).startswith("messages.0.content.0.")


def test_media_in_the_request_passes_and_is_no_text() -> None:
    found = messages(
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGF0ZQ=="}},
                {"type": "input_audio", "input_audio": {"data": "aGF0ZQ==", "format": "wav"}},
                "and this",
            ],
        }
    )
    assert said(found) == ["What is this?", "and this"]
    assert (
        len({text_part.channel for text_part in found[0].texts}) == 1
    )  # one text, however it is cut


def test_every_text_of_a_message_is_found_and_can_be_replaced() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "T1", "arguments": '{"q":"T2"}'}}
    custom = {"id": "c2", "type": "custom", "custom": {"name": "T3", "input": "T4"}}
    body = {
        "messages": [
            {"role": "system", "content": "T0", "name": "T5"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "T6"},
                    {"type": "refusal", "refusal": "T7"},
                ],
                "reasoning": "T8",
                "reasoning_content": "T9",
                "refusal": "T10",
                "tool_calls": [call, custom],
                "function_call": {"name": "T11", "arguments": "T12"},
            },
            {"role": "tool", "tool_call_id": "c1", "content": "T13"},
            {"role": "function", "name": "T14", "content": "T15"},
            {"role": "developer", "content": "T16", "tools": [{"function": {"name": "T17"}}]},
        ]
    }  # fmt: skip
    found = CHAT.messages(body)
    assert [message.role for message in found] == [
        "system",
        "assistant",
        "tool",
        "function",
        "developer",
    ]
    joined = "\n".join(said(found))
    assert all(f"T{i}" in joined for i in range(18))
    for message in found:
        for text_part in message.texts:
            text_part.put(text_part.text.replace("T", "U"))
    assert not re.search(rb"T\d", orjson.dumps(body))


def test_escapes_in_tool_call_arguments_hide_nothing() -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": '{"q":"\\u0068ate"}'}}
    found = messages({"role": "assistant", "content": None, "tool_calls": [call]})
    assert any("hate" in text for text in said(found))
    as_object = {"type": "function", "function": {"name": "f", "arguments": {"hidden key": 1}}}
    found = messages({"role": "assistant", "content": None, "tool_calls": [as_object]})
    assert any("hidden key" in text for text in said(found))


def test_texts_beside_the_messages_are_found_and_do_not_count() -> None:
    schema = {"type": "object", "properties": {"T1": {"type": "string", "description": "T2"}}}
    tool = {
        "type": "function",
        "function": {"name": "T3", "description": "T4", "parameters": schema},
    }
    found = messages(
        {"role": "user", "content": "hi"},
        tools=[tool],
        documents=[{"title": "T5", "text": "T6"}],
        chat_template_kwargs={"T7": "T8", "enable_thinking": True},
        response_format={"type": "json_schema", "json_schema": {"name": "T9", "schema": schema}},
        structured_outputs={"choice": ["T10"]},
        stop=["T11"],
    )
    beside = found[1:]
    joined = "\n".join(said(beside))
    assert all(f"T{i}" in joined for i in range(1, 12))
    assert found[0].counts
    assert not any(message.counts for message in beside)
    assert {message.role for message in beside} == {"system"}


def test_constraints_are_checked_but_never_rewritten() -> None:
    body = {
        "messages": [{"role": "user", "content": "x"}],
        "structured_outputs": {"regex": "a<b"},
    }
    before = orjson.dumps(body)
    for message in CHAT.messages(body)[1:]:
        for text_part in message.texts:
            text_part.put("")
    assert orjson.dumps(body) == before


@pytest.mark.parametrize("role", ["assistant", "tool", "function"])
@pytest.mark.parametrize("given", [{}, {"content": None}])
def test_a_message_that_says_nothing_is_an_empty_one(role: str, given: dict[str, Any]) -> None:
    body = {"messages": [{"role": role, "tool_call_id": "c1", **given}]}
    (message,) = CHAT.messages(body)
    assert (body["messages"][0]["content"], message.texts) == ("", [])


def test_ask_usage_keeps_the_clients_options() -> None:
    wanted = {"include_usage": True, "continuous_usage_stats": True, "include_obfuscation": False}
    body: dict[str, Any] = {"stream_options": dict(wanted)}
    assert not CHAT.ask_usage(body)
    assert body["stream_options"] == wanted


@pytest.mark.parametrize("asked", [{}, {"include_usage": False}, {"include_usage": None}])
def test_usage_in_every_event_counts_only_where_usage_is_asked_for(asked: dict[str, Any]) -> None:
    options = {**asked, "continuous_usage_stats": True, "include_obfuscation": False}
    body = {"stream_options": options}
    assert CHAT.ask_usage(body)
    assert body["stream_options"] == {"include_usage": True, "include_obfuscation": False}


# --- streams

FIRST = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":17,"model":"gemma",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,'
    b'"finish_reason":null}],"prompt_token_ids":null,"prompt_text":null}\n\n'
)
PIECE = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":17,"model":"gemma",'
    b'"choices":[{"index":0,"delta":{"content":" \xf0\x9f\x98\x80 briefly"},"logprobs":null,'
    b'"finish_reason":null,"token_ids":null}]}\n\n'
)
LAST = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":17,"model":"gemma",'
    b'"choices":[{"index":0,"delta":{"content":"."},"logprobs":null,"finish_reason":"length",'
    b'"stop_reason":null,"token_ids":null}],"system_fingerprint":"vllm-0.32.0"}\n\n'
)
USAGE = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":17,"model":"gemma",'
    b'"choices":[],"usage":{"prompt_tokens":17,"total_tokens":22,"completion_tokens":5}}\n\n'
)
DONE = b"data: [DONE]\n\n"
CONTENT = (0, "delta", "content")


def test_quick_reads_a_plain_piece_as_read_does() -> None:
    stream = CHAT.stream(False)
    assert stream.fast_text(PIECE) == (CONTENT, " 😀 briefly")
    assert texts(stream.read(PIECE)) == {CONTENT: " 😀 briefly"}
    thought = chunk({"reasoning": "hm"})
    assert stream.fast_text(thought) == ((0, "delta", "reasoning"), "hm")
    assert stream.fast_text(PIECE.replace(b"\n\n", b"\r\n\r\n")) == (CONTENT, " 😀 briefly")


@pytest.mark.parametrize(
    "raw",
    [
        FIRST,
        LAST,
        USAGE,
        DONE,
        b": ping\n\n",
        b"",
        b"data:" + PIECE[6:],
        b"event: x\n" + PIECE,
        b'data: {"error":{"message":"x"}}\n\n',
        chunk({}),
        chunk({"content": None}),
        chunk({"content": "x", "reasoning": "y"}),
        chunk({"reasoning": "x", "reasoning_content": "y"}),
        chunk({"content": "x", "refusal": "y"}),
        chunk({"content": "x", "citations": [{"text": "y"}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "x"}}]}),
        chunk({"content": "x"}, logprobs={"content": [token("x")]}),
        chunk({"content": "x"}, message={"content": "y"}),
        b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": {"content": "x"}}] * 2}),
        b'data: {"choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"prompt_tokens":1}}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":"\xff"}}]}\n\n',
    ],
)
def test_quick_leaves_all_else_to_read(raw: bytes) -> None:
    assert CHAT.stream(False).fast_text(raw) is None


def test_a_stream_as_vllm_writes_it() -> None:
    stream = CHAT.stream(hide_usage=True)
    assert texts(stream.read(FIRST)) == {CONTENT: ""}
    stream.fast_text(PIECE)
    last = stream.read(LAST)
    assert texts(last) == {CONTENT: "."}
    assert list(last.closes or ()) == [CONTENT]
    usage = stream.read(USAGE)
    assert usage.hidden
    assert usage.usage is not None
    assert (usage.usage.prompt_tokens, usage.usage.completion_tokens) == (17, 5)
    assert not CHAT.stream(hide_usage=False).read(USAGE).hidden
    done = stream.read(DONE)
    assert done.last
    assert done.closes == ALL
    assert not stream.read(b": ping\n\n").error


@pytest.mark.parametrize("raw", [FIRST, PIECE, LAST, USAGE])
def test_an_unchanged_event_is_written_as_it_was(raw: bytes) -> None:
    stream = CHAT.stream(False)
    event = stream.read(raw)
    assert event.raw == raw
    assert stream.write(event) == raw


def test_sse_framing_may_differ() -> None:
    stream = CHAT.stream(False)
    assert texts(stream.read(b"data:" + PIECE[6:])) == {CONTENT: " 😀 briefly"}
    assert texts(stream.read(b"event: chunk\nid: 1\n" + PIECE)) == {CONTENT: " 😀 briefly"}
    cut = PIECE.replace(b'"choices"', b'\ndata: "choices"').replace(b"\n", b"\r\n")
    assert texts(stream.read(cut)) == {CONTENT: " 😀 briefly"}


def test_tool_calls_have_a_channel_each() -> None:
    stream = CHAT.stream(False)
    first = {"id": "a", "type": "function", "index": 0}
    event = stream.read(
        chunk({"tool_calls": [{**first, "function": {"name": "f", "arguments": "{"}}]})
    )
    assert texts(event) == {
        (0, "delta", "tool_calls", 0, "function", "name"): "f",
        (0, "delta", "tool_calls", 0, "function", "arguments"): "{",
    }  # fmt: skip
    other = {"index": 1, "function": {"name": None, "arguments": "x"}}
    channel = (0, "delta", "tool_calls", 1, "function", "arguments")
    assert texts(stream.read(chunk({"tool_calls": [other]}))) == {channel: "x"}
    held = docs(stream.insert(channel, "held"))[0]
    assert held["choices"][0]["delta"] == {
        "tool_calls": [{"index": 1, "function": {"arguments": "held"}}]
    }
    assert held["id"] == "chatcmpl-1"
    end = stream.read(chunk({}, finish_reason="tool_calls"))
    assert len(list(end.closes or ())) == 3


def test_unknown_fields_are_texts_too() -> None:
    stream = CHAT.stream(False)
    event = stream.read(
        chunk({"content": "a", "refusal": "b", "audio": {"transcript": "c"}}, note="d")
    )
    assert sorted(texts(event).values()) == ["a", "b", "c", "d"]
    two = {**HEAD, "choices": [{"index": i, "delta": {"content": str(i)}} for i in (0, 1)]}
    event = stream.read(b"data: " + orjson.dumps(two) + b"\n\n")
    assert texts(event) == {CONTENT: "0", (1, "delta", "content"): "1"}


@pytest.mark.parametrize(
    "raw",
    [
        b'data: {"error":{"message":"x","type":"y","code":500}}\n\n',
        b'data: {"object":"error","message":"x"}\n\n',
        b"data: {broken\n\n",
        b'data: {"choices":[7]}\n\n',
    ],
)
def test_an_engines_failure_in_the_stream_is_seen(raw: bytes) -> None:
    assert CHAT.stream(False).read(raw).error


def test_events_of_another_protocol_are_not_passed_on() -> None:
    assert CHAT.stream(False).read(b'data: {"type":"ping","text":"x"}\n\n').hidden


def test_logprobs_run_along_the_text() -> None:
    stream = CHAT.stream(False)
    event = stream.read(
        chunk({"content": "ab"}, logprobs={"content": [token("a", "x"), token("b", "y")]})
    )
    logprobs = event.texts[0].logprobs
    assert isinstance(logprobs, ChatLogprobs)
    sides = list(logprobs.side_texts())
    assert [text for text, _ in sides] == ["a", "x", "b", "y"]
    sides[1][1]()
    entries = logprobs.take()
    assert [text for text, _ in entries] == ["a", "b"]
    event.texts[0].put("b")
    logprobs.give(entries[1:])
    choice = docs(stream.write(event))[0]["choices"][0]
    assert choice["delta"] == {"content": "b"}
    assert [entry["token"] for entry in choice["logprobs"]["content"]] == ["b"]
    assert [t["token"] for t in entries[0][1]["top_logprobs"]] == ["a"]


def test_logprobs_without_a_text_get_one_to_be_held_with() -> None:
    stream = CHAT.stream(False)
    event = stream.read(chunk({}, logprobs={"content": [token("x")]}))
    assert texts(event) == {CONTENT: ""}
    assert event.texts[0].logprobs is not None


def test_logprobs_of_several_texts_are_dropped() -> None:
    stream = CHAT.stream(False)
    raw = chunk({"content": "a", "reasoning": "b"}, logprobs={"content": [token("b"), token("a")]})
    out = OutputGuard(Policy.load(), stream).feed(raw)
    assert docs(out)[0]["choices"][0]["logprobs"] is None


def test_token_ids_do_not_outlive_their_text() -> None:
    stream = CHAT.stream(False)
    event = stream.read(chunk({"content": "a"}, token_ids=[5]))
    event.texts[0].put("")
    assert docs(stream.write(event))[0]["choices"][0]["token_ids"] is None


def test_refusal_ends_every_open_choice() -> None:
    stream = CHAT.stream(False)
    stream.fast_text(PIECE)
    stream.fast_text(chunk({"content": "x"}, 1))
    stream.read(chunk({"content": "y"}, 2, finish_reason="stop"))
    stream.read(chunk({"content": "x"}, 1))
    *endings, done = docs(stream.refusal())
    assert done == "[DONE]"
    assert [e["choices"][0]["index"] for e in endings] == [0, 1]
    for ending in endings:
        assert ending["choices"][0]["finish_reason"] == "content_filter"
        assert ending["choices"][0]["delta"] == {}
        assert ending["code"] == "RESPONSE_FILTERED"
        assert {key: ending[key] for key in HEAD} == HEAD


def test_refusal_may_replace_the_event_that_finishes() -> None:
    stream = CHAT.stream(False)
    stream.read(chunk({"content": "bad"}, finish_reason="stop"))
    ending, _ = docs(stream.refusal())
    assert ending["choices"][0]["finish_reason"] == "content_filter"


def test_refusal_before_any_event_still_ends_well() -> None:
    ending, done = docs(CHAT.stream(False).refusal())
    assert ending["choices"][0]["finish_reason"] == "content_filter"
    assert done == "[DONE]"


def test_failure_is_an_error_and_no_clean_end() -> None:
    stream = CHAT.stream(False)
    (doc,) = docs(stream.failure(GatewayError(Code.GENERATION_ERROR)))
    assert doc["error"]["gateway_code"] == "GENERATION_ERROR"
    assert doc["error"]["type"] == "server_error"


odd = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["index", "delta", "content", "logprobs", "token", "top_logprobs"]),
        inner,
        max_size=4,
    ),
    max_leaves=10,
)  # fmt: skip


@given(odd, odd, odd)
def test_odd_events_are_read_or_called_errors(choices: Any, delta: Any, logprobs: Any) -> None:
    stream = CHAT.stream(False)
    for doc in (
        {"choices": choices},
        {"choices": [{"index": 0, "delta": delta, "logprobs": logprobs}], "usage": choices},
    ):
        try:
            raw = b"data: " + orjson.dumps(doc) + b"\n\n"
        except TypeError:  # an integer past 64 bits
            continue
        quick, event = stream.fast_text(raw), stream.read(raw)
        if quick is not None:
            assert [(s.channel, s.text) for s in event.texts if s.text] == [quick]
        for text_part in event.texts:
            if text_part.logprobs is not None:
                list(text_part.logprobs.side_texts())
                text_part.logprobs.give(text_part.logprobs.take())
            text_part.put("")
        if not event.error:
            assert docs(stream.write(event))
        assert stream.refusal().endswith(DONE)


# --- whole answers


def answer(message: dict[str, Any], **choice: Any) -> dict[str, Any]:
    base = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 1},
    }
    return {"id": "x", "choices": [{**base, **choice}], "usage": usage}  # fmt: skip


def test_texts_of_an_answer_come_in_the_order_of_writing() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    doc = answer({"content": "b", "refusal": None, "tool_calls": [call], "reasoning": "a"})
    assert [text_part.text for text_part in CHAT.answer(doc)] == ["a", "b", "f", "{}"]
    usage = CHAT.usage(doc)
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (3, 2, 1)
    assert CHAT.usage({"choices": []}) is None


def test_refuse_ends_the_choice_where_it_was_cut() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    doc = answer({"reasoning": "a", "content": "b bad", "tool_calls": [call]}, token_ids=[1])
    doc["choices"].append(answer({"content": "other"})["choices"][0])
    text_part = CHAT.answer(doc)[1]
    text_part.put("b ")
    CHAT.refuse(doc, text_part)
    first, second = doc["choices"]
    assert first["message"] == {"role": "assistant", "reasoning": "a", "content": "b "}
    assert first["finish_reason"] == "content_filter"
    assert first["token_ids"] is None
    assert second["finish_reason"] == "stop"
    assert second["message"]["content"] == "other"
    assert doc["code"] == "RESPONSE_FILTERED"


def test_refuse_in_thoughts_and_in_calls() -> None:
    calls = [
        {"id": str(i), "type": "function", "function": {"name": "f", "arguments": f"{{{i}"}}
        for i in range(3)
    ]
    doc = answer({"content": "b", "tool_calls": calls}, logprobs={"content": [token("b")]})
    text_part = CHAT.answer(doc)[4]
    assert text_part.text == "{1"
    text_part.put("")
    CHAT.refuse(doc, text_part)
    kept = doc["choices"][0]["message"]
    assert kept["content"] == "b"
    assert [call["function"]["arguments"] for call in kept["tool_calls"]] == ["{0"]
    assert doc["choices"][0]["logprobs"] is None

    doc = answer({"reasoning": "a", "content": "b"})
    text_part = CHAT.answer(doc)[0]
    text_part.put("")
    CHAT.refuse(doc, text_part)
    assert doc["choices"][0]["message"]["content"] == ""


def test_refuse_cuts_logprobs_with_the_text() -> None:
    entries = [token("a", "q"), token(" bad"), token(" c")]
    doc = answer({"content": "a bad c"}, logprobs={"content": entries})
    text_part = CHAT.answer(doc)[0]
    text_part.put("a ")
    CHAT.refuse(doc, text_part)
    assert [e["token"] for e in doc["choices"][0]["logprobs"]["content"]] == ["a"]


def test_prompt_logprobs_alternatives_are_side_texts() -> None:
    doc = answer({"content": "a"})
    doc["prompt_logprobs"] = [
        None,
        {"5": {"logprob": -9.0, "decoded_token": "said"}, "6": {"decoded_token": "other"}},
    ]
    logprobs = CHAT.answer(doc)[0].logprobs
    assert logprobs is not None
    assert [text for text, _ in logprobs.side_texts()] == ["said", "other"]
    list(logprobs.side_texts())[1][1]()
    assert list(doc["prompt_logprobs"][1]) == ["5"]


def test_error_body_has_openais_shape() -> None:
    error = GatewayError(Code.VALIDATION_ERROR, "no", param="messages")
    assert orjson.loads(CHAT.error(error, "id")) == {
        "error": {
            "message": "no",
            "type": "invalid_request_error",
            "param": "messages",
            "code": None,
            "gateway_code": "VALIDATION_ERROR",
        }
    }
