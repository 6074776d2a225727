"""Metrics and logs: what they say, and what they never say."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re

from app.call import Call
from app.telemetry.log import AccessLog, JsonFormatter
from app.telemetry.metrics import Metrics
from app.usage import Usage
from app.wire.chat import Chat


def test_names_follow_prometheus_conventions() -> None:
    metrics = Metrics()
    meters = metrics.meters("/v1/chat/completions", "gemma", "default")
    meters.outcome("ok")
    meters.duration.observe(0.1)
    metrics.filter_child("input", "harm", "block").inc()
    metrics.limited_child("denied", True).inc()
    text = metrics.render().decode()
    assert 'outcome="ok",route="/v1/chat/completions",tier="default"} 1.0' in text
    assert 'gateway_rate_limit_decisions_total{decision="denied",degraded="true"} 1.0' in text
    for name in re.findall(r"# TYPE (gateway_\S+) counter", text):
        assert name.endswith("_total")
    for name in re.findall(r"# TYPE (gateway_\S+) histogram", text):
        assert name.endswith(("_seconds", "_per_second"))


def test_children_are_bound_once() -> None:
    metrics = Metrics()
    assert metrics.meters("r", "m", "t") is metrics.meters("r", "m", "t")
    assert metrics.filter_child("a", "b", "c") is metrics.filter_child("a", "b", "c")


async def test_an_access_line_has_counts_and_no_content() -> None:
    out = io.BytesIO()
    log = AccessLog(out)
    call = Call("req-1", Chat(), "/v1/chat/completions", raw=b"secret words")
    call.body = {"messages": [{"role": "user", "content": "secret words"}]}
    call.model, call.content_hash = "gemma", "0123456789abcdef"
    call.usage = Usage(prompt_tokens=3, completion_tokens=5, estimated=True)
    call.first_token = call.started + 0.25
    log.write(call, 200, "ok")
    await asyncio.sleep(0.1)
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
        log.write(Call(f"req-{n}", Chat(), "/v1/chat/completions"), 401, "INVALID_API_KEY")
    assert not out.getvalue()
    log.flush()
    assert len(out.getvalue().splitlines()) == 3


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
