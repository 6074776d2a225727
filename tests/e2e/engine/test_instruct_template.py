"""A model that brings the chat template of Google's instruct models, as those that are deployed do,
in the real engine: what clients send is told in turns, and nothing of it is refused or dropped."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gemma_gateway.core.engine import EngineRequest
from gemma_gateway.engines.local.engine import LocalEngine
from tests.templates import GEMMA_3

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def engine(
    model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LocalEngine]:
    """The bundled weights in a folder that holds that template, too."""
    folder = tmp_path_factory.mktemp("models") / "gemma-3-270m-it"
    folder.mkdir()
    for file in model_folder.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "chat_template.jinja").write_text(GEMMA_3)
    engine = LocalEngine(folder, "gemma", idle_timeout=120)
    await engine.start()
    await engine.wait_ready(600)
    yield engine
    await engine.stop()


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def turns(*turns: str) -> str:
    """From a user's turn on."""
    sides = ("user", "model")
    told = (f"<start_of_turn>{sides[i % 2]}\n{text}<end_of_turn>\n" for i, text in enumerate(turns))
    return "<bos>" + "".join(told) + "<start_of_turn>model\n"


USER, MODEL, SYSTEM = said("user", "Hi"), said("assistant", "Yo"), said("system", "Be brief.")
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
TALKS = {
    "ordinary": ([SYSTEM, USER, MODEL, USER], turns("Be brief.\n\nHi", "Yo", "Hi")),
    "parts": ([said("user", [{"type": "text", "text": "Hi"}])], turns("Hi")),
    "same side twice": ([USER, USER], turns("Hi\n\nHi")),
    "two system texts": ([SYSTEM, SYSTEM, USER], turns("Be brief.\n\nBe brief.\n\nHi")),
    "a system text later": ([USER, MODEL, SYSTEM, USER], turns("Hi", "Yo", "Be brief.\n\nHi")),
    "a system text alone": ([SYSTEM], turns("Be brief.")),
    "a developer's text": ([said("developer", "Be brief."), USER], turns("Be brief.\n\nHi")),
    "a call and its result": (
        [USER, said("assistant", None, tool_calls=[CALL]), said("tool", "42", tool_call_id="a")],
        turns("Hi", "[f(x=1)]", "<tool_response>\n42\n</tool_response>"),
    ),
}  # fmt: skip


async def ask(engine: LocalEngine, path: str, **body: Any) -> dict[str, Any]:
    data = json.dumps({"model": "gemma", **body}).encode()
    reply = await engine.send(EngineRequest("req-1", path, data, "gemma"))
    answer = b"".join([chunk async for chunk in reply.chunks()])
    assert reply.status == 200, answer
    found: dict[str, Any] = json.loads(answer)
    return found


async def prompt(engine: LocalEngine, **body: Any) -> str:
    told = await ask(engine, "/tokenize", return_token_strs=True, **body)
    return "".join(told["token_strs"]).replace("▁", " ")


@pytest.mark.parametrize(("messages", "expected"), TALKS.values(), ids=TALKS)
async def test_what_clients_send_is_told_in_turns(
    engine: LocalEngine, messages: list[dict[str, Any]], expected: str
) -> None:
    assert await prompt(engine, messages=messages) == expected


async def test_the_assistant_may_speak_first(engine: LocalEngine) -> None:
    told = await prompt(engine, messages=[MODEL, USER])
    assert told.startswith("<bos><start_of_turn>model\nYo<end_of_turn>\n<start_of_turn>user\nHi")


async def test_tools_are_shown(engine: LocalEngine) -> None:
    tool = {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}
    told = await prompt(engine, messages=[USER], tools=[{"type": "function", "function": tool}])
    assert "get_weather" in told


async def test_anthropics_route_takes_two_user_messages(engine: LocalEngine) -> None:
    answer = await ask(engine, "/v1/messages", messages=[USER, USER], max_tokens=1)
    assert answer["type"] == "message"


async def test_a_blank_line_ends_no_answer(engine: LocalEngine) -> None:
    """Of a model that knows turns."""
    bias = {"108": 100}  # the token of a blank line
    body = {"messages": [USER], "max_tokens": 4, "logit_bias": bias}
    answer = await ask(engine, "/v1/chat/completions", **body)
    assert answer["choices"][0]["finish_reason"] == "length"
