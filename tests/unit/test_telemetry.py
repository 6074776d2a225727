"""Metrics and logs: what they say, and what they never say."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import sys
import time

import pytest

from gemma_gateway.core.call import Call
from gemma_gateway.core.stage import End
from gemma_gateway.core.usage import Usage
from gemma_gateway.telemetry import tracing
from gemma_gateway.telemetry.log import AccessLog, JsonFormatter, current_trace
from gemma_gateway.telemetry.loop_lag import INTERVAL, LoopLag
from gemma_gateway.telemetry.metrics import MOST_MODELS, Metrics
from gemma_gateway.wire.openai.chat import Chat
from tests.waiting import until

REFUSED = End(401, "INVALID_API_KEY", 0.1, "other", Usage())


def test_names_follow_prometheus_conventions() -> None:
    metrics = Metrics()
    meters = metrics.meters("/v1/chat/completions", "gemma", "default")
    meters.outcome("ok")
    meters.duration.observe(0.1)
    metrics.filter_child("input", "harm", "block").inc()
    metrics.limits_decided("denied", True)
    text = metrics.render().decode()
    assert 'outcome="ok",route="/v1/chat/completions",tier="default"} 1.0' in text
    assert 'gateway_rate_limit_decisions_total{decision="denied",degraded="true"} 1.0' in text
    for name in re.findall(r"# TYPE (gateway_\S+) counter", text):
        assert name.endswith("_total")
    for name in re.findall(r"# TYPE (gateway_\S+) histogram", text):
        assert name.endswith(("_seconds", "_per_second", "_characters"))


def test_children_are_bound_once() -> None:
    metrics = Metrics()
    meters = metrics.meters("r", "m", "t")
    assert metrics.meters("r", "m", "t") is meters
    assert meters.duration is meters.duration
    assert metrics.filter_child("a", "b", "c") is metrics.filter_child("a", "b", "c")


def series(metrics: Metrics) -> list[str]:
    return [s.name for family in metrics.registry.collect() for s in family.samples]


def test_every_latency_is_told_by_route_model_and_tier() -> None:
    metrics = Metrics()
    meters = metrics.meters("/v1/messages", "gemma", "gold")
    for meter in (meters.duration, meters.first_token, meters.per_token, meters.queue, meters.rate):
        meter.observe(0.02)
    text = metrics.render().decode()
    labels = 'model="gemma",route="/v1/messages",tier="gold"'
    for name in (
        "gateway_request_duration_seconds",
        "gateway_time_to_first_token_seconds",
        "gateway_time_per_output_token_seconds",
        "gateway_queue_time_seconds",
        "gateway_output_tokens_per_second",
    ):
        assert f"{name}_count{{{labels}}} 1.0" in text


def test_a_route_has_no_series_of_what_it_never_does() -> None:
    metrics = Metrics()
    metrics.meters("/tokenize", "gemma", "default").duration.observe(0.1)
    found = series(metrics)
    assert "gateway_request_duration_seconds_count" in found
    assert "gateway_time_to_first_token_seconds_count" not in found


def test_models_past_the_bound_share_a_name() -> None:
    metrics = Metrics()
    for number in range(10 * MOST_MODELS):
        metrics.meters("/v1/messages", f"adapter-{number}", "default").outcome("ok")
    assert series(metrics).count("gateway_requests_total") == MOST_MODELS + 1
    other = metrics.meters("/v1/messages", "one-more", "default")
    assert other is metrics.meters("/v1/messages", "other", "default")


async def test_lag_is_what_the_loop_was_late() -> None:
    seen: list[float] = []
    lag = LoopLag(seen.append)
    assert lag.seconds == 0
    await lag.start()
    await until(lambda: len(seen) >= 2, "two looks")
    time.sleep(INTERVAL + 0.25)
    count = len(seen)
    await until(lambda: len(seen) > count, "the look that was late")
    assert lag.seconds == max(seen) >= 0.2
    await lag.stop()
    count = len(seen)
    await asyncio.sleep(2 * INTERVAL)
    assert len(seen) == count


async def test_an_access_line_has_counts_and_no_content() -> None:
    out = io.BytesIO()
    log = AccessLog(out)
    call = Call("req-1", Chat())
    call.request.raw = b"secret words"
    call.request.body = {"messages": [{"role": "user", "content": "secret words"}]}
    call.request.model, call.request.content_hash = "gemma", "0123456789abcdef"
    call.answer.first_token = call.started + 0.25
    usage = Usage(prompt_tokens=3, completion_tokens=5, estimated=True)
    log.settle(call, End(200, "ok", 0.5, "gemma", usage))
    await until(out.getvalue, "the line")
    line = json.loads(out.getvalue())
    assert line["request_id"] == "req-1"
    assert line["input_tokens"] == 3
    assert line["output_tokens"] == 5
    assert line["usage_estimated"] is True
    assert line["time_to_first_token"] == 0.25
    assert line["content_sha256"] == "0123456789abcdef"
    assert "secret" not in out.getvalue().decode()


async def test_lines_are_gathered_and_flushed() -> None:
    out = io.BytesIO()
    log = AccessLog(out)
    for n in range(3):
        log.settle(Call(f"req-{n}", Chat()), REFUSED)
    assert not out.getvalue()
    log.flush()
    assert len(out.getvalue().splitlines()) == 3


class Ids:
    """A trace as far as logs know it."""

    trace_id, span_id = "a" * 32, "b" * 16

    def enter(self, stage: str) -> None: ...

    def engine_headers(self, call: Call) -> dict[str, str]:
        return {}

    def finish(self, call: Call, status: int, outcome: str) -> None: ...


async def test_lines_name_the_trace() -> None:
    out = io.BytesIO()
    log = AccessLog(out)
    for trace in (Ids(), None):
        call = Call("req-1", Chat(), trace=trace)
        log.settle(call, REFUSED)
    log.flush()
    traced, plain = map(json.loads, out.getvalue().splitlines())
    assert (traced["trace_id"], traced["span_id"]) == ("a" * 32, "b" * 16)
    assert "trace_id" not in plain


def test_events_name_the_trace_of_their_task() -> None:
    record = logging.LogRecord("gateway", 40, __file__, 1, "engine failed", (), None)
    assert "trace_id" not in JsonFormatter().format(record)
    token = current_trace.set(Ids())
    try:
        assert json.loads(JsonFormatter().format(record))["trace_id"] == "a" * 32
    finally:
        current_trace.reset(token)


@pytest.mark.parametrize(
    ("environ", "on"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "zipkin"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "True"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
        (
            {
                "OTEL_TRACES_EXPORTER": "otlp",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            True,
        ),
    ],
)
def test_traces_are_made_when_the_standard_variables_ask(environ: dict[str, str], on: bool) -> None:
    assert tracing.wanted(environ) is on


def test_a_missing_extra_is_told_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "gemma_gateway.telemetry.spans", None)
    with caplog.at_level(logging.WARNING, "gateway"):
        assert tracing.from_environment({"OTEL_TRACES_EXPORTER": "otlp"}) is None
    assert "gemma-gateway[otel]" in caplog.text


def test_an_exception_is_logged_without_its_message() -> None:
    record = None
    try:
        raise ValueError("what the user said")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
        record = logging.LogRecord("gateway", 40, __file__, 1, "call failed", (), info)
    text = JsonFormatter().format(record)
    line = json.loads(text)
    assert line["error"] == "ValueError"
    assert "test_telemetry.py" in line["frames"][0]
    assert "what the user said" not in text
