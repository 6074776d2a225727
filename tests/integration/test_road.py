"""The whole gateway in front of a loopback engine: what each dialect's client sees."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from anthropic import AsyncAnthropic, NotFoundError

from tests.calls import (
    DIALECTS,
    MODEL,
    PATHS,
    REFUSED,
    Json,
    ask,
    ending,
    events,
    post,
    state,
    streamed,
    whole,
)
from tests.exchange import Exchange
from tests.process import AUTH, KEY, Engine, Gateway
from tests.waiting import until


@DIALECTS
async def test_whole_answer(gateway: Gateway, dialect: str) -> None:
    status, raw, headers = await post(gateway, dialect, ask(dialect, "echo: Good morning to you."))
    assert status == 200
    assert whole(dialect, json.loads(raw)) == "Good morning to you."
    assert headers["x-request-id"]
    assert int(headers["x-ratelimit-remaining-requests"]) < int(
        headers["x-ratelimit-limit-requests"]
    )


@DIALECTS
async def test_clean_stream_is_the_engine_s_own_bytes(
    gateway: Gateway, engine: Engine, dialect: str
) -> None:
    more = {"stream": True}
    if dialect in ("chat", "completions"):
        more["stream_options"] = {"include_usage": True}
    body = ask(dialect, "echo: A quiet morning on the shore.", **more)
    _, ours, headers = await post(gateway, dialect, body)
    assert headers["content-type"].startswith("text/event-stream")
    data = json.dumps({**body, "max_tokens": 100}).encode()
    async with (
        aiohttp.ClientSession() as session,
        session.post(engine.url + PATHS[dialect], data=data) as reply,
    ):
        theirs = await reply.read()
    assert streamed(dialect, events(ours)) == "A quiet morning on the shore."
    number = json.dumps((await state(engine))["calls"]).encode()
    before = json.dumps(int(number) - 1).encode()
    assert ours.replace(b"loopback-" + before, b"loopback-" + number) == theirs


@DIALECTS
@pytest.mark.parametrize("write", ["event", "all", 1, 7])
async def test_blocked_stream(gateway: Gateway, dialect: str, write: Any) -> None:
    """No part of the term leaves, however it is cut, and the stream ends in its own way."""
    script = {"pieces": ["We speak ", "of ", "Vi", "ol", "ence", " today", "."], "write": write}
    body = ask(dialect, "x", stream=True, loopback=script)
    status, raw, _ = await post(gateway, dialect, body)
    docs = events(raw)
    assert status == 200
    assert streamed(dialect, docs) == "We speak of "
    assert ending(dialect, docs) == REFUSED[dialect]
    assert b"RESPONSE_FILTERED" in raw
    assert b"iol" not in raw
    assert b"ence" not in raw.replace(b"sequence", b"")


@DIALECTS
async def test_blocked_whole_answer(gateway: Gateway, dialect: str) -> None:
    body = ask(dialect, "x", loopback={"pieces": ["All ", "that ha", "te does."]})
    status, raw, _ = await post(gateway, dialect, body)
    doc = json.loads(raw)
    assert status == 200
    assert whole(dialect, doc) == "All that "
    assert doc["code"] == "RESPONSE_FILTERED"


@DIALECTS
async def test_words_that_only_begin_like_a_term_pass(gateway: Gateway, dialect: str) -> None:
    script = {"pieces": ["whatever", " hat", " illegals", " hate", "d"]}
    _, raw, _ = await post(gateway, dialect, ask(dialect, "x", stream=True, loopback=script))
    assert streamed(dialect, events(raw)) == "whatever hat illegals hated"


@DIALECTS
async def test_blocked_input(gateway: Gateway, dialect: str) -> None:
    status, raw, headers = await post(gateway, dialect, ask(dialect, "teach me h\u200bATE now"))
    error = json.loads(raw)["error"]
    assert status == 400
    assert error["gateway_code"] == "CONTENT_FILTERED"
    assert error["param"]
    assert "hate" not in raw.decode().lower()
    assert headers["x-request-id"]


@DIALECTS
@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_aborts_the_generation(
    gateway: Gateway, engine: Engine, dialect: str, stream: bool
) -> None:
    before = await state(engine)
    script = {"delay": 0.2, "pieces": ["word "] * 100} if stream else {"wait": 300}
    body = json.dumps(ask(dialect, "x", stream=stream, loopback=script)).encode()
    client = await Exchange.begin(gateway, "leaves", dialect, body)

    async def works() -> bool:
        return (await state(engine))["calls"] == before["calls"] + 1

    async def left() -> bool:
        after = await state(engine)
        return (after["running"], after["aborted"]) == (0, before["aborted"] + 1)

    await until(works, "the engine has the call")
    if stream:
        await client.hear(b"word ")
    client.writer.close()
    await until(left, "the engine is told")


@DIALECTS
@pytest.mark.parametrize("fault", [{"die": 4}, {"stall": 4}, {"error": 4}, {"end": False}])
async def test_a_broken_stream_never_ends_cleanly(
    gateway: Gateway, dialect: str, fault: Json
) -> None:
    script = {"pieces": ["one ", "two ", "three ", "four ", "five "], **fault}
    _, raw, _ = await post(gateway, dialect, ask(dialect, "x", stream=True, loopback=script))
    docs = events(raw)
    last = docs[-1]
    assert "[DONE]" not in docs
    error = last if dialect == "responses" else last["error"]
    if dialect == "responses":
        assert last["type"] == "error"
    assert error["message"]
    assert "response.completed" not in raw.decode()
    assert "message_stop" not in raw.decode()


@DIALECTS
@pytest.mark.parametrize("status", [500, 400, 404, 429])
async def test_engine_refusals_are_told_in_the_dialect(
    gateway: Gateway, dialect: str, status: int
) -> None:
    body = ask(dialect, "x", loopback={"status": status})
    got, raw, headers = await post(gateway, dialect, body)
    doc = json.loads(raw)
    assert got == {500: 503, 400: 400, 404: 501, 429: 503}[status]
    assert doc["error"]["gateway_code"]
    assert ("type" in doc) == (dialect == "messages")
    assert headers["x-request-id"]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "INVALID_API_KEY"),
        ({"Authorization": "Bearer wrong"}, "INVALID_API_KEY"),
        ({"Authorization": f"Basic {KEY}"}, "INVALID_API_KEY"),
        ({"x-api-key": "x" * 5000}, "INVALID_API_KEY"),
    ],
)
@DIALECTS
async def test_keys_are_required(
    gateway: Gateway, dialect: str, headers: dict[str, str], code: str
) -> None:
    status, raw, answered = await post(gateway, dialect, ask(dialect, "x"), headers)
    assert status == 401
    assert json.loads(raw)["error"]["gateway_code"] == code
    assert answered["x-request-id"]


async def test_the_client_s_request_id_is_kept_if_sane(gateway: Gateway) -> None:
    for sent, kept in (("trace-1.2:3_4", True), ("x" * 200, False), ("a b", False)):
        headers = {**AUTH, "x-request-id": sent}
        _, _, answered = await post(gateway, "chat", ask("chat", "echo: hi"), headers)
        assert (answered["x-request-id"] == sent) is kept


@pytest.mark.parametrize("script", [{"logprobs": True}, {"n": 3}])
async def test_side_doors_of_chat(gateway: Gateway, script: Json) -> None:
    """Neither logprobs nor another choice tells what the text no longer says."""
    choices = [["clean ", "words"], ["of ", "ha", "te", " now"], ["more ", "words"]]
    n = script.get("n", 1)
    loop = {"choices": choices[:n] if n > 1 else [choices[1]]}
    extra = {"top_logprobs": 2} if "logprobs" in script else {}
    body = ask("chat", "x", stream=True, loopback=loop, **script, **extra)
    _, raw, _ = await post(gateway, "chat", body)
    docs = events(raw)
    tokens = [
        entry["token"]
        for doc in docs if doc != "[DONE]"
        for choice in doc["choices"]
        for entry in ((choice.get("logprobs") or {}).get("content") or ())
    ]  # fmt: skip
    assert "ha" not in "".join(tokens)
    assert "te" not in "".join(tokens)
    assert ending("chat", docs) == ("content_filter", True)


async def test_tool_call_arguments_and_reasoning_are_judged(gateway: Gateway) -> None:
    for script in (
        {"pieces": [], "tools": [["search", ['{"q": "so much h', "\\u0061", 'te"}']]]},
        {"pieces": ["fine"], "reasoning": ["they ", "ha", "te"]},
    ):
        body = ask("chat", "x", stream=True, loopback=script)
        _, raw, _ = await post(gateway, "chat", body)
        assert ending("chat", events(raw)) == ("content_filter", True)
        assert b"\\\\u0061" not in raw
        assert b'"ha' not in raw


async def test_usage_counts_requests_and_tokens(gateway: Gateway) -> None:
    async with aiohttp.ClientSession(headers=AUTH) as session:
        async with session.get(gateway.url + "/v1/usage") as reply:
            before = await reply.json()
        await post(gateway, "chat", ask("chat", "x", loopback={"usage": [11, 7]}))
        async with session.get(gateway.url + "/v1/usage") as reply:
            after = await reply.json()
    assert after["requests_last_hour"] == before["requests_last_hour"] + 1
    assert after["remaining_requests"] == before["remaining_requests"] - 1
    assert after["reset_time"]


async def test_a_whole_answer_has_a_bound(tmp_path: Path) -> None:
    """64 MiB: the engine is left long before it has sent all that it would."""
    sent, chunk, most = 0, b"x" * 2**20, 200

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):
            body = json.dumps({"object": "list", "data": [{"id": MODEL}]}).encode()
            length = len(body)
        else:
            body, length = b'{"x": "', most * len(chunk)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
        writer.write(b"content-length: %d\r\n\r\n" % length + body)
        with contextlib.suppress(ConnectionError):
            while head.startswith(b"POST") and sent < most:
                writer.write(chunk)
                await writer.drain()
                sent += 1
        writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    process = Gateway(tmp_path, upstreams=url)
    async with server:
        await asyncio.to_thread(process.__enter__)
        try:
            status, raw, _ = await post(process, "chat", ask("chat", "x"))
        finally:
            await asyncio.to_thread(process.stop)
    assert (status, json.loads(raw)["error"]["gateway_code"]) == (503, "GENERATION_ERROR")
    assert 60 <= sent < 100


async def test_a_client_that_reads_nothing_keeps_no_call(tmp_path: Path, engine: Engine) -> None:
    """The end of its time is told for some seconds, and then the call is over."""
    url = engine.url + "/v1"
    with Gateway(tmp_path, upstreams=url, request_timeout=1) as gateway:
        pieces = ["sea " * 5_000] * 90  # with logprobs far more than sockets hold
        body = ask("chat", "x", stream=True, logprobs=True, loopback={"pieces": pieces})
        raw = json.dumps(body).encode()
        head = f"POST {PATHS['chat']} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n"
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", gateway.port))
            deaf.sendall(head.encode() + raw)
            await until(lambda: '"outcome":"ENGINE_TIMEOUT"' in gateway.text(), "the call is over")


async def test_what_no_engine_took_is_not_charged(tmp_path: Path) -> None:
    with Gateway(tmp_path, upstreams="http://127.0.0.1:1/v1", ready="/health/live") as gateway:
        for stream in (True, False):
            status, raw, _ = await post(gateway, "chat", ask("chat", "x" * 4000, stream=stream))
            assert (status, json.loads(raw)["error"]["gateway_code"]) == (503, "ENGINE_UNAVAILABLE")
        async with (
            aiohttp.ClientSession(headers=AUTH) as session,
            session.get(gateway.url + "/v1/usage") as reply,
        ):
            assert (await reply.json())["all_time"]["total_tokens"] == 0


async def test_models_health_metrics_and_schema(gateway: Gateway) -> None:
    async with aiohttp.ClientSession(headers=AUTH) as session:
        async with session.get(gateway.url + "/v1/models") as reply:
            assert [m["id"] for m in (await reply.json())["data"]] == [MODEL]
        async with session.get(gateway.url + "/v1/models/nope") as reply:
            assert reply.status == 404
            assert (await reply.json())["error"]["gateway_code"] == "MODEL_NOT_FOUND"
        async with session.get(gateway.url + "/health") as reply:
            assert reply.status == 200
            assert (await reply.json())["status"] == "healthy"
        async with session.get(gateway.url + "/metrics") as reply:
            text = await reply.text()
            assert 'gateway_requests_total{model="gemma-3-270m",outcome="ok"' in text
        async with session.get(gateway.url + "/openapi.json") as reply:
            document = await reply.json()
            assert set(PATHS.values()) <= set(document["paths"])
        async with session.get(gateway.url + "/nope") as reply:
            assert reply.status == 404
            assert (await reply.json())["error"]["gateway_code"] == "NOT_FOUND"
            assert reply.headers["x-request-id"]
        async with session.get(gateway.url + "/v1/messages") as reply:
            assert reply.status == 405
            assert (await reply.json())["type"] == "error"


async def test_anthropic_s_sdk_reads_models_and_ids(gateway: Gateway) -> None:
    """Strictly: every field that it requires is there."""
    client = AsyncAnthropic(
        base_url=gateway.url, api_key=KEY, max_retries=0, _strict_response_validation=True
    )
    async with client:
        listed = await client.models.list()
        assert [m.id for m in listed.data] == [MODEL]
        assert (await client.models.retrieve(MODEL)).created_at.year == 2024
        with pytest.raises(NotFoundError) as missing:
            await client.models.retrieve("nope")
        assert missing.value.request_id
        said = await client.messages.create(
            model=MODEL, max_tokens=20, messages=[{"role": "user", "content": "echo: hi"}]
        )
        assert said._request_id


async def test_logs_hold_no_content_and_no_key(gateway: Gateway) -> None:
    _, _, headers = await post(gateway, "chat", ask("chat", "echo: zanzibar xylophone"))
    call = headers["x-request-id"]
    await until(lambda: call in gateway.text(), "the call is logged")
    text = gateway.text()
    assert "zanzibar" not in text
    assert KEY not in text
    line = json.loads(next(line for line in text.splitlines() if call in line))
    assert line["route"] == "/v1/chat/completions"
    assert len(line["key"]) == 8
    assert len(line["content_sha256"]) == 16
    assert line["output_tokens"] > 0
