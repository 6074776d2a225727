"""The Responses dialect, with events that vLLM wrote and the official client as the reader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from gemma_gateway.core.dialect import ALL, Event, Message
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.wire.openai.responses import Responses
from gemma_gateway.wire.openai.responses_stream import ResponsesStream

SAMPLES = Path(__file__).parent / "samples"
TEXT = "Be brief.\n\nName three colours.\n\nName three colours.\n\nName three"


def events(name: str) -> list[bytes]:
    raw = (SAMPLES / f"{name}.txt").read_bytes()
    return [event + b"\n\n" for event in raw.split(b"\n\n") if event]


def docs(raw: bytes) -> list[dict[str, Any]]:
    return [json.loads(part.split(b"data: ", 1)[1]) for part in raw.split(b"\n\n") if part]


def sdk(body: bytes) -> openai.OpenAI:
    """The official client in front of a server that answers with these bytes."""

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=body, headers={"content-type": "text/event-stream"})

    transport = httpx.MockTransport(answer)
    return openai.OpenAI(
        api_key="k", base_url="http://test/v1", http_client=httpx.Client(transport=transport)
    )


def received(body: bytes) -> Iterator[Any]:
    return iter(sdk(body).responses.create(model="m", input="x", stream=True))


def relay(stream: ResponsesStream, raws: list[bytes]) -> bytes:
    """What a client gets when nothing is changed: the quick way where it is offered."""
    sent = []
    for raw in raws:
        if stream.fast_text(raw) is None:
            sent.append(stream.read(raw).raw)
        else:
            sent.append(raw)
    return b"".join(sent)


def delta(text: str, number: int, **more: Any) -> bytes:
    doc = {
        "content_index": 0,
        "delta": text,
        "item_id": "msg_1",
        "logprobs": [],
        "output_index": 0,
        "sequence_number": number,
        "type": "response.output_text.delta",
        **more,
    }
    return f"event: {doc['type']}\ndata: {json.dumps(doc)}\n\n".encode()


def error_of(body: dict[str, Any]) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        Responses().messages(body)
    return caught.value


def said(messages: list[Message]) -> list[tuple[str, str, list[str]]]:
    return [(m.where, m.role, [text_part.text for text_part in m.texts]) for m in messages]


# requests


def test_a_plain_input_and_instructions() -> None:
    body = {"model": "m", "input": "Hi", "instructions": "Be kind.", "store": True}
    messages = Responses().messages(body)
    assert said(messages) == [
        ("instructions", "system", ["Be kind."]),
        ("input", "user", ["Hi"]),
    ]
    assert body["store"] is False
    messages[1].texts[0].put("Ho")
    assert body["input"] == "Ho"


def test_every_kind_of_item_shows_its_texts() -> None:
    items = [
        {"role": "user", "content": "a"},
        {
            "type": "message",
            "role": "developer",
            "content": [
                {"type": "input_text", "text": "b1"},
                {"type": "input_text", "text": "b2"},
            ],
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "c"}, {"type": "refusal", "refusal": "d"}],
        },
        {"type": "function_call", "call_id": "1", "name": "e", "arguments": '{"q":"f"}'},
        {"type": "function_call_output", "call_id": "1", "output": "g"},
        {
            "type": "function_call_output",
            "call_id": "1",
            "output": [{"type": "input_text", "text": "h"}],
        },
        {
            "type": "reasoning",
            "id": "r",
            "summary": [{"type": "summary_text", "text": "i"}],
            "content": [{"type": "reasoning_text", "text": "j"}],
            "encrypted_content": None,
        },
        {"type": "custom_tool_call", "call_id": "2", "name": "k", "input": "l"},
        {"type": "custom_tool_call_output", "call_id": "2", "output": "m"},
        {"type": "of_tomorrow", "deep": {"er": ["n"]}},
    ]
    messages = Responses().messages({"input": items})
    assert [(role, texts) for _, role, texts in said(messages)] == [
        ("user", ["a"]),
        ("developer", ["b1", "b2"]),
        ("assistant", ["c", "d"]),
        ("assistant", ["e", '{"q":"f"}']),
        ("tool", ["g"]),
        ("tool", ["h"]),
        ("assistant", ["i", "j"]),
        ("assistant", ["k", "l"]),
        ("tool", ["m"]),
        ("user", ["n"]),
    ]
    one_text = {text_part.channel for text_part in messages[1].texts}
    assert len(one_text) == 1, "the parts of a message are read as one text"


def test_tools_and_schemas_are_read_but_count_for_nothing() -> None:
    body = {
        "input": "x",
        "tools": [{"type": "function", "name": "t", "parameters": {"properties": {"hidden": {}}}}],
        "text": {"format": {"type": "json_schema", "name": "s", "schema": {"title": "u"}}},
        "chat_template_kwargs": {"note": "v"},
    }
    extra = [message for message in Responses().messages(body) if not message.counts]
    texts = [text_part.text for message in extra for text_part in message.texts]
    assert {"t", "s", "u", "v"} < set(texts)
    assert any("hidden" in text.split("\n") for text in texts), "names of properties too"


def test_escapes_in_arguments_hide_nothing() -> None:
    call = {
        "type": "function_call",
        "call_id": "1",
        "name": "f",
        "arguments": r'{"q": "h\u0061te"}',
    }
    (message,) = Responses().messages({"input": [call]})
    assert '{"q": "hate"}' in [text_part.text for text_part in message.texts]
    assert json.loads(call["arguments"]) == {"q": "hate"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("previous_response_id", "resp_1"),
        ("conversation", {"id": "c"}),
        ("background", True),
    ],
)
def test_state_that_no_replica_has_is_refused(field: str, value: object) -> None:
    error = error_of({"input": "x", field: value})
    assert (error.code, error.param) == (Code.VALIDATION_ERROR, field)
    assert error.message.startswith(field)


@pytest.mark.parametrize(
    ("value", "param"),
    [
        (None, "input"),
        (7, "input"),
        (["x"], "input.0"),
        ([{"role": "wizard", "content": "x"}], "input.0.role"),
        ([{"role": ["user"], "content": "x"}], "input.0.role"),
        ([{"role": "user"}], "input.0.content"),
        ([{"role": "user", "content": ["x"]}], "input.0.content.0"),
        (
            [{"role": "user", "content": [{"type": "input_image", "image_url": "ftp://a/b"}]}],
            "input.0.content.0.image_url",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "//a"}}]}],
            "input.0.content.0.image_url.url",
        ),
        (
            [{"role": "user", "content": [{"type": "input_file", "file_url": "file:///etc"}]}],
            "input.0.content.0.file_url",
        ),
        (
            [{"type": "computer_call_output", "output": {"image_url": "file://a"}}],
            "input.0.output.image_url",
        ),
    ],
)
def test_wrong_shapes_and_remote_media_name_their_place(value: object, param: str) -> None:
    error = error_of({"input": value})
    assert (error.code, error.param) == (Code.VALIDATION_ERROR, param)


# streams


@pytest.mark.parametrize(
    "name",
    ["responses_stream_plain", "responses_stream_logprobs", "responses_stream_tools_required"],
)
def test_an_untouched_stream_keeps_its_bytes(name: str) -> None:
    raws = events(name)
    # but for the end of an answer that was cut short, which vLLM calls completed
    wanted = b"".join(raws).replace(b"response.completed", b"response.incomplete")
    assert relay(ResponsesStream(), raws) == wanted
    assert b'"status":"incomplete"' in raws[-1]


def test_the_end_of_a_whole_answer_keeps_its_name() -> None:
    raw = events("responses_stream_plain")[-1]
    raw = raw.replace(b'"status":"incomplete"', b'"status":"completed"')
    assert relay(ResponsesStream(), [raw]) == raw


def test_a_stream_tells_texts_closes_repeats_and_usage() -> None:
    stream = ResponsesStream()
    read = [stream.read(raw) for raw in events("responses_stream_plain")]
    pieces = [text_part for event in read for text_part in event.texts]
    assert "".join(text_part.text for text_part in pieces) == TEXT
    (channel,) = {text_part.channel for text_part in pieces}
    text_done, part_done, item_done, completed = read[-4:]
    assert [list(event.closes or ()) for event in (text_done, part_done, item_done)] == [
        [channel]
    ] * 3
    assert completed.closes is ALL
    assert completed.last
    assert [[text_part.text for text_part in event.restated] for event in read[-4:]] == [[TEXT]] * 4
    assert completed.usage is not None
    assert completed.usage.completion_tokens == 16
    assert not any(event.last or event.error for event in read[:-1])
    assert not any(event.restated for event in read[:-4]), "the request said again is no answer"


def test_quick_and_read_agree_on_every_delta() -> None:
    quick, slow = ResponsesStream(), ResponsesStream()
    fast = 0
    for raw in events("responses_stream_tools_required"):
        glance, event = quick.fast_text(raw), slow.read(raw)
        if glance is None:
            quick.read(raw)
        else:
            fast += 1
            (text_part,) = event.texts
            assert glance == (text_part.channel, text_part.text)
    assert fast == 18, "all deltas but the first of each call"


def test_logprobs_come_with_the_text_they_could_betray() -> None:
    stream = ResponsesStream()
    read = [stream.read(raw) for raw in events("responses_stream_logprobs")]
    logprobs = [text_part.logprobs for event in read for text_part in event.texts]
    assert logprobs
    assert all(logprobs)
    part_done, item_done, completed = read[-3:]
    for event in (part_done, item_done, completed):
        (text_part,) = event.texts
        assert text_part.logprobs is not None
        alternatives = dict(text_part.logprobs.side_texts())
        assert "Colour" in alternatives
        alternatives["Colour"]()
        assert b'"Colour"' not in stream.write(event)
        assert event.closes is ALL or text_part.channel in (event.closes or ())


@pytest.mark.parametrize(
    ("family", "done", "place"),
    [
        ("response.refusal", {"refusal": "ab"}, {"content_index": 1}),
        ("response.reasoning_text", {"text": "ab"}, {"content_index": 0}),
        ("response.reasoning_summary_text", {"text": "ab"}, {"summary_index": 2}),
        ("response.function_call_arguments", {"arguments": "ab", "name": "f"}, {}),
        ("response.custom_tool_call_input", {"input": "ab"}, {}),
        ("response.mcp_call_arguments", {"arguments": "ab"}, {}),
        ("response.code_interpreter_call_code", {"code": "ab"}, {}),
        ("response.audio.transcript", {}, {}),
        ("response.shell_call_command", {"command": "ab"}, {"command_index": 0}),
        ("response.of_tomorrow", {"text": "ab"}, {"content_index": 0}),
    ],
)
def test_every_family_of_deltas_is_a_channel(
    family: str, done: dict[str, str], place: dict[str, int]
) -> None:
    stream = ResponsesStream()
    common = {"item_id": "i", "output_index": 0, **place}
    first, second = (
        json.dumps({"type": f"{family}.delta", "delta": text, "sequence_number": n, **common})
        for n, text in enumerate("ab")
    )
    (text_part,) = stream.read(f"data: {first}\n\n".encode()).texts
    assert stream.fast_text(f"data: {second}\n\n".encode()) == (text_part.channel, "b")
    end = {"type": f"{family}.done", "sequence_number": 2, **common, **done}
    event = stream.read(f"data: {json.dumps(end)}\n\n".encode())
    assert event.closes == [text_part.channel]
    assert {text_part.text for text_part in event.restated} == set(done.values())


def test_audio_is_no_text() -> None:
    raw = b'data: {"type":"response.audio.delta","delta":"aGF0ZQ==","sequence_number":1}\n\n'
    stream = ResponsesStream()
    assert stream.fast_text(raw) is None
    assert stream.read(raw).texts == []
    assert stream.fast_text(raw) is None


def test_parts_of_one_item_are_different_texts() -> None:
    stream = ResponsesStream()
    channels = {
        stream.read(delta("x", n, content_index=part, output_index=item, item_id=f"m{item}"))
        .texts[0]
        .channel
        for n, (item, part) in enumerate([(0, 0), (0, 1), (1, 0)])
    }
    assert len(channels) == 3


def test_text_that_begins_with_its_item_or_part_is_not_missed() -> None:
    stream = ResponsesStream()
    added = {
        "type": "response.content_part.added",
        "item_id": "msg_1",
        "output_index": 0,
        "content_index": 0,
        "part": {"type": "output_text", "text": "ha", "annotations": []},
        "sequence_number": 1,
    }
    (text_part,) = stream.read(b"data: " + json.dumps(added).encode() + b"\n\n").texts
    assert text_part.text == "ha"
    assert stream.fast_text(delta("te", 2)) == (text_part.channel, "te")
    item = {"type": "function_call", "id": "fc", "name": "hidden", "arguments": "{"}
    call = {"type": "response.output_item.added", "output_index": 1, "item": item}
    event = stream.read(b"data: " + json.dumps(call).encode() + b"\n\n")
    assert [text_part.text for text_part in event.texts] == ["{"]
    assert [text_part.text for text_part in event.restated] == ["hidden"]


def test_nothing_is_added_to_an_item_that_never_left() -> None:
    stream = ResponsesStream()
    item = {"type": "function_call", "id": "fc", "name": "hate", "arguments": "{"}
    call = {"type": "response.output_item.added", "output_index": 0, "item": item}
    event = stream.read(b"data: " + json.dumps(call).encode() + b"\n\n")
    assert stream.insert(event.texts[0].channel, "{") == b""
    assert [doc["type"] for doc in docs(stream.refusal())] == ["response.incomplete"]


def test_numbers_have_no_gap_after_an_event_of_our_own() -> None:
    stream, raws = ResponsesStream(), events("responses_stream_plain")
    sent = relay(stream, raws[:-5])
    held = stream.read(raws[-5])  # its text is held back ...
    (text_part,) = held.texts
    text = text_part.text
    text_part.put("")
    sent += stream.write(held)
    closing = stream.read(raws[-4])
    sent += stream.insert(text_part.channel, text)  # ... and said before the text closes
    sent += closing.raw
    for raw in raws[-3:]:
        assert stream.fast_text(raw) is None
        sent += stream.read(raw).raw
    numbers = [doc["sequence_number"] for doc in docs(sent)]
    assert numbers == list(range(len(raws) + 1))
    got = list(received(sent))
    assert "".join(e.delta for e in got if e.type == "response.output_text.delta") == TEXT
    assert got[-1].response.output_text == TEXT


def refused(cut: int, keep: str) -> bytes:
    """The plain sample, cut by the policy in its ``cut``-th event, of which ``keep`` was clean."""
    stream, raws = ResponsesStream(), events("responses_stream_plain")
    sent = relay(stream, raws[:cut])
    stream.fast_text(raws[cut])
    event = stream.read(raws[cut])
    event.texts[0].put(keep)
    return sent + stream.write(event) + stream.refusal()


def test_a_refusal_closes_everything_with_what_was_clean() -> None:
    sent = refused(9, " th")
    clean = "Be brief.\n\nName th"
    assert [doc["sequence_number"] for doc in docs(sent)] == list(range(14))
    got = list(received(sent))
    assert [event.type for event in got[-4:]] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    text_done, part_done, item_done, incomplete = got[-4:]
    assert text_done.text == part_done.part.text == item_done.item.content[0].text == clean
    assert item_done.item.status == "incomplete"
    response = incomplete.response
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "content_filter"
    assert response.output_text == clean
    assert response.id == got[0].response.id
    assert docs(sent)[-1]["code"] == "RESPONSE_FILTERED"
    assert "".join(e.delta for e in got if e.type == "response.output_text.delta") == clean


def test_the_clients_own_stream_helper_understands_a_refusal() -> None:
    with sdk(refused(9, "")).responses.stream(model="m", input="x") as stream:
        kinds = [event.type for event in stream]
    assert kinds[-1] == "response.incomplete"


def test_an_event_that_was_read_but_never_sent_leaves_no_trace() -> None:
    stream, raws = ResponsesStream(), events("responses_stream_plain")
    relay(stream, raws[:6])
    stream.fast_text(raws[6])  # looked at, then read because it wasn't clean, then not sent
    stream.read(raws[6])
    end = docs(stream.refusal())
    assert end[0]["text"] == "Be brief"
    assert end[0]["sequence_number"] == 6


def test_a_refusal_before_anything_was_added_only_ends() -> None:
    stream, raws = ResponsesStream(), events("responses_stream_plain")
    relay(stream, raws[:2])
    stream.read(raws[2])
    assert [doc["type"] for doc in docs(stream.refusal())] == ["response.incomplete"]


def test_a_refusal_after_the_text_was_closed_does_not_close_it_twice() -> None:
    stream, raws = ResponsesStream(), events("responses_stream_plain")
    relay(stream, raws[:-3])  # output_text.done was the last
    stream.read(raws[-3])
    end = docs(stream.refusal())
    assert [doc["type"] for doc in end] == [
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert end[-1]["response"]["output"][0]["content"][0]["text"] == TEXT


def test_a_call_cut_short_is_no_call() -> None:
    stream, raws = ResponsesStream(), events("responses_stream_tools_required")
    sent = relay(stream, raws[:24])  # one whole call, the second one begun
    sent += stream.refusal()
    got = list(received(sent))
    assert got[-2].item.status == "incomplete"
    assert [item.arguments for item in got[-1].response.output] == [
        '{\n      "city": "Paris"\n    }'
    ]
    numbers = [doc["sequence_number"] for doc in docs(sent)]
    assert numbers == list(range(len(numbers)))


def test_a_failure_raises_in_the_client() -> None:
    stream, raws = ResponsesStream(), events("responses_stream_plain")
    sent = relay(stream, raws[:8]) + stream.failure(GatewayError(Code.GENERATION_ERROR))
    last = docs(sent)[-1]
    assert last["type"] == "error"
    assert last["error"]["gateway_code"] == "GENERATION_ERROR"
    assert last["sequence_number"] == 8
    answer = received(sent)
    seen = []
    with pytest.raises(openai.APIError, match="could not complete"):
        seen.extend(event.type for event in answer)
    with pytest.raises(openai.APIError):
        list(received(last_event(sent)))


def last_event(sent: bytes) -> bytes:
    return sent[:-2].rpartition(b"\n\n")[2] + b"\n\n"


@pytest.mark.parametrize(
    "raw",
    [
        b'event: error\ndata: {"type":"error","message":"secret path"}\n\n',
        b'data: {"type":"response.failed","response":{"status":"failed"}}\n\n',
        b"data: {broken\n\n",
    ],
)
def test_an_engine_that_fails_inside_the_stream_is_seen(raw: bytes) -> None:
    assert ResponsesStream().read(raw).error


@pytest.mark.parametrize("raw", [b": ping\n\n", b"data: [DONE]\n\n", b"event: x\n\n"])
def test_events_without_a_document_pass(raw: bytes) -> None:
    stream = ResponsesStream()
    assert stream.fast_text(raw) is None
    event = stream.read(raw)
    assert (event.texts, event.error, stream.write(event)) == ([], False, raw)


# whole answers


def whole() -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "status": "completed",
        "incomplete_details": None,
        "output": [
            {
                "type": "reasoning",
                "id": "rs",
                "content": [{"type": "reasoning_text", "text": "r2"}],
                "summary": [{"type": "summary_text", "text": "r1"}],
            },
            {
                "type": "message",
                "id": "msg",
                "role": "assistant",
                "status": "completed",
                "content": [
                    {"type": "output_text", "text": "one", "annotations": [], "logprobs": None},
                    {"type": "refusal", "refusal": "two"},
                ],
            },
            {
                "type": "function_call",
                "id": "fc",
                "arguments": "three",
                "call_id": "c",
                "name": "f",
            },
        ],
        "tools": [],
        "usage": {
            "input_tokens": 9,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 14,
        },
    }


def test_a_whole_answer_shows_every_text_in_reading_order() -> None:
    texts = Responses().answer(whole())
    assert [text_part.text for text_part in texts] == ["r1", "r2", "one", "two", "f", "three"]
    assert len({text_part.channel for text_part in texts}) == 6
    usage = Responses().usage(whole())
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (9, 5, 4)


@pytest.mark.parametrize(
    ("place", "left"),
    [
        (0, [""]),
        (1, ["r1", ""]),
        (2, ["r1", "r2", ""]),
        (3, ["r1", "r2", "one", ""]),
        (4, ["r1", "r2", "one", "two"]),
        (5, ["r1", "r2", "one", "two"]),
    ],
)
def test_a_refused_answer_ends_where_it_was_cut(place: int, left: list[str]) -> None:
    doc, dialect = whole(), Responses()
    text_part = dialect.answer(doc)[place]
    text_part.put("")
    dialect.refuse(doc, text_part)
    assert [text_part.text for text_part in dialect.answer(doc)] == left
    client = sdk(json.dumps(doc).encode())
    response = client.responses.with_raw_response.create(model="m", input="x").http_response.json()
    assert response["code"] == "RESPONSE_FILTERED"
    parsed = openai.types.responses.Response.model_validate(
        {**doc, "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    )
    assert parsed.status == "incomplete"
    assert parsed.incomplete_details is not None
    assert parsed.incomplete_details.reason == "content_filter"


def test_logprobs_of_a_whole_answer_are_cut_with_its_text() -> None:
    doc = json.loads((SAMPLES / "responses_whole_logprobs.txt").read_bytes())
    dialect = Responses()
    (text_part,) = dialect.answer(doc)
    text_part.put("Name\nName")
    dialect.refuse(doc, text_part)
    logprobs = doc["output"][0]["content"][0]["logprobs"]
    assert [entry["token"] for entry in logprobs] == ["Name", "\n", "Name"]


def test_errors_are_openais() -> None:
    body = json.loads(Responses().error(GatewayError(Code.CONTENT_FILTERED, param="input"), "r"))
    assert body["error"]["gateway_code"] == "CONTENT_FILTERED"
    assert body["error"]["param"] == "input"


def test_the_default_event_is_untouched_by_write() -> None:
    event = Event(b": note\n\n")
    assert ResponsesStream().write(event) == b": note\n\n"
