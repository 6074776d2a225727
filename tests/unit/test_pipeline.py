"""The way of a call in process: what each end of it looks like to the client, the engine and the
accounts. No socket, no store, no model: see ``tests.road``."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gemma_gateway.core.engine import EngineFailed, EngineRequest
from gemma_gateway.core.errors import Code
from gemma_gateway.engines.scripted import ScriptedReply
from gemma_gateway.monitoring.capture import record_of
from gemma_gateway.monitoring.memory import Memory
from gemma_gateway.pipeline import delivery
from tests.calls import DIALECTS, MODEL, ask, ending, events, streamed, whole
from tests.process import KEY
from tests.road import Reply, Road, Script, Told, say

STREAMED = pytest.mark.parametrize("stream", [False, True])
ANOTHER = "another-key-of-this-gateway"


def code_of(dialect: str, reply: Reply) -> str:
    error = reply.json()["error"]
    return str(error["gateway_code"])


def failing(*reasons: str) -> Script:
    """An engine that fails calls, one after the other, before it answers."""
    left = list(reasons)

    def answer(request: EngineRequest) -> ScriptedReply:
        raise EngineFailed(left.pop(0), "of no interest to the client")

    return answer


# ---- the engine's answer


@DIALECTS
@pytest.mark.parametrize(
    ("status", "expected", "code"),
    [
        (400, 400, "VALIDATION_ERROR"),
        (404, 501, "UPSTREAM_ROUTE_MISSING"),
        (413, 400, "VALIDATION_ERROR"),
        (422, 400, "VALIDATION_ERROR"),
        (401, 502, "UPSTREAM_KEY_REFUSED"),
        (403, 502, "UPSTREAM_KEY_REFUSED"),
        (429, 503, "ENGINE_OVERLOADED"),
        (500, 503, "GENERATION_ERROR"),
    ],
)
async def test_an_engines_refusal(
    told: Told, dialect: str, status: int, expected: int, code: str
) -> None:
    error = {"message": "max_tokens is too large", "param": "max_tokens", "code": status}

    def refuse(request: EngineRequest) -> ScriptedReply:
        return ScriptedReply([json.dumps({"error": error}).encode()], status, retry_after="7")

    reply = await Road(refuse).post(dialect, ask(dialect, "Hello"))
    assert (reply.status, code_of(dialect, reply)) == (expected, code)
    assert ("max_tokens is too large" in reply.body.decode()) is (status in (400, 413, 422))
    if status in (429, 500):
        assert reply.headers["retry-after"] == "7"
    ((call, end),) = told.calls
    assert (end.status, end.outcome) == (expected, code)
    assert not end.usage.completion_tokens
    assert call.answer.upstream == "scripted"


@DIALECTS
@STREAMED
@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        ("unavailable", 503, "ENGINE_UNAVAILABLE"),
        ("overloaded", 503, "ENGINE_OVERLOADED"),
        ("timeout", 504, "ENGINE_TIMEOUT"),
        ("died", 503, "GENERATION_ERROR"),
    ],
)
async def test_an_engine_that_fails_before_its_answer(
    told: Told, dialect: str, stream: bool, reason: str, status: int, code: str
) -> None:
    road = Road(failing(reason))
    reply = await road.post(dialect, ask(dialect, "Hello", stream=stream))
    assert (reply.status, code_of(dialect, reply)) == (status, code)
    assert "of no interest" not in reply.body.decode()
    assert told.ends == [(status, code)]
    limit, left = (
        int(reply.headers[f"x-ratelimit-{name}-requests"]) for name in ("limit", "remaining")
    )
    # The service's own failures cost no request; an engine that worked until its time was up does.
    assert left == limit - (reason == "timeout")
    charged = told.calls[0][1].usage.prompt_tokens
    assert bool(charged) is (reason in ("timeout", "died"))  # nobody knows what it did


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"choices": 1}', b'"hello"'])
async def test_an_answer_that_nobody_can_read(told: Told, body: bytes) -> None:
    road = Road(lambda request: ScriptedReply([body]))
    reply = await road.post("chat", ask("chat", "Hello"))
    assert (reply.status, code_of("chat", reply)) == (502, "UPSTREAM_ANSWER_INVALID")
    assert told.ends == [(502, "UPSTREAM_ANSWER_INVALID")]


async def test_an_answer_beyond_all_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "MAX_ANSWER_BYTES", 1000)
    replies: list[ScriptedReply] = []

    def endless(request: EngineRequest) -> ScriptedReply:
        replies.append(ScriptedReply(b"x" * 100 for _ in range(10**9)))
        return replies[0]

    reply = await Road(endless).post("chat", ask("chat", "Hello"))
    assert code_of("chat", reply) == "GENERATION_ERROR"
    assert replies[0].aborted


@pytest.mark.parametrize("dialect", ["chat", "completions"])
@pytest.mark.parametrize("rest", [b"", b"data: [DONE]", b"data: [DONE]\n", b": bye\n\n"])
async def test_a_finished_answer_without_its_done_is_complete(
    told: Told, dialect: str, rest: bytes
) -> None:
    def short(request: EngineRequest) -> ScriptedReply:
        made = say("Good ", "morning")(request)
        assert isinstance(made, ScriptedReply)
        parts: list[bytes] = list(made._parts)  # type: ignore[arg-type]
        assert parts.pop().strip() == b"data: [DONE]"
        return ScriptedReply.events([*parts, rest])

    reply = await Road(short).post(dialect, ask(dialect, "Hello", stream=True))
    docs = events(reply.body)
    assert streamed(dialect, docs) == "Good morning"
    assert (ending(dialect, docs), docs.count("[DONE]")) == (("stop", True), 1)
    assert told.ends == [(200, "ok")]
    assert told.calls[0][1].usage.completion_tokens == 2


async def test_an_answer_with_an_open_choice_broke_off(told: Told) -> None:
    def short(request: EngineRequest) -> ScriptedReply:
        made = say(choices=[["one"], ["two", "three"]])(request)
        assert isinstance(made, ScriptedReply)
        parts: list[bytes] = list(made._parts)  # type: ignore[arg-type]
        kept = [p for p in parts if b'"index":1' not in p or b'"finish_reason":"' not in p]
        return ScriptedReply.events([part for part in kept if b"[DONE]" not in part])

    reply = await Road(short).post("chat", ask("chat", "Hello", stream=True, n=2))
    assert "GENERATION_ERROR" in reply.body.decode()
    assert "[DONE]" not in reply.body.decode()
    assert told.ends == [(200, "GENERATION_ERROR")]


@DIALECTS
@pytest.mark.parametrize("cut", ["fails", "ends", "tells of an error"])
async def test_a_stream_that_breaks_off(told: Told, dialect: str, cut: str) -> None:
    replies: list[ScriptedReply] = []

    def broken(request: EngineRequest) -> ScriptedReply:
        made = say("Good ", "morning")(request)
        assert isinstance(made, ScriptedReply)
        parts: list[bytes | EngineFailed] = list(made._parts)[:-3]  # type: ignore[arg-type]
        if cut == "fails":
            parts.append(EngineFailed("died", "of no interest"))
        elif cut == "tells of an error":
            parts.append(b'data: {"error": {"message": "CUDA error", "code": 500}}\n\n')
        replies.append(ScriptedReply.events(parts))
        return replies[0]

    reply = await Road(broken).post(dialect, ask(dialect, "Hello", stream=True))
    assert reply.status == 200
    docs = events(reply.body)
    assert ending(dialect, docs)[1] not in (True, "message_stop", "response.completed")
    assert "GENERATION_ERROR" in reply.body.decode()
    assert "CUDA" not in reply.body.decode()
    assert told.ends == [(200, "GENERATION_ERROR")]
    call, end = told.calls[0]
    assert end.usage.estimated
    assert end.usage.completion_tokens == call.answer.events


async def test_a_client_that_takes_nothing_hears_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "FAREWELL_SECONDS", 0.01)
    road = Road(lambda request: ScriptedReply.events([EngineFailed("died")]))
    reply = await road.post("chat", ask("chat", "Hello", stream=True), takes=1)
    assert (reply.status, reply.body) == (200, b"")


# ---- sizes: what is large is read beside the event loop


@DIALECTS
@STREAMED
async def test_large_bodies_and_answers(told: Told, dialect: str, stream: bool) -> None:
    text = "a quiet morning on the shore " * 300
    road = Road(say(*[text] * 8), tiers={"default": {"max_message_chars": 50_000}})
    for words in ("Hello", text * 4):
        reply = await road.post(dialect, ask(dialect, words, stream=stream))
        assert reply.status == 200, reply.body
        said = streamed(dialect, events(reply.body)) if stream else whole(dialect, reply.json())
        assert said == text * 8
    assert told.ends == [(200, "ok")] * 2


@STREAMED
async def test_a_large_piece_of_a_stream_is_judged_as_any(stream: bool) -> None:
    pieces = ["word " * 20_000, "I hate", " you", " all"]
    reply = await Road(say(*pieces)).post("chat", ask("chat", "Hello", stream=stream))
    said = streamed("chat", events(reply.body)) if stream else whole("chat", reply.json())
    assert said.startswith("word word")
    assert "hate" not in said


# ---- what the policy says


@DIALECTS
async def test_flags_are_counted_and_change_nothing(
    told: Told, dialect: str, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("categories: [{name: money, terms: [price], action: flag}]\n")
    road = Road(policy_file=policy)
    for stream in (False, True):
        reply = await road.post(dialect, ask(dialect, "echo: The price is high.", stream=stream))
        assert reply.status == 200
    assert [call.decisions for call, _ in told.calls] == [
        [("input", "money", "flag"), ("output", "money", "flag")]
    ] * 2
    shown = road.figures()
    for direction in ("input", "output"):
        labels = f'action="flag",category="money",direction="{direction}"'
        assert any(labels in name and value == 2 for name, value in shown.items()), shown


# ---- which model


@DIALECTS
async def test_the_model(dialect: str, told: Told) -> None:
    body = ask(dialect, "Hello")
    del body["model"]
    sha256 = hashlib.sha256(ANOTHER.encode()).hexdigest()
    keys = [{"name": "bound", "sha256": sha256, "models": ["small", "tiny"]}]
    road = Road(api_keys=(KEY,), keys=keys)
    road.engine._models = (MODEL, "tiny")
    other = {"authorization": f"Bearer {ANOTHER}"}
    assert (await road.post(dialect, body)).status == 200
    assert (await road.post(dialect, body, other)).status == 200
    for model, headers, status in (
        ("none", None, 404),
        (MODEL, other, 403),
        ("small", other, 404),
        ("tiny", other, 200),
    ):
        sent = {**body, "model": model}
        reply = await (road.post(dialect, sent, headers) if headers else road.post(dialect, sent))
        assert reply.status == status, (model, reply.body)
    assert [request.model for request in road.engine.requests] == [MODEL, "tiny", "tiny"]
    assert [end.model for _, end in told.calls] == [
        MODEL,
        "tiny",
        "other",
        "other",
        "other",
        "tiny",
    ]
    road.engine._models = ()
    reply = await road.post(dialect, body)
    assert (reply.status, code_of(dialect, reply)) == (503, "ENGINE_UNAVAILABLE")
    listed = await road.get("/v1/models", other)
    assert listed.json()["data"] == []


# ---- how many


async def test_the_window_of_a_tier(told: Told) -> None:
    tiers = {"default": {"windows": [{"limit": 2, "seconds": 3600}]}}
    road = Road(tiers=tiers)
    for left in (1, 0):
        reply = await road.post("chat", ask("chat", "Hello"))
        assert reply.headers["x-ratelimit-remaining-requests"] == str(left)
    reply = await road.post("chat", ask("chat", "Hello"))
    assert (reply.status, code_of("chat", reply)) == (429, "RATE_LIMIT_EXCEEDED")
    assert int(reply.headers["retry-after"]) > 3000
    shown = road.figures()
    name = 'gateway_rate_limit_decisions_total{{decision="{}",degraded="true"}}'
    assert (shown[name.format("allowed")], shown[name.format("denied")]) == (2, 1)
    assert told.ends[-1] == (429, "RATE_LIMIT_EXCEEDED")


async def test_a_full_process(told: Told) -> None:
    held, go = asyncio.Event(), asyncio.Event()

    async def slow(request: EngineRequest) -> ScriptedReply:
        held.set()
        await go.wait()
        return say("Done.")(request)  # type: ignore[return-value]

    road = Road(slow, max_in_flight=1)
    first = asyncio.create_task(road.post("chat", ask("chat", "Hello")))
    await held.wait()
    assert road.figures()["gateway_requests_in_flight"] == 1
    second = await road.post("chat", ask("chat", "Hello"))
    assert (second.status, code_of("chat", second)) == (503, "ENGINE_OVERLOADED")
    assert second.headers["retry-after"] == "1"
    go.set()
    assert (await first).status == 200
    assert road.figures()["gateway_requests_in_flight"] == 0
    assert len(road.parts.places) == 0


async def test_a_key_with_too_much_in_flight() -> None:
    held, go = asyncio.Event(), asyncio.Event()

    async def slow(request: EngineRequest) -> ScriptedReply:
        held.set()
        await go.wait()
        return say("Done.")(request)  # type: ignore[return-value]

    road = Road(slow, tiers={"default": {"max_in_flight": 1}}, api_keys=(KEY, ANOTHER))
    first = asyncio.create_task(road.post("chat", ask("chat", "Hello")))
    await held.wait()
    refused = await road.post("chat", ask("chat", "Hello"))
    assert (refused.status, code_of("chat", refused)) == (429, "RATE_LIMIT_EXCEEDED")
    assert "1 calls in flight" in refused.body.decode()
    other = asyncio.create_task(
        road.post("chat", ask("chat", "Hello"), {"authorization": f"Bearer {ANOTHER}"})
    )
    go.set()
    assert [(await first).status, (await other).status] == [200, 200]


async def test_a_process_that_drains() -> None:
    road = Road()
    assert road.parts.drain() == 0
    reply = await road.post("chat", ask("chat", "Hello"))
    assert (reply.status, code_of("chat", reply)) == (503, "SHUTTING_DOWN")
    assert (await road.get("/health/ready")).status == 503


# ---- clients that leave, and faults of our own


@DIALECTS
@STREAMED
async def test_a_client_that_leaves(told: Told, dialect: str, stream: bool) -> None:
    replies: list[ScriptedReply] = []

    async def forever(made: ScriptedReply) -> AsyncIterator[bytes]:
        if stream:
            for part in list(made._parts)[:3]:  # type: ignore[arg-type]
                assert isinstance(part, bytes)
                yield part
        await asyncio.Event().wait()

    def slow(request: EngineRequest) -> ScriptedReply:
        made = say("Good ", "morning ", "to ", "you")(request)
        assert isinstance(made, ScriptedReply)
        replies.append(ScriptedReply(forever(made), content_type=made.content_type))
        return replies[0]

    reply = await Road(slow).post(dialect, ask(dialect, "Hello", stream=stream), stays=False)
    assert replies[0].aborted
    assert told.ends == [(499, "client_closed")]
    usage = told.calls[0][1].usage
    assert usage.estimated
    assert usage.prompt_tokens > 0
    assert reply.status == (200 if stream else 0)


async def test_a_fault_of_our_own_says_nothing(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(request: EngineRequest) -> ScriptedReply:
        raise RuntimeError("the secret of the house")

    reply = await Road(broken).post("chat", ask("chat", "Hello"))
    status = Code.INTERNAL_ERROR.value.status
    assert (reply.status, code_of("chat", reply)) == (status, "INTERNAL_ERROR")
    assert "secret of the house" not in reply.body.decode()
    assert told.ends == [(status, "INTERNAL_ERROR")]
    assert "call failed" in caplog.text


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 405),
        ("POST", {"content-type": "text/plain"}, 400),
        ("POST", {"content-length": str(2**40)}, 413),
    ],
)
async def test_what_http_itself_forbids_is_accounted_for(
    told: Told, method: str, headers: dict[str, str], status: int
) -> None:
    body: Any = b'{"messages": []}'
    sent = {"authorization": f"Bearer {KEY}", **headers}
    reply = await Road().request(method, "/v1/chat/completions", body, sent)
    assert reply.status == status
    assert told.ends == [(status, code_of("chat", reply))]


# ---- models that aren't there


@DIALECTS
@pytest.mark.parametrize(
    "name", ["gpt-4", "mock[1m]", "claude haiku", "a\nb", "<script>", "x" * 256, "../../etc/passwd"]
)
async def test_a_model_that_is_not_served(told: Told, dialect: str, name: str) -> None:
    """Whatever it is called: the message names it, and what there is instead."""
    reply = await Road().post(dialect, ask(dialect, "Hello", model=name))
    assert (reply.status, code_of(dialect, reply)) == (404, "MODEL_NOT_FOUND")
    error = reply.json()["error"]
    assert error["param"] == "model"
    assert name[:128].replace("\n", "\ufffd") in error["message"]
    assert f'This key may use "{MODEL}"' in error["message"]
    assert "alias" in error["message"]
    assert not reply.json().get("code")
    assert told.calls[0][1].model == "other"


async def test_names_of_models_are_no_longer_than_a_name() -> None:
    for name in ("", "x" * 257, 5, ["m"]):
        reply = await Road().post("chat", ask("chat", "Hello", model=name))
        assert (reply.status, code_of("chat", reply)) == (400, "VALIDATION_ERROR")


async def test_an_alias_may_be_any_name() -> None:
    entry = {"name": MODEL, "upstreams": ["http://127.0.0.1:1/v1"], "aliases": ["mock[1m]"]}
    reply = await Road(models=[entry]).post("chat", ask("chat", "echo: hi", model="mock[1m]"))
    assert reply.status == 200, reply.body


# ---- what operators see of a refusal


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"temperature": 9}, "temperature"),
        ({"model": "gpt-4"}, "model"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": "ok"}, {"role": "user", "content": "I hate"}]},
         "messages.1"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {
            "x": {"description": "I hate"}}}}}]}, "tools.0"),
        ({"chat_template_kwargs": {"secret": 1}}, "chat_template_kwargs"),
        ({"secret-field": {"a": 1}, "stream": "yes"}, "stream"),
        ({"chat_template": "secret"}, ""),
        ({"logit_bias": {"secret": 1}}, "logit_bias"),
    ],
)  # fmt: skip
async def test_the_field_at_fault_is_recorded(
    told: Told, change: dict[str, Any], field: str
) -> None:
    """Of the path only the route's own field and the numbers behind it: the rest may be content."""
    reply = await Road().post("chat", ask("chat", "Hello", **change))
    assert reply.status in (400, 404), reply.body
    ((call, end),) = told.calls
    record = record_of(call, end, Memory())
    assert (record.refused_field, record.outcome) == (field, code_of("chat", reply))
