"""A model that brings the chat template of Google's instruct models, as those that are deployed do,
in the real engine: what clients send is told in turns, nothing of it is refused or dropped, and
tool calls come out in every protocol, whole and streamed."""

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

NAME = "gemma"
PLUGIN = """
from vllm.tool_parsers import ToolParserManager
from vllm.tool_parsers.abstract_tool_parser import ToolParser


@ToolParserManager.register_module("mine")
class Mine(ToolParser):
    pass
"""
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
    plugin = folder / "plugin.py"
    plugin.write_text(PLUGIN)
    flags = ("--tool-parser-plugin", str(plugin))
    engine = LocalEngine(folder, NAME, engine_args=flags, idle_timeout=120)
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


# What follows is about calls. The model writes what a list of one choice leaves it to say.
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
PARIS = ("get_weather", {"city": "Paris", "days": 2})
# What is written, the calls in it, and the text beside them.
WRITTEN = {
    "fence": (
        'Sure.\n```tool_code\nprint(get_weather(city="Paris", days="2"))\n```',
        [PARIS],
        "Sure.",
    ),
    "marks": (
        'FUNCTION_CALL: get_weather(city="Paris", days=2)\nFUNCTION_CALL: get_weather(city="Rome")',
        [PARIS, ("get_weather", {"city": "Rome"})],
        "",
    ),
    "json": (
        '```json\n{"name": "get_weather", "parameters": {"city": "Paris", "days": 2}}\n```',
        [PARIS],
        "",
    ),
    "list": ("[1, 2, 3]", [], "[1, 2, 3]"),
    "other": ('[get_forecast(city="Paris")]', [], '[get_forecast(city="Paris")]'),
}


def bodies(text: str) -> dict[str, dict[str, Any]]:
    """A call of each protocol, whose answer is the text."""
    question = [{"role": "user", "content": "Weather in Paris?"}]
    bound = {"structured_outputs": {"choice": [text]}, "temperature": 0}
    function = {"name": "get_weather", "parameters": SCHEMA}
    return {
        "/v1/chat/completions": {
            "messages": question, "tools": [{"type": "function", "function": function}], **bound,
        },
        "/v1/responses": {"input": question, "tools": [{"type": "function", **function}], **bound},
    }  # fmt: skip


async def told(engine: LocalEngine, path: str, body: dict[str, Any]) -> str:
    data = json.dumps({"model": NAME, **body}).encode()
    request = EngineRequest("req-1", path, data, NAME, bool(body.get("stream")))
    reply = await engine.send(request)
    return b"".join([chunk async for chunk in reply.chunks()]).decode()


def events(text: str) -> list[dict[str, Any]]:
    lines = (line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: "))
    return [json.loads(line) for line in lines if line != "[DONE]"]


def calls(found: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [(each["name"], json.loads(each["arguments"])) for each in found]


@pytest.mark.parametrize("form", WRITTEN)
async def test_calls_in_chat(engine: LocalEngine, form: str) -> None:
    text, expected, content = WRITTEN[form]
    body = bodies(text)["/v1/chat/completions"]
    (choice,) = json.loads(await told(engine, "/v1/chat/completions", body))["choices"]
    message = choice["message"]
    assert calls([call["function"] for call in message.get("tool_calls") or []]) == expected
    assert (message["content"] or "") == content
    assert choice["finish_reason"] == ("tool_calls" if expected else "stop")


@pytest.mark.parametrize("form", WRITTEN)
async def test_calls_in_a_stream_of_chat(engine: LocalEngine, form: str) -> None:
    text, expected, content = WRITTEN[form]
    body = bodies(text)["/v1/chat/completions"] | {"stream": True}
    stream = events(await told(engine, "/v1/chat/completions", body))
    choices = [choice for event in stream for choice in event["choices"]]
    found: dict[int, dict[str, Any]] = {}
    for choice in choices:
        for call in choice["delta"].get("tool_calls") or []:
            known = found.setdefault(call["index"], {"name": "", "arguments": ""})
            known["name"] += call["function"].get("name") or ""
            known["arguments"] += call["function"].get("arguments") or ""
    assert calls([found[index] for index in sorted(found)]) == expected
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == content
    assert choices[-1]["finish_reason"] == ("tool_calls" if expected else "stop")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", WRITTEN)
async def test_calls_in_responses(engine: LocalEngine, form: str, stream: bool) -> None:
    text, expected, content = WRITTEN[form]
    body = bodies(text)["/v1/responses"] | {"stream": stream}
    answer = await told(engine, "/v1/responses", body)
    response = events(answer)[-1]["response"] if stream else json.loads(answer)
    output = response["output"]
    assert calls([item for item in output if item["type"] == "function_call"]) == expected
    parts = [part for item in output if item["type"] == "message" for part in item["content"]]
    assert "".join(part["text"] for part in parts) == content


async def test_choices_that_force_a_call_or_forbid_it(engine: LocalEngine) -> None:
    tools = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object",
              "properties": {}, "additionalProperties": False}}}]  # fmt: skip
    body = {"messages": [{"role": "user", "content": "What time is it?"}], "tools": tools,
            "max_tokens": 40, "temperature": 0}  # fmt: skip
    path = "/v1/chat/completions"
    for choice in ("required", {"type": "function", "function": {"name": "now"}}):
        for stream in (False, True):
            forced = {**body, "tool_choice": choice, "stream": stream}
            answer = await told(engine, path, forced)
            assert '"name":"now"' in answer.replace('": "', '":"')
    answer = json.loads(await told(engine, path, {**body, "tool_choice": "none"}))
    assert not answer["choices"][0]["message"].get("tool_calls")


@pytest.mark.parametrize("stream", [False, True])
async def test_calls_in_messages(engine: LocalEngine, stream: bool) -> None:
    call = {"name": "get_weather", "parameters": PARIS[1]}
    body = {
        "messages": [{"role": "user", "content": "Weather in Paris?"}],
        "tools": [{"name": "get_weather", "input_schema": SCHEMA}],
        "output_config": {"format": {"type": "json_schema", "schema": {"const": call}}},
        "max_tokens": 60,
        "stream": stream,
    }
    answer = await told(engine, "/v1/messages", body)
    if stream:
        stopped, said = events(answer)[-2]["delta"]["stop_reason"], events(answer)
        blocks = [each["content_block"] for each in said if each["type"] == "content_block_start"]
        pieces = [each["delta"].get("partial_json", "") for each in said if "delta" in each]
        used = [(block["name"], json.loads("".join(pieces))) for block in blocks]
    else:
        message = json.loads(answer)
        stopped = message["stop_reason"]
        used = [(block["name"], block["input"]) for block in message["content"]]
    assert used == [PARIS]
    assert stopped == "tool_use"


async def test_a_plugin_with_parsers_is_loaded(engine: LocalEngine) -> None:
    from vllm.tool_parsers import ToolParserManager

    assert ToolParserManager.get_tool_parser("mine").__name__ == "Mine"
    assert ToolParserManager.get_tool_parser("gemma").__name__ == "GemmaToolParser"
