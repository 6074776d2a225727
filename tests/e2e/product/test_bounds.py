"""Constraints and logprobs at the gateway's bounds, on the real engine: served, beside a stream.

How much slower the stream goes on is measured by ``python -m benchmarks.bystander``.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.calls import ask, events, post
from tests.constraints import EXTREME, MCP, ORDINARY, Json, many, thing
from tests.e2e.conftest import JUDGE
from tests.process import Gateway

STREAM = ask("chat", "Tell me of the sea.", stream=True, max_tokens=40, ignore_eos=True)
STREAM |= {"temperature": 0, "top_p": 1, "repetition_penalty": 1}


def bound(constraint: Json) -> Json:
    return {"structured_outputs": constraint, "max_tokens": 12}


BESIDE: dict[str, Json] = {
    **{name: bound(ORDINARY[name]) for name in ("nested invoice", "patterns and formats")},
    **{name: bound(EXTREME[name]) for name in EXTREME},
    "tools": {"tools": MCP[:4], "tool_choice": "required", "max_tokens": 12},
    "n": {**bound(EXTREME["all at once"]), "n": 8},
}


async def test_whatever_is_within_the_bounds_is_served_beside_a_stream(real: Gateway) -> None:
    """Four at a time; the streams run all the while, and lose nothing."""
    done = asyncio.Event()
    room = asyncio.Semaphore(4)

    async def bystander() -> int:
        streams = 0
        while not done.is_set():
            status, raw, _ = await post(real, "chat", STREAM)
            assert status == 200
            docs = events(raw)
            assert docs[-1] == "[DONE]"
            assert [d["choices"][0]["finish_reason"] for d in docs[:-1]][-1] == "length"
            streams += 1
        return streams

    async def served(more: Json) -> bytes:
        async with room:
            status, raw, _ = await post(real, "chat", ask("chat", "Go on.", **more))
        return b"" if status == 200 else raw

    other = asyncio.create_task(bystander())
    answers = await asyncio.gather(*(served(more) for more in BESIDE.values()))
    done.set()
    assert await other >= 1
    assert {name: raw for name, raw in zip(BESIDE, answers, strict=True) if raw} == {}


@pytest.mark.parametrize(
    "odd",
    [
        many({"enum": ["x"]}, uniqueItems=True, maxItems=1),
        {"type": "string", "format": "password", "maxLength": 3},
        {"oneOf": [thing({"kind": {"const": "a"}}), thing({"kind": {"const": "b"}})]},
        {"enum": [1], "not": {"type": "string"}},
        {"enum": [1], "if": {"const": 1}, "then": {"type": "integer"}},
    ],
    ids=["uniqueItems", "format", "oneOf", "not", "if"],
)
async def test_words_that_the_engine_can_t_enforce_are_passed_over(real: Gateway, odd: Any) -> None:
    schema = thing({"a": odd})
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    status, raw, _ = await post(real, "chat", ask("chat", "Go on.", response_format=form))
    assert status == 200, raw


async def test_logprobs_of_a_prompt_within_the_bound_stay_within_their_memory(
    real: Gateway,
) -> None:
    """The worker's own high-water mark, several such calls at once included: of a key that may
    have so many in flight."""
    key = {"Authorization": f"Bearer {JUDGE}"}
    children = psutil.Process(real.pid).children(recursive=True)
    worker = next(child for child in children if "Worker" in child.name())
    body = {"max_tokens": 1, "prompt_logprobs": 20}
    await post(real, "completions", ask("completions", "a", **body))  # first use
    before = peak(worker.pid)
    prompt = "1 2 3 4 5 6 7 8 9 " * 6  # a token a byte
    calls = [post(real, "completions", ask("completions", prompt, **body), key) for _ in range(4)]
    for status, raw, _ in await asyncio.gather(*calls):
        assert status == 200, raw
        tokens = json.loads(raw)["usage"]["prompt_tokens"]
    assert 80 < tokens <= 128
    assert peak(worker.pid) - before < 128 * 3.7 * 1.5  # MB


def peak(pid: int) -> float:
    """Most memory that a process has had, MB."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line) / 1024
