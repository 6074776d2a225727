"""Streams that keep their clients waiting, through real sockets, as the official SDKs see them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.calls import DIALECTS, MODEL, PATHS, ask, events, post, state, streamed
from tests.process import AUTH, KEY, Engine, Gateway
from tests.waiting import until

TURN: Any = [{"role": "user", "content": "echo: It is raining"}]
SIGNS = dict.fromkeys(PATHS, b": ping\n\n") | {
    "messages": b'event: ping\ndata: {"type": "ping"}\n\n'
}


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[Gateway]:
    """A gateway whose engine may think longer than it may pause."""
    folder = tmp_path_factory.mktemp("patient")
    settings = {"heartbeat_seconds": 0.2, "idle_timeout": 3, "eject_after": 1000}
    with Gateway(folder, upstreams=engine.url + "/v1", **settings) as process:
        yield process


@DIALECTS
async def test_a_queue_is_no_failure_and_shows_life(patient: Gateway, dialect: str) -> None:
    body = ask(dialect, "echo: It is raining", stream=True, loopback={"wait": 4})
    status, raw, headers = await post(patient, dialect, body)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert raw.count(SIGNS[dialect]) > 1
    assert streamed(dialect, events(raw)) == "It is raining"


async def test_the_sdks_take_it(patient: Gateway) -> None:
    script = {"loopback": {"wait": 1, "delay": 0.3}}
    async with openai.AsyncOpenAI(base_url=patient.url + "/v1", api_key=KEY) as client:
        text = ""
        async for chunk in await client.chat.completions.create(
            model=MODEL, messages=TURN, stream=True, extra_body=script
        ):
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
        assert text == "It is raining"
        text = ""
        async for event in await client.responses.create(
            model=MODEL, input=TURN[0]["content"], stream=True, extra_body=script
        ):
            text += event.delta if event.type == "response.output_text.delta" else ""
        assert text == "It is raining"
    async with (
        anthropic.AsyncAnthropic(base_url=patient.url, api_key=KEY) as claude,
        claude.messages.stream(
            model=MODEL, max_tokens=99, messages=TURN, extra_body=script
        ) as stream,
    ):
        assert await stream.get_final_text() == "It is raining"


async def test_the_sdks_hear_a_refusal_that_comes_late(patient: Gateway) -> None:
    script = {"loopback": {"wait": 1, "status": 400}}
    async with openai.AsyncOpenAI(base_url=patient.url + "/v1", api_key=KEY) as client:
        with pytest.raises(openai.APIError, match="scripted 400"):
            async for _ in await client.chat.completions.create(
                model=MODEL, messages=TURN, stream=True, extra_body=script
            ):
                pass
    async with anthropic.AsyncAnthropic(base_url=patient.url, api_key=KEY) as claude:
        with pytest.raises(anthropic.APIError, match="scripted 400"):
            async with claude.messages.stream(
                model=MODEL, max_tokens=99, messages=TURN, extra_body=script
            ) as stream:
                await stream.get_final_text()


async def test_the_engine_stops_at_the_client_s_own_deadline(
    patient: Gateway, engine: Engine
) -> None:
    """Also where the client's departure can't be seen."""
    before = (await state(engine))["aborted"]
    body = ask("chat", "echo: It is raining", loopback={"wait": 60})
    headers = {**AUTH, "x-envoy-expected-rq-timeout-ms": "1"}
    status, raw, _ = await post(patient, "chat", body, headers)
    assert status == 504
    assert b"CLIENT_DEADLINE" in raw

    async def aborted() -> bool:
        return bool((await state(engine))["aborted"] > before)

    await until(aborted, "the engine was left")
