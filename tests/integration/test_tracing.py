"""Traces of real calls, read by a receiver that speaks OpenTelemetry's own protobufs."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.calls import DIALECTS, PATHS, ask, post, state
from tests.otlp import CLIENT, ERROR, SERVER, Receiver, Span
from tests.process import AUTH, KEY, Engine, Gateway, free_port

MODEL = "gemma-3-270m"
ROAD = ["access", "body", "limits", "validation", "safety"]
OPERATIONS = {"completions": "text_completion"}  # the others are "chat"
MARK = "xylophone-5309"  # in prompts and answers; nowhere in a trace
TWO = [("traceparent", f"00-{'a' * 32}-{n * 16}-01") for n in "bc"]


@pytest.fixture(scope="module")
def own_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Its last call is this module's."""
    with Engine(tmp_path_factory.mktemp("engine")) as process:
        yield process


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


def variables(endpoint: str, **more: str) -> dict[str, str]:
    """What an operator sets, and a short wait between batches."""
    found = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    return found | {"OTEL_SERVICE_NAME": "shop-gateway"} | more


def start(folder: Path, engine: Engine, environ: dict[str, str], **settings: object) -> Gateway:
    """A gateway whose process has these variables too."""
    url = engine.url + "/v1"
    return Gateway(folder, environ=environ, upstreams=url, eject_after=1000, **settings)


@pytest.fixture(scope="module")
def traced(
    tmp_path_factory: pytest.TempPathFactory, own_engine: Engine, receiver: Receiver
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("traced")
    with start(
        folder, own_engine, variables(receiver.endpoint), idle_timeout=3, first_token_timeout=3
    ) as process:
        yield process


def parent(flags: str = "01") -> tuple[str, str, dict[str, str]]:
    """A trace that the client has begun: its id, the client's span, the headers that say so."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return trace, span, {**AUTH, "traceparent": f"00-{trace}-{span}-{flags}"}


def log_line(gateway: Gateway, request_id: str) -> dict[str, Any]:
    """The access log's line of a call; it may be written 50 ms later."""
    for _ in range(200):
        for line in gateway.text().splitlines():
            if line.startswith("{") and request_id in line:
                doc = dict(json.loads(line))
                if doc.get("request_id") == request_id:
                    return doc
        time.sleep(0.02)
    raise AssertionError(f"no line of {request_id}")


def assert_orderly(span: Span) -> None:
    """Children lie within their parent, one after the other."""
    children = sorted(span.children, key=lambda c: (c.start, c.end))
    for child in children:
        assert span.start <= child.start <= child.end <= span.end, (span.name, child.name)
        assert_orderly(child)
    for one, other in pairwise(children):
        assert one.end <= other.start, (one.name, other.name)


@DIALECTS
@pytest.mark.parametrize("stream", [True, False])
async def test_one_tree_a_call(
    traced: Gateway, own_engine: Engine, receiver: Receiver, dialect: str, stream: bool
) -> None:
    trace, span, headers = parent()
    more: dict[str, Any] = {"temperature": 0.5, "stream": stream}
    status, _, answered = await post(
        traced, dialect, ask(dialect, f"echo: {MARK} {MARK}", **more), headers
    )
    assert status == 200
    root = receiver.tree(trace)

    path = PATHS[dialect]
    assert (root.parent, root.kind, root.name) == (span, SERVER, f"POST {path}")
    operation = OPERATIONS.get(dialect, "chat")
    assert root.names == [*ROAD, f"{operation} {MODEL}", "settle"]
    call = root[operation]
    assert call.kind == CLIENT
    assert call.names == ["delivery"]
    assert_orderly(root)
    assert call.end >= root["safety"].end
    assert root["settle"].start >= call["delivery"].end

    assert root.resource["service.name"] == "shop-gateway"
    assert root.attributes.items() >= {
        "http.request.method": "POST",
        "http.route": path,
        "url.path": path,
        "url.scheme": "http",
        "http.response.status_code": 200,
        "gateway.outcome": "ok",
        "gateway.tier": "default",
        "gateway.request_id": answered["x-request-id"],
    }.items()  # fmt: skip
    assert len(root.attributes["gateway.key"]) == 8
    usage = (await state(own_engine))["body"]
    assert usage["model"] == MODEL
    said = call.attributes
    assert said["gen_ai.operation.name"] == operation
    assert said["gen_ai.provider.name"] == "vllm"
    assert said["gen_ai.request.model"] == said["gen_ai.response.model"] == MODEL
    assert said["gen_ai.request.temperature"] == 0.5
    assert said["gen_ai.request.max_tokens"] > 0
    assert said["gen_ai.usage.input_tokens"] > 0
    assert said["gen_ai.usage.output_tokens"] == 6
    assert said["gen_ai.response.finish_reasons"]
    assert (said["server.address"], said["server.port"]) == ("127.0.0.1", own_engine.port)
    if stream:
        assert said["gen_ai.request.stream"] is True
        assert 0 < said["gen_ai.response.time_to_first_chunk"] < (call.end - call.start) / 1e9
        assert call["delivery"].attributes["gateway.stream.events"] >= 6
    everything = [root, *root.children, *call.children]
    assert all(s.status != ERROR and "error.type" not in s.attributes for s in everything)

    seen = (await state(own_engine))["headers"]
    got = next(value for name, value in seen.items() if name.lower() == "traceparent")
    assert got == f"00-{trace}-{call.id}-01"
    line = log_line(traced, answered["x-request-id"])
    assert (line["trace_id"], line["span_id"]) == (trace, root.id)
    assert MARK.encode() not in receiver.raw
    assert KEY.encode() not in receiver.raw


async def test_a_call_without_a_parent_begins_a_trace(traced: Gateway, receiver: Receiver) -> None:
    _, _, answered = await post(traced, "chat", ask("chat", "x"))
    line = log_line(traced, answered["x-request-id"])
    root = receiver.tree(line["trace_id"])
    assert (root.parent, root.id) == ("", line["span_id"])


@pytest.mark.parametrize(
    "headers",
    [
        [("traceparent", "00-" + "0" * 32 + "-" + "0" * 16 + "-01")],
        [("traceparent", "nonsense\xff")],
        TWO,
        [("tracestate", "k=v," * 2000)],
        [("traceparent", "00-" + "a" * 60_000)],
    ],
)
async def test_a_bad_parent_is_none(
    traced: Gateway, receiver: Receiver, headers: list[tuple[str, str]]
) -> None:
    request_id = f"bad-parent-{secrets.token_hex(4)}"
    async with aiohttp.ClientSession() as session:
        reply = await session.post(
            traced.url + PATHS["chat"],
            json=ask("chat", "x"),
            headers=[*AUTH.items(), ("x-request-id", request_id), *headers],
        )
        assert reply.status == 200
    line = log_line(traced, request_id)
    assert line["trace_id"] != "a" * 32
    assert receiver.tree(line["trace_id"]).parent == ""


async def test_tracestate_reaches_the_engine(traced: Gateway, own_engine: Engine) -> None:
    _, _, headers = parent()
    await post(traced, "chat", ask("chat", "x"), headers | {"tracestate": "shop=7,other=8"})
    seen = {name.lower(): value for name, value in (await state(own_engine))["headers"].items()}
    assert seen["tracestate"] == "shop=7,other=8"
    assert "baggage" not in seen


async def test_a_parent_that_is_not_sampled(
    traced: Gateway, own_engine: Engine, receiver: Receiver
) -> None:
    """The parent's decision holds, here and for the engine; the log still names the trace."""
    trace, _, headers = parent("00")
    _, _, answered = await post(traced, "chat", ask("chat", "x"), headers)
    seen = {name.lower(): value for name, value in (await state(own_engine))["headers"].items()}
    assert seen["traceparent"].startswith(f"00-{trace}-")
    assert seen["traceparent"].endswith("-00")
    assert log_line(traced, answered["x-request-id"])["trace_id"] == trace
    later, _, more = parent()
    await post(traced, "chat", ask("chat", "x"), more)
    receiver.tree(later)  # what was sent before it has come
    assert not [s for s in receiver.spans if s.trace_id == trace]


REFUSALS: list[tuple[str, dict[str, Any], str, str, int]] = [
    ("access", {"headers": {"Authorization": "Bearer wrong"}}, "INVALID_API_KEY", "chat", 401),
    ("validation", {"temperature": 9}, "VALIDATION_ERROR", "messages", 400),
    ("validation", {"model": "no-such-model"}, "MODEL_NOT_FOUND", "responses", 404),
    ("safety", {"text": "violence"}, "CONTENT_FILTERED", "completions", 400),
]


@pytest.mark.parametrize(("stage", "change", "code", "dialect", "status"), REFUSALS)
async def test_a_refusal_ends_in_its_stage(
    traced: Gateway,
    receiver: Receiver,
    stage: str,
    change: dict[str, Any],
    code: str,
    dialect: str,
    status: int,
) -> None:
    trace, _, headers = parent()
    more = {key: value for key, value in change.items() if key not in ("headers", "text")}
    body = ask(dialect, change.get("text", "x"), **more)
    got, _, _ = await post(traced, dialect, body, headers | change.get("headers", {}))
    root = receiver.tree(trace)
    assert got == root.attributes["http.response.status_code"] == status
    assert root.attributes["gateway.outcome"] == root.attributes["error.type"] == code
    assert root.names == [*ROAD[: ROAD.index(stage) + 1], "settle"]
    assert root[stage].attributes["error.type"] == code
    assert root.status != ERROR
    assert ("gateway.key" in root.attributes) == (stage != "access")
    assert [s.name for s in root.children if "error.type" in s.attributes] == [stage]


async def test_the_rate_limit(tmp_path: Path, own_engine: Engine, receiver: Receiver) -> None:
    with start(tmp_path, own_engine, variables(receiver.endpoint), requests_per_hour=1) as gateway:
        await post(gateway, "chat", ask("chat", "x"))
        trace, _, headers = parent()
        status, _, _ = await post(gateway, "chat", ask("chat", "x"), headers)
        root = receiver.tree(trace)
    assert status == 429
    assert root.names == ["access", "body", "limits", "settle"]
    assert root["limits"].attributes["error.type"] == "RATE_LIMIT_EXCEEDED"


@DIALECTS
@pytest.mark.parametrize(
    ("script", "stream", "status", "code"),
    [
        ({"status": 500}, False, 503, "GENERATION_ERROR"),
        ({"die": 2}, True, 200, "GENERATION_ERROR"),
        ({"stall": 2}, True, 200, "ENGINE_TIMEOUT"),
    ],
)
async def test_a_failing_engine(
    traced: Gateway,
    receiver: Receiver,
    dialect: str,
    script: dict[str, Any],
    stream: bool,
    status: int,
    code: str,
) -> None:
    trace, _, headers = parent()
    body = ask(dialect, "x", stream=stream, loopback=script)
    got, _, _ = await post(traced, dialect, body, headers)
    root = receiver.tree(trace)
    call = root[OPERATIONS.get(dialect, "chat")]
    assert got == root.attributes["http.response.status_code"] == status
    for span in (root, call, call["delivery"]):
        assert span.attributes["error.type"] == code
        assert span.status == ERROR
    assert root["safety"].status != ERROR
    assert_orderly(root)


async def test_no_engine(traced: Gateway, own_engine: Engine, receiver: Receiver) -> None:
    """Refused before an answer: the engine's span ends in the failure, and nothing is delivered."""
    trace, _, headers = parent()
    await post(traced, "chat", ask("chat", "x", loopback={"die": -1}), headers)
    root = receiver.tree(trace)
    assert root["chat"].attributes["error.type"] == "ENGINE_UNAVAILABLE"
    assert root["chat"].status == root.status == ERROR
    assert root["chat"].names == []


@DIALECTS
async def test_a_filtered_answer(traced: Gateway, receiver: Receiver, dialect: str) -> None:
    trace, _, headers = parent()
    script = {"pieces": ["We ", "speak ", "of ", "vio", "lence ", "here"], "delay": 0.05}
    await post(traced, dialect, ask(dialect, "x", stream=True, loopback=script), headers)
    root = receiver.tree(trace)
    delivery = root[OPERATIONS.get(dialect, "chat")]["delivery"]
    assert delivery.attributes["error.type"] == "RESPONSE_FILTERED"
    assert delivery.attributes["gateway.stream.held_characters"] == 3
    assert 0.03 < delivery.attributes["gateway.stream.held_seconds"] < 60
    assert root.status != ERROR
    assert b"vio" not in receiver.raw


@DIALECTS
@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves(
    traced: Gateway, receiver: Receiver, dialect: str, stream: bool
) -> None:
    trace, _, headers = parent()
    script = {"delay": 0.1, "pieces": ["word "] * 100} if stream else {"wait": 30}
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.7):
            await post(traced, dialect, ask(dialect, "x", stream=stream, loopback=script), headers)
    root = await asyncio.to_thread(receiver.tree, trace)
    call = root[OPERATIONS.get(dialect, "chat")]
    assert root.attributes["gateway.outcome"] == "client_closed"
    assert "http.response.status_code" not in root.attributes
    assert call.names == (["delivery"] if stream else [])
    for span in (root, call, *call.children):
        assert span.attributes["error.type"] == "client_closed"
        assert span.status != ERROR
    assert call.attributes["gateway.usage_estimated"] is True


async def test_routes_that_generate_nothing(traced: Gateway, receiver: Receiver) -> None:
    trace, _, headers = parent()
    await post(traced, "/tokenize", {"model": MODEL, "prompt": MARK}, headers)
    call = receiver.tree(trace)["tokenize"]
    assert call.attributes["gen_ai.operation.name"] == "tokenize"
    assert "gen_ai.usage.output_tokens" not in call.attributes
    assert MARK.encode() not in receiver.raw


async def test_what_the_conventions_know_of_a_request(traced: Gateway, receiver: Receiver) -> None:
    trace, _, headers = parent()
    asked = {"seed": 7, "n": 2, "top_k": 5, "top_p": 1, "presence_penalty": 0.25}
    status, _, _ = await post(traced, "chat", ask("chat", "x", **asked), headers)
    said = receiver.tree(trace)["chat"].attributes
    assert status == 200
    assert said["gen_ai.request.seed"] == 7
    assert said["gen_ai.request.choice.count"] == 2
    assert said["gen_ai.request.top_k"] == 5
    assert isinstance(said["gen_ai.request.top_p"], float)
    assert said["gen_ai.request.presence_penalty"] == 0.25


async def test_counts_past_what_the_protocol_holds(traced: Gateway, receiver: Receiver) -> None:
    """An engine may say anything; a number of 64 bits would spoil a whole batch of spans."""
    trace, _, headers = parent()
    await post(traced, "chat", ask("chat", "x", loopback={"usage": [2**64 - 1, 3]}), headers)
    said = receiver.tree(trace)["chat"].attributes
    assert "gen_ai.usage.input_tokens" not in said
    assert said["gen_ai.usage.output_tokens"] == 3


async def test_events_in_the_log_name_the_trace(traced: Gateway) -> None:
    trace, _, headers = parent()
    await post(traced, "chat", ask("chat", "x", loopback={"status": 500}), headers)
    lines = [json.loads(t) for t in traced.text().splitlines() if t.startswith('{"time"')]
    events = [line for line in lines if line.get("logger") == "gateway" and trace in str(line)]
    assert events, traced.text()[-2000:]


async def test_the_sampler_is_the_variables_own(
    tmp_path: Path, own_engine: Engine, receiver: Receiver
) -> None:
    environ = variables(receiver.endpoint, OTEL_TRACES_SAMPLER="parentbased_traceidratio")
    environ["OTEL_TRACES_SAMPLER_ARG"] = "0"
    with start(tmp_path, own_engine, environ) as gateway:
        _, _, answered = await post(gateway, "chat", ask("chat", "x"))
        unseen = log_line(gateway, answered["x-request-id"])["trace_id"]
        trace, _, headers = parent()
        await post(gateway, "chat", ask("chat", "x"), headers)
        receiver.tree(trace)
    assert not [s for s in receiver.spans if s.trace_id == unseen]


@pytest.mark.parametrize("kind", ["absent", "silent", "refusing"])
async def test_a_receiver_that_fails_costs_no_call(
    tmp_path: Path, own_engine: Engine, kind: str
) -> None:
    """No call waits for it, none fails, and the process still ends in time with status 0."""
    with Receiver(delay=30 if kind == "silent" else 0, status=503) as bad:
        endpoint = f"http://127.0.0.1:{free_port()}" if kind == "absent" else bad.endpoint
        with start(tmp_path, own_engine, variables(endpoint, OTEL_BSP_MAX_QUEUE_SIZE="512")) as it:
            began = time.monotonic()
            calls = [post(it, "chat", ask("chat", "x")) for _ in range(100)]
            results = await asyncio.gather(*calls)
            assert {status for status, _, _ in results} == {200}
            assert time.monotonic() - began < 60
            began = time.monotonic()
            assert it.stop() == 0, it.text()[-2000:]
            assert time.monotonic() - began < 60
            assert "Traceback" not in it.text()


async def test_what_is_left_is_sent_at_the_end(
    tmp_path: Path, own_engine: Engine, receiver: Receiver
) -> None:
    environ = variables(receiver.endpoint) | {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
    with start(tmp_path, own_engine, environ) as gateway:
        trace, _, headers = parent()
        await post(gateway, "chat", ask("chat", "x"), headers)
        assert not [s for s in receiver.spans if s.trace_id == trace]
        assert gateway.stop() == 0
    assert receiver.tree(trace).names[-1] == "settle"


async def test_off(gateway: Gateway, engine: Engine) -> None:
    """Without the variables the caller's trace goes on as it is, and no line has ids."""
    _, _, headers = parent()
    _, _, answered = await post(gateway, "chat", ask("chat", "x"), headers)
    reached = {name.lower(): value for name, value in (await state(engine))["headers"].items()}
    assert reached["traceparent"] == headers["traceparent"]
    assert "trace_id" not in log_line(gateway, answered["x-request-id"])


@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:4318"])
def test_off_loads_nothing(endpoint: str) -> None:
    """Neither the exporter nor what uses it. (Of the API, Redis' client loads a part.)"""
    code = """
import sys
import gemma_gateway.main
gemma_gateway.main.tracing.from_environment()
print("gemma_gateway.telemetry.spans" in sys.modules, "opentelemetry.exporter.otlp" in sys.modules)
"""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environ, capture_output=True, check=True)
    assert done.stdout.decode().split() == [str(bool(endpoint))] * 2
