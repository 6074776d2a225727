"""The Messages dialect, with events that vLLM wrote and the official client as the reader."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest

from gemma_gateway.core.dialect import ALL
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.wire.anthropic.count_tokens import CountTokens
from gemma_gateway.wire.anthropic.messages import Messages
from gemma_gateway.wire.anthropic.messages_stream import MessagesStream

SAMPLES = Path(__file__).parent / "samples"
TEXT = "Be brief.\n\nName three colours. 衣装\npaying\nBe brief.\n\n"


def events(name: str) -> list[bytes]:
    raw = (SAMPLES / f"{name}.txt").read_bytes()
    return [event + b"\n\n" for event in raw.split(b"\n\n") if event]


def docs(raw: bytes) -> list[dict[str, Any]]:
    return [json.loads(part.split(b"data: ", 1)[1]) for part in raw.split(b"\n\n") if part]


def sdk(body: bytes, status: int = 200, kind: str = "text/event-stream") -> anthropic.Anthropic:
    """The official client in front of a server that answers with these bytes."""
    # newer releases of the client stand on a successor of httpx
    http: Any = httpx
    if not issubclass(anthropic.DefaultHttpxClient, httpx.Client):
        http = importlib.import_module("httpx2")

    def answer(request: Any) -> Any:
        return http.Response(status, content=body, headers={"content-type": kind})

    client = http.Client(transport=http.MockTransport(answer))
    return anthropic.Anthropic(api_key="k", http_client=client, max_retries=0)


def ask() -> Any:
    return {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}


def relay(stream: MessagesStream, raws: list[bytes]) -> bytes:
    """What a client gets when nothing is changed: the quick way where it is offered."""
    sent = []
    for raw in raws:
        if stream.fast_text(raw) is None:
            sent.append(stream.read(raw).raw)
        else:
            sent.append(raw)
    return b"".join(sent)


def sse(doc: dict[str, Any]) -> bytes:
    return f"event: {doc['type']}\ndata: {json.dumps(doc)}\n\n".encode()


def error_of(body: dict[str, Any]) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        Messages().messages(body)
    return caught.value


# requests


def test_system_and_plain_messages() -> None:
    body = {
        "system": "Be kind.",
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Ho"},
            {"role": "system", "content": "Still."},
        ],
    }
    found = Messages().messages(body)
    assert [(m.where, m.role, [s.text for s in m.texts]) for m in found] == [
        ("system", "system", ["Be kind."]),
        ("messages.0", "user", ["Hi"]),
        ("messages.1", "assistant", ["Ho"]),
        ("messages.2", "system", ["Still."]),
    ]
    assert found[0].texts[0].channel == found[3].texts[0].channel, "the engine joins them"
    found[0].texts[0].put("Be.")
    assert body["system"] == "Be."


def test_every_kind_of_block_shows_its_texts() -> None:
    image = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    blocks: list[tuple[dict[str, Any], list[str]]] = [
        ({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, ["a"]),
        ({"type": "image", "source": image}, []),
        ({"type": "image", "source": {"type": "url", "url": "data:image/png;base64,AA"}}, []),
        (
            {"type": "tool_use", "id": "t", "name": "b", "input": {"url": "c", "d": ["e", {}]}},
            ["b", "c", "e", "url\nd"],
        ),
        ({"type": "tool_result", "tool_use_id": "t", "content": "f"}, ["f"]),
        (
            {
                "type": "tool_result",
                "tool_use_id": "t",
                "content": [{"type": "text", "text": "g"}, {"type": "image", "source": image}],
            },
            ["g"],
        ),
        ({"type": "thinking", "thinking": "h", "signature": "opaque"}, ["h"]),
        ({"type": "redacted_thinking", "data": "opaque"}, []),
        (
            {
                "type": "document",
                "title": "i",
                "source": {"type": "text", "media_type": "text/plain", "data": "j"},
            },
            ["i", "j"],
        ),
        (
            {
                "type": "search_result",
                "source": "https://k",
                "title": "l",
                "content": [{"type": "text", "text": "m"}],
            },
            ["https://k", "l", "m"],
        ),
        ({"type": "of_tomorrow", "deep": {"er": ["n"]}}, ["n"]),
    ]
    for block, texts in blocks:
        (message,) = Messages().messages({"messages": [{"role": "user", "content": [block]}]})
        assert [text_part.text for text_part in message.texts] == texts, block["type"]


def test_the_texts_of_one_message_are_one_text() -> None:
    content = [{"type": "text", "text": "ha"}, {"type": "text", "text": "te"}]
    (message,) = Messages().messages({"messages": [{"role": "user", "content": content}]})
    assert len({text_part.channel for text_part in message.texts}) == 1


def test_tools_and_schemas_are_read_but_count_for_nothing() -> None:
    tool = {"name": "t", "description": "u", "input_schema": {"properties": {"hidden": {}}}}
    body = {
        **ask(),
        "tools": [tool],
        "output_config": {"format": {"type": "json_schema", "schema": {"title": "v"}}},
        "chat_template_kwargs": {"note": "w"},
    }
    extra = [message for message in Messages().messages(body) if not message.counts]
    texts = [text_part.text for message in extra for text_part in message.texts]
    assert {"t", "u", "v", "w"} < set(texts)
    assert any("hidden" in text.split("\n") for text in texts), "names of properties too"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": ["x"]}, "messages.0"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": {}, "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages.0.content.0"),
        ({"messages": [], "system": 7}, "system"),
        ({"messages": [], "system": ["x"]}, "system.0"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image", "source": {"type": "url", "url": "ftp://a"}}],
                    }
                ]
            },
            "messages.0.content.0.source.url",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "tool_result",
                                "content": [
                                    {"type": "image", "source": {"type": "url", "url": "file:/x"}}
                                ],
                            }
                        ],
                    }
                ]
            },
            "messages.0.content.0.content.0.source.url",
        ),
    ],
)
def test_wrong_shapes_and_remote_media_name_their_place(body: dict[str, Any], param: str) -> None:
    error = error_of(body)
    assert (error.code, error.param) == (Code.VALIDATION_ERROR, param)


# streams


@pytest.mark.parametrize("name", ["messages_stream_plain", "messages_stream_tools_any"])
def test_an_untouched_stream_keeps_its_bytes(name: str) -> None:
    raws = events(name)
    assert relay(MessagesStream(), raws) == b"".join(raws)


def test_a_stream_tells_texts_closes_and_usage() -> None:
    stream = MessagesStream()
    read = [stream.read(raw) for raw in events("messages_stream_plain")]
    pieces = [text_part for event in read for text_part in event.texts]
    assert "".join(text_part.text for text_part in pieces) == TEXT
    (channel,) = {text_part.channel for text_part in pieces}
    stop, delta, end = read[-3:]
    assert stop.closes == [channel]
    assert delta.closes is ALL
    assert end.last
    assert not any(event.last or event.error or event.restated for event in read[:-1])
    assert read[0].usage is not None
    assert read[0].usage.prompt_tokens == 17
    assert delta.usage is not None
    assert (delta.usage.prompt_tokens, delta.usage.completion_tokens) == (17, 16)


def test_quick_and_read_agree_on_every_delta() -> None:
    # all deltas but the first of each block
    for name, deltas in (("messages_stream_plain", 15), ("messages_stream_tools_any", 18)):
        quick, slow, fast = MessagesStream(), MessagesStream(), 0
        for raw in events(name):
            glance, event = quick.fast_text(raw), slow.read(raw)
            if glance is None:
                quick.read(raw)
            else:
                fast += 1
                (text_part,) = event.texts
                assert glance == (text_part.channel, text_part.text)
        assert fast == deltas


def test_what_a_block_starts_with_is_not_missed() -> None:
    stream = MessagesStream()
    block = {"type": "text", "text": "ha"}
    start = stream.read(sse({"type": "content_block_start", "index": 0, "content_block": block}))
    delta = {"type": "text_delta", "text": "te"}
    raw = sse({"type": "content_block_delta", "index": 0, "delta": delta})
    assert [text_part.text for text_part in start.texts] == ["ha"]
    assert stream.fast_text(raw) == (start.texts[0].channel, "te")
    tool = {"type": "tool_use", "id": "t", "name": "hidden", "input": {"q": "v"}}
    start = stream.read(sse({"type": "content_block_start", "index": 1, "content_block": tool}))
    assert [text_part.text for text_part in start.restated] == ["hidden", "v"]


def test_nothing_is_added_to_a_block_that_never_left() -> None:
    stream = MessagesStream()
    block = {"type": "text", "text": "ok", "citations": [{"cited_text": "hate"}]}
    start = stream.read(sse({"type": "content_block_start", "index": 0, "content_block": block}))
    assert [text_part.text for text_part in start.restated] == ["hate"]
    assert stream.insert(start.texts[0].channel, "ok") == b""
    assert [doc["type"] for doc in docs(stream.refusal())] == ["message_delta", "message_stop"]


def test_thinking_is_a_channel_signatures_are_not_and_citations_are_read() -> None:
    stream = MessagesStream()

    def delta(**fields: Any) -> Any:
        return stream.read(sse({"type": "content_block_delta", "index": 0, "delta": fields}))

    thought = delta(type="thinking_delta", thinking="a")
    assert [text_part.text for text_part in thought.texts] == ["a"]
    text = delta(type="text_delta", text="b")
    assert text.texts[0].channel != thought.texts[0].channel
    signature = delta(type="signature_delta", signature="hate")
    assert (signature.texts, signature.restated) == ([], [])
    cited = delta(type="citations_delta", citation={"type": "x", "cited_text": "c"})
    assert [text_part.text for text_part in cited.restated] == ["c"]
    stop = stream.read(sse({"type": "content_block_stop", "index": 0}))
    assert set(stop.closes or ()) == {thought.texts[0].channel, text.texts[0].channel}


def test_held_text_comes_out_before_its_block_stops() -> None:
    for name in ("messages_stream_plain", "messages_stream_tools_any"):
        stream, raws = MessagesStream(), events(name)
        first_stop = next(i for i, raw in enumerate(raws) if b"content_block_stop" in raw)
        sent = relay(stream, raws[: first_stop - 1])
        held = stream.read(raws[first_stop - 1])
        (text_part,) = held.texts
        text = text_part.text
        text_part.put("")
        sent += stream.write(held)
        stop = stream.read(raws[first_stop])
        sent += (
            stream.insert(text_part.channel, text)
            + stop.raw
            + relay(stream, raws[first_stop + 1 :])
        )
        with sdk(sent).messages.stream(**ask()) as got:
            changed = got.get_final_message()
        with sdk(b"".join(raws)).messages.stream(**ask()) as got:
            assert changed.content == got.get_final_message().content


def refused(name: str, cut: int, keep: str) -> bytes:
    """A sample, cut by the policy in its ``cut``-th event, of which ``keep`` was clean."""
    stream, raws = MessagesStream(), events(name)
    sent = relay(stream, raws[:cut])
    stream.fast_text(raws[cut])
    event = stream.read(raws[cut])
    event.texts[0].put(keep)
    return sent + stream.write(event) + stream.refusal()


def test_a_refusal_closes_the_block_and_the_message() -> None:
    sent = refused("messages_stream_plain", 7, " th")
    with sdk(sent).messages.stream(**ask()) as stream:
        seen = [event.type for event in stream]
        message = stream.get_final_message()
    assert seen[-1] == "message_stop"
    assert message.stop_reason == "refusal"
    assert message.content[0].type == "text"
    assert message.content[0].text == "Be brief.\n\nName th"
    assert message.usage.output_tokens == 6
    assert docs(sent)[-2]["code"] == "RESPONSE_FILTERED"
    assert [doc["type"] for doc in docs(sent)[-3:]] == [
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_a_refusal_inside_a_tool_call_still_parses() -> None:
    with sdk(refused("messages_stream_tools_any", 9, "P")).messages.stream(**ask()) as stream:
        message = stream.get_final_message()
    assert message.stop_reason == "refusal"


def test_a_block_that_never_left_is_not_closed() -> None:
    stream, raws = MessagesStream(), events("messages_stream_tools_any")
    start = next(i for i, raw in enumerate(raws) if b'"index":1' in raw)
    relay(stream, raws[:start])
    stream.read(raws[start])  # the name of this tool is refused
    end = docs(stream.refusal())
    assert [doc["type"] for doc in end] == ["message_delta", "message_stop"]


def test_a_failure_raises_in_the_client_and_never_ends_cleanly() -> None:
    stream, raws = MessagesStream(), events("messages_stream_plain")
    sent = relay(stream, raws[:8]) + stream.failure(GatewayError(Code.GENERATION_ERROR))
    assert b"message_stop" not in sent
    last = docs(sent)[-1]
    assert (last["type"], last["error"]["type"]) == ("error", "api_error")
    texts = []
    client = sdk(sent)
    with (
        pytest.raises(anthropic.APIStatusError, match="could not complete"),
        client.messages.stream(**ask()) as got,
    ):
        texts.extend(got.text_stream)
    assert "".join(texts) == "Be brief.\n\nName three"


@pytest.mark.parametrize("raw", [b": ping\n\n", b"data: [DONE]\n\n", sse({"type": "ping"})])
def test_events_that_say_nothing_pass(raw: bytes) -> None:
    stream = MessagesStream()
    assert stream.fast_text(raw) is None
    event = stream.read(raw)
    assert (event.texts, event.restated, event.error, event.raw) == ([], [], False, raw)


@pytest.mark.parametrize(
    "raw", [sse({"type": "error", "error": {"message": "secret path"}}), b"data: {broken\n\n"]
)
def test_an_engine_that_fails_inside_the_stream_is_seen(raw: bytes) -> None:
    assert MessagesStream().read(raw).error


# whole answers, errors, counting


def whole() -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [
            {"type": "thinking", "thinking": "one", "signature": "opaque"},
            {"type": "text", "text": "two", "citations": [{"cited_text": "three"}]},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"id": "four", "k": ["five"]}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "cache_read_input_tokens": 4, "output_tokens": 7},
    }


def test_a_whole_answer_shows_every_text() -> None:
    texts = [text_part.text for text_part in Messages().answer(whole())]
    assert texts == ["one", "two", "three", "f", "four", "five", "id\nk"]
    usage = Messages().usage(whole())
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (9, 7, 4)


@pytest.mark.parametrize(
    ("place", "left"),
    [
        (0, [""]),
        (1, ["one", ""]),
        (2, ["one"]),
        (3, ["one", "two", "three"]),
        (5, ["one", "two", "three"]),
        (6, ["one", "two", "three"]),
    ],
)
def test_a_refused_answer_ends_where_it_was_cut(place: int, left: list[str]) -> None:
    doc, dialect = whole(), Messages()
    text_part = dialect.answer(doc)[place]
    text_part.put("")
    dialect.refuse(doc, text_part)
    assert [text_part.text for text_part in dialect.answer(doc)] == left
    assert doc["code"] == "RESPONSE_FILTERED"
    got = sdk(json.dumps(doc).encode(), kind="application/json").messages.create(**ask())
    assert got.stop_reason == "refusal"
    assert len(got.content) == len(doc["content"])


def test_the_client_reads_our_errors() -> None:
    error = GatewayError(Code.RATE_LIMIT_EXCEEDED, param="messages")
    body = Messages().error(error, "req_1")
    client = sdk(body, error.status, "application/json")
    with pytest.raises(anthropic.RateLimitError) as caught:
        client.messages.create(**ask())
    assert caught.value.body == {
        "type": "error",
        "error": {
            "type": "rate_limit_error",
            "message": error.message,
            "param": "messages",
            "gateway_code": "RATE_LIMIT_EXCEEDED",
        },
        "request_id": "req_1",
    }


def test_counting_checks_the_same_texts_and_generates_nothing() -> None:
    dialect = CountTokens()
    assert not dialect.streams
    assert not dialect.charged
    assert not dialect.max_tokens
    assert not dialect.sampling
    body = {"system": "a", "messages": [{"role": "user", "content": "b"}]}
    assert [s.text for m in dialect.messages(body) for s in m.texts] == ["a", "b"]
    assert dialect.answer({"input_tokens": 13}) == []
    assert dialect.usage({"input_tokens": 13}) is None
    error = json.loads(dialect.error(GatewayError(Code.CONTENT_FILTERED), "r"))
    assert (error["type"], error["error"]["gateway_code"]) == ("error", "CONTENT_FILTERED")
