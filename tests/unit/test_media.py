"""What a message holds beside texts: found in every dialect, told apart, and never loaded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gemma_gateway.core.dialect import Dialect
from gemma_gateway.core.errors import GatewayError
from gemma_gateway.settings import Tier
from gemma_gateway.wire.anthropic.messages import Messages
from gemma_gateway.wire.openai.chat import Chat
from gemma_gateway.wire.openai.responses import Responses
from gemma_gateway.wire.place import place
from tests.road import Road, read

Json = dict[str, Any]
MARK = "REMOTE"  # where a test puts a URL
SOURCE = json.dumps({"type": "base64", "media_type": "image/png", "data": MARK})
REMOTE = json.dumps({"type": "url", "url": MARK})
RED, BLUE = "data:image/png;base64,cmVk", "data:image/png;base64,Ymx1ZQ=="


def chat(*parts: Json) -> Json:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "Which?"}, *parts]}]}


def responses(*parts: Json) -> Json:
    text = {"type": "input_text", "text": "Which?"}
    return {"input": [{"role": "user", "content": [text, *parts]}]}


def messages(*parts: Json) -> Json:
    return {**chat(*parts), "max_tokens": 10}


def source(data: str) -> Json:
    return {"type": "base64", "media_type": "image/png", "data": data}


def result(data: str) -> Json:
    content = [{"type": "image", "source": source(data)}]
    return {"type": "tool_result", "tool_use_id": "t1", "content": content}


# Dialect, body around a part, part with given data, and where the data stands.
RULE_TYPES: dict[str, tuple[Dialect, Any, Any, str]] = {
    "image_url": (
        Chat(), chat, lambda d: {"type": "image_url", "image_url": {"url": d}},
        "messages.0.content.1.image_url.url",
    ),
    "image_url, plain": (
        Chat(), chat, lambda d: {"type": "image_url", "image_url": d},
        "messages.0.content.1.image_url",
    ),
    "input_audio": (
        Chat(), chat,
        lambda d: {"type": "input_audio", "input_audio": {"data": d, "format": "wav"}},
        "messages.0.content.1.input_audio.data",
    ),
    "file": (
        Chat(), chat, lambda d: {"type": "file", "file": {"file_data": d}},
        "messages.0.content.1.file.file_data",
    ),
    "input_image": (
        Responses(), responses, lambda d: {"type": "input_image", "image_url": d},
        "input.0.content.1.image_url",
    ),
    "input_file": (
        Responses(), responses, lambda d: {"type": "input_file", "file_data": d},
        "input.0.content.1.file_data",
    ),
    "image": (
        Messages(), messages, lambda d: {"type": "image", "source": source(d)},
        "messages.0.content.1.source.data",
    ),
    "image of a tool result": (
        Messages(), messages, result, "messages.0.content.1.content.0.source.data",
    ),
}  # fmt: skip
EACH = pytest.mark.parametrize("kind", RULE_TYPES)


def hashes(dialect: Dialect, body: Json) -> tuple[str, str]:
    request = read(json.dumps(body).encode(), dialect, Tier(), 64, frozenset())
    return request.content_hash, request.affinity


@EACH
def test_media_are_parts_of_their_message(kind: str) -> None:
    dialect, around, part, where = RULE_TYPES[kind]
    (message,) = [m for m in dialect.messages(around(part(RED))) if m.counts]
    (found,) = message.media
    assert (found.data, place(found.where)) == (RED, where)
    assert [text_part.text for text_part in message.texts] == ["Which?"]


@EACH
def test_calls_with_other_media_are_other_calls(kind: str) -> None:
    dialect, around, part, _ = RULE_TYPES[kind]
    red, blue, none, both = (
        hashes(dialect, around(*parts))
        for parts in ([part(RED)], [part(BLUE)], [], [part(RED), part(BLUE)])
    )
    assert len({red, blue, none, both}) == 4
    assert hashes(dialect, around(part(RED))) == red


def test_the_order_of_media_counts_and_so_does_where_one_ends() -> None:
    part = RULE_TYPES["image_url"][2]
    found = {
        hashes(Chat(), chat(*map(part, data)))
        for data in ([RED, BLUE], [BLUE, RED], [RED + BLUE], [RED], [RED, RED])
    }
    assert len(found) == 5


@pytest.mark.parametrize(
    ("dialect", "body", "where"),
    [
        (Chat(), chat({"type": "image_url", "image_url": {"url": "ftp://x/y"}}), "image_url"),
        (Chat(), chat({"type": "audio_url", "audio_url": {"url": "file:///etc"}}), "audio_url"),
        (Chat(), chat({"type": "text", "text": "a", "video_url": "//x"}), "video_url"),
        (Chat(), chat({"type": "file", "file": {"file_id": "https://x"}}), "file"),
        (Responses(), responses({"type": "input_image", "image_url": "//x"}), "image_url"),
        (Responses(), responses({"type": "input_file", "file_url": "http://x"}), "file_url"),
        (
            Messages(),
            messages({"type": "image", "source": {"type": "url", "url": "gopher://x"}}),
            "source.url",
        ),
    ],
)
def test_nothing_is_loaded(dialect: Dialect, body: Json, where: str) -> None:
    with pytest.raises(GatewayError) as refused:
        dialect.messages(body)
    assert str(refused.value.param).endswith(where)
    assert refused.value.message.startswith("Remote media is off: ")


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest", "HTTPS://example.com/a.png"])
@pytest.mark.parametrize("kind", ["image_url", "input_image", "image", "image of a tool result"])
async def test_no_image_is_fetched_where_the_operator_lists_no_hosts(kind: str, url: str) -> None:
    dialect, around, part, where = RULE_TYPES[kind]
    body = json.loads(json.dumps(around(part(MARK))).replace(SOURCE, REMOTE).replace(MARK, url))
    road = Road()
    reply = await road.post(dialect.path, body)
    error = reply.json()["error"]
    assert reply.status == 400
    assert error["message"].startswith("Remote media is off: send a data: URL")
    assert error["param"] == where.replace("source.data", "source.url")
    assert not road.engine.requests


# ---- images that nobody would see


@pytest.mark.parametrize(
    ("dialect", "body", "where"),
    [
        (
            Chat(),
            {"messages": [{"role": "system", "content": [RULE_TYPES["image_url"][2](RED)]}]},
            "messages.0.content.0.image_url.url",
        ),
        (
            Responses(),
            {"input": [{"role": "developer", "content": [RULE_TYPES["input_image"][2](RED)]}]},
            "input.0.content.0.image_url",
        ),
        (
            Responses(),
            {"input": [{"role": "assistant", "content": [RULE_TYPES["input_image"][2](RED)]}]},
            "input.0.content.0.image_url",
        ),
        (
            Messages(),
            {**messages(), "system": [{"type": "image", "source": source(RED)}]},
            "system.0.source.data",
        ),
        (
            Messages(),
            {"messages": [{"role": "system", "content": result(RED)["content"]}]},
            "messages.0.content.0.source.data",
        ),
        (
            Messages(),
            {"messages": [{"role": "assistant", "content": [result(RED)]}]},
            "messages.0.content.0.content.0.source.data",
        ),
        (
            Messages(),
            messages({"type": "document", "content": [{"type": "image", "source": source(RED)}]}),
            "messages.0.content.1.content.0.source.data",
        ),
        (
            Messages(),
            messages({"type": "tool_result", "content": [
                {"type": "image_url", "image_url": {"url": RED}}]}),
            "messages.0.content.1.content.0.image_url.url",
        ),
        *(
            (Messages(), messages({"type": "image", "source": s}), "messages.0.content.1.source")
            for s in (
                None, "x", {}, {"data": RED}, {"type": "url", "data": RED}, {"type": "file"},
                {"type": "base64", "url": RED}, {"type": "url", "url": 7}, {"type": [], "url": RED},
            )
        ),
    ],
)  # fmt: skip
def test_an_image_that_an_engine_would_leave_out_is_refused(
    dialect: Dialect, body: Json, where: str
) -> None:
    with pytest.raises(GatewayError) as refused:
        dialect.messages(body)
    assert refused.value.param == where


# ---- what stands beside an image


@pytest.mark.parametrize("detail", ["auto", "low", "high", "original", None])
def test_details_of_openais_pass(detail: str | None) -> None:
    part = {"type": "image_url", "image_url": {"url": RED, "detail": detail}}
    body = chat(part)
    Chat().messages(body)
    told = {"detail": detail or "auto"}
    assert body["messages"][0]["content"][1]["image_url"] == {"url": RED, **told}
    body = responses({"type": "input_image", "image_url": RED, "detail": detail})
    Responses().messages(body)
    assert body["input"][0]["content"][1] == {"type": "input_image", "image_url": RED, **told}


@pytest.mark.parametrize("detail", ["full", "", 7, ["auto"], {}])
def test_other_details_are_refused(detail: object) -> None:
    for dialect, body, where in (
        (Chat(), chat({"type": "image_url", "image_url": {"url": RED, "detail": detail}}),
         "messages.0.content.1.image_url.detail"),
        (Responses(), responses({"type": "input_image", "image_url": RED, "detail": detail}),
         "input.0.content.1.detail"),
    ):  # fmt: skip
        with pytest.raises(GatewayError) as refused:
            dialect.messages(body)
        assert refused.value.param == where


def test_a_result_of_a_custom_tool_gets_the_detail_that_vllm_wants() -> None:
    part: Json = {"type": "input_image", "image_url": RED}
    item = {"type": "custom_tool_call_output", "call_id": "c", "output": [part]}
    Responses().messages({"input": [item]})
    assert part["detail"] == "auto"


def test_an_image_in_the_short_form_is_spelt_out() -> None:
    body = chat({"type": "image_url", "image_url": RED})
    ((found,),) = (m.media for m in Chat().messages(body) if m.counts)
    assert body["messages"][0]["content"][1]["image_url"] == {"url": RED}
    assert found.container is body["messages"][0]["content"][1]["image_url"]
