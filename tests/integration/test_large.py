"""Large bodies and answers on the road: what they cost, and whom they delay."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.calls import ask, ending, events, post, streamed, whole
from tests.process import Engine, Gateway

MIB = 1024 * 1024
WIDE = b'{"' + b"k" * 100_000 + b'":[' + b",".join([b'"a"'] * 10_000) + b"]}"
PART = b'[{"role":"user","content":[{"type":"text","text":"x","more":' + WIDE + b"}]}]"
LEAST = b'{"max_tokens":5,'


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[Gateway]:
    """One that waits for a slow engine: megabytes of logprobs take this one a while."""
    folder = tmp_path_factory.mktemp("large")
    settings = {"upstreams": engine.url + "/v1", "idle_timeout": 120, "eject_after": 1000}
    with Gateway(folder, wait=60, **settings) as process:
        yield process


def most(gateway: Gateway) -> int:
    """The most memory that the process ever held, bytes."""
    for line in Path(f"/proc/{gateway.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def scripted(dialect: str, script: dict[str, Any], **more: Any) -> dict[str, Any]:
    return ask(dialect, "x", loopback=script, **more)


@pytest.mark.parametrize(
    ("dialect", "raw"),
    [
        ("chat", LEAST + b'"messages":[{"role":"user","content":"x"}],"tools":[' + WIDE + b"]}"),
        ("chat", LEAST + b'"messages":' + PART + b"}"),
        ("messages", LEAST + b'"messages":' + PART + b"}"),
        ("responses", b'{"input":' + PART + b"}"),
        ("completions", b'{"prompt":"x","structured_outputs":' + WIDE + b"}"),
    ],
)
async def test_a_small_body_takes_little_memory(gateway: Gateway, dialect: str, raw: bytes) -> None:
    assert len(raw) < 150_000
    before = most(gateway)
    status, answer, _ = await post(gateway, dialect, raw)
    assert status in {200, 400}
    assert len(answer) < 2000
    assert most(gateway) - before < 50 * MIB


async def test_a_small_call_does_not_wait_for_large_ones(gateway: Gateway) -> None:
    heavy = ask("chat", "hi", documents=["a"] * 39_000)
    order: list[str] = []

    async def call(name: str, body: Any) -> None:
        status, _, _ = await post(gateway, "chat", body)
        assert status == 200
        order.append(name)

    large = [asyncio.create_task(call("large", heavy)) for _ in range(20)]
    await asyncio.wait(large, return_when=asyncio.FIRST_COMPLETED)  # the others wait in line
    await call("small", ask("chat", "hi"))
    await asyncio.gather(*large)
    assert order[-1] == "large"


async def test_clients_that_leave_do_not_stop_the_next(gateway: Gateway) -> None:
    heavy = ask("chat", "hi", documents=["a"] * 39_000)
    for wait in (0.0, 0.02, 0.1):
        task = asyncio.create_task(post(gateway, "chat", heavy))
        await asyncio.sleep(wait)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    status, _, _ = await post(gateway, "chat", heavy)
    assert status == 200


@pytest.mark.parametrize("term", ["", " hate"])
async def test_a_large_whole_answer(gateway: Gateway, term: str) -> None:
    choices = [[" word"] * 1000 for _ in range(8)]
    if term:
        choices[5][900] = term
    more = {"n": 8, "max_tokens": 1024, "logprobs": True, "top_logprobs": 20}
    status, raw, _ = await post(gateway, "chat", scripted("chat", {"choices": choices}, **more))
    assert status == 200
    assert len(raw) > MIB
    doc = json.loads(raw)
    assert whole("chat", doc) == " word" * 1000
    reasons = [choice["finish_reason"] for choice in doc["choices"]]
    assert reasons == ["stop"] * 5 + ["content_filter" if term else "stop"] + ["stop"] * 2
    assert b"hate" not in raw


@pytest.mark.parametrize("dialect", ["chat", "completions", "responses", "messages"])
async def test_a_large_event(gateway: Gateway, dialect: str) -> None:
    for term in ("", "hate "):
        piece = "word " * 40_000 + term + "word " * 10
        script = {"pieces": ["first ", piece, "last"]}
        _, raw, _ = await post(gateway, dialect, scripted(dialect, script, stream=True))
        text = streamed(dialect, events(raw))
        if term:
            assert text.rstrip() == ("first " + "word " * 40_000).rstrip()
            assert "filter" in ending(dialect, events(raw))[0] or dialect == "messages"
            assert b"hate" not in raw
        else:
            assert text == f"first {piece}last"
