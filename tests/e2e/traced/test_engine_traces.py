"""The real engine's part in traces and metrics: its spans join in, its names stand beside ours."""

from __future__ import annotations

import re
import secrets
from collections import Counter

import aiohttp
import pytest

from gemma_gateway.engines.local import weights
from tests.deploy.test_rules import promtool
from tests.otlp import Receiver
from tests.process import AUTH, Gateway

ASKED = {
    "model": weights.BUNDLED_NAME,
    "messages": [{"role": "user", "content": "Tell me of the sea."}],
    "max_tokens": 12,
    "ignore_eos": True,
}


async def ask(gateway: Gateway, stream: bool) -> str:
    """One call within a new trace; the trace's id."""
    trace = secrets.token_hex(16)
    headers = {**AUTH, "traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            gateway.url + "/v1/chat/completions", json={**ASKED, "stream": stream}, headers=headers
        ) as reply,
    ):
        assert reply.status == 200, await reply.text()
        await reply.read()
    return trace


@pytest.mark.parametrize("stream", [True, False])
async def test_the_engines_span_stands_below_the_call_to_it(
    traced: Gateway, receiver: Receiver, stream: bool
) -> None:
    trace = await ask(traced, stream)
    root = receiver.tree(trace, "llm_request", wait=30)
    call = root["chat"]
    engine = call["llm_request"]
    ours, theirs = call.attributes, engine.attributes
    assert ours["gen_ai.usage.output_tokens"] == 12
    assert theirs["gen_ai.usage.completion_tokens"] == 12
    assert ours["gen_ai.usage.input_tokens"] == theirs["gen_ai.usage.prompt_tokens"]
    assert ours["gen_ai.response.finish_reasons"] == ["length"]
    assert "server.address" not in ours
    queued = theirs["gen_ai.latency.time_in_queue"]
    assert 0 <= ours["gateway.queue_time"] < 1
    assert abs(ours["gateway.queue_time"] - queued) < 0.1
    assert b"the sea" not in receiver.raw


async def test_one_page_for_both(traced: Gateway) -> None:
    """vLLM's metrics stand beside ours: no family twice, the process's own once, ours clean."""
    await ask(traced, stream=True)
    async with aiohttp.ClientSession() as session:
        page = await (await session.get(traced.url + "/metrics")).text()
    families = Counter(re.findall(r"^# TYPE (\S+)", page, re.M))
    assert set(families.values()) == {1}, families.most_common(5)
    assert families["process_resident_memory_bytes"] == 1
    samples = Counter(re.findall(r"^([^#\s]\S*(?:\{.*\})?) \S+$", page, re.M))
    assert set(samples.values()) == {1}, samples.most_common(5)
    for name in ("gateway_queue_time_seconds", "vllm:request_queue_time_seconds"):
        assert families[name] == 1
    values = dict(re.findall(r"^(gateway_\w+)(?:\{.*\})? (\S+)$", page, re.M))
    assert float(values["gateway_engine_ready"]) == 1
    assert float(values["gateway_engine_deaths_total"]) == 0
    own = float(re.findall(r"^process_resident_memory_bytes (\S+)$", page, re.M)[0])
    assert float(values["gateway_memory_bytes"]) > own  # the engine core is a process of its own
    ours = [
        block
        for block in re.split(r"(?=^# HELP )", page, flags=re.M)
        if block.startswith(("# HELP gateway_", "# HELP process_", "# HELP python_"))
    ]
    assert promtool("check", "metrics", text="".join(ours).encode()) == ""
