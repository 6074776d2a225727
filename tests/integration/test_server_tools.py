"""Tools with servers that know none: what such a server gets, and what its texts become for the
official clients, in each protocol."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio

from tests.calls import MODEL, state
from tests.process import KEY, Engine, Gateway

Json = dict[str, Any]
TOOLS = Path(__file__).parents[1] / "toolcalls" / "tools.json"
WEATHER = json.loads(TOOLS.read_text("utf-8"))["weather"]
CALL = '[get_weather(city="Paris", days=2)]'
ARGUMENTS = {"city": "Paris", "days": 2}
PROSE = ["Let", " me", " look:", "\n"]
RESULT = "Rain, 12 °C."
QUESTION = "What about Paris?"
TWO = '[get_weather(city="Paris"), get_weather(city="Rome")]'


@dataclass
class Told:
    """What a client understood of an answer."""

    text: str
    calls: list[tuple[str, Json]]
    reason: Any
    usage: tuple[int, int]
    turn: Any = None  # the answer as it goes into the next request


class Client:
    """An official client, in one protocol.

    Args:
        url: of the gateway.
        streams: it asks for streams.
    """

    def __init__(self, url: str, streams: bool) -> None:
        self.sdk = self.make(url)
        self.streams = streams

    def make(self, url: str) -> Any:
        return openai.AsyncOpenAI(api_key=KEY, base_url=f"{url}/v1", max_retries=0)

    async def ask(self, turns: list[Any], choice: Any = None, parallel: bool = True) -> Told:
        raise NotImplementedError

    def results(self, told: Told) -> list[Any]:
        """The answer and its tools' results, for the next request."""
        raise NotImplementedError


class Chat(Client):
    async def ask(self, turns: list[Any], choice: Any = None, parallel: bool = True) -> Told:
        if choice not in (None, "none", "auto", "required"):
            choice = {"type": "function", "function": {"name": choice}}
        more = {} if choice is None else {"tool_choice": choice}
        more |= {} if parallel else {"parallel_tool_calls": False}
        create = self.sdk.chat.completions
        asked = {"model": MODEL, "messages": turns, "tools": WEATHER, **more}
        if self.streams:
            async with create.stream(**asked, stream_options={"include_usage": True}) as stream:
                async for _ in stream:
                    answer = stream.current_completion_snapshot
        else:
            answer = await create.create(**asked)
        message = answer.choices[0].message
        calls = [
            (call.function.name, json.loads(call.function.arguments))
            for call in message.tool_calls or ()
        ]
        usage = (answer.usage.prompt_tokens, answer.usage.completion_tokens)
        reason = answer.choices[0].finish_reason
        return Told(message.content or "", calls, reason, usage, message)

    def results(self, told: Told) -> list[Any]:
        ids = [call.id for call in told.turn.tool_calls]
        assert len(set(ids)) == len(ids)
        answer = told.turn.model_dump(exclude={"parsed"}, exclude_none=True)
        for call in answer["tool_calls"]:
            call.pop("index", None)
            call["function"].pop("parsed_arguments", None)
        return [answer, *({"role": "tool", "tool_call_id": i, "content": RESULT} for i in ids)]


class Responses(Client):
    async def ask(self, turns: list[Any], choice: Any = None, parallel: bool = True) -> Told:
        if choice not in (None, "none", "auto", "required"):
            choice = {"type": "function", "name": choice}
        more = {} if choice is None else {"tool_choice": choice}
        more |= {} if parallel else {"parallel_tool_calls": False}
        tools = [{"type": "function", **tool["function"]} for tool in WEATHER]
        asked = {"model": MODEL, "input": turns, "tools": tools, **more}
        if self.streams:
            async with self.sdk.responses.stream(**asked) as stream:
                seen = [event async for event in stream]
            assert [event.sequence_number for event in seen] == list(range(len(seen)))
            answer = seen[-1].response
        else:
            answer = await self.sdk.responses.create(**asked)
        calls = [
            (item.name, json.loads(item.arguments))
            for item in answer.output
            if item.type == "function_call"
        ]
        usage = (answer.usage.input_tokens, answer.usage.output_tokens)
        details = answer.incomplete_details
        reason = details.reason if details else answer.status
        return Told(answer.output_text, calls, reason, usage, answer.output)

    def results(self, told: Told) -> list[Any]:
        items = [item.model_dump(exclude={"parsed_arguments"}) for item in told.turn]
        for item in items:
            for part in item.get("content", ()):
                part.pop("parsed", None)
        ids = [item["call_id"] for item in items if item["type"] == "function_call"]
        return [
            *items,
            *({"type": "function_call_output", "call_id": i, "output": RESULT} for i in ids),
        ]


class Messages(Client):
    def make(self, url: str) -> Any:
        return anthropic.AsyncAnthropic(api_key=KEY, base_url=url, max_retries=0)

    async def ask(self, turns: list[Any], choice: Any = None, parallel: bool = True) -> Told:
        kinds = {"none": "none", "auto": "auto", "required": "any"}
        asked: Json = {"model": MODEL, "messages": turns, "max_tokens": 100}
        asked["tools"] = [
            {
                "name": tool["function"]["name"],
                "description": tool["function"]["description"],
                "input_schema": tool["function"]["parameters"],
            }
            for tool in WEATHER
        ]
        if choice is not None or not parallel:
            named = {"type": "tool", "name": choice}
            asked["tool_choice"] = (
                {"type": kinds[choice or "auto"]} if choice in (None, *kinds) else named
            )
            if not parallel:
                asked["tool_choice"]["disable_parallel_tool_use"] = True
        if self.streams:
            async with self.sdk.messages.stream(**asked) as stream:
                answer = await stream.get_final_message()
        else:
            answer = await self.sdk.messages.create(**asked)
        text = "".join(block.text for block in answer.content if block.type == "text")
        calls = [(b.name, b.input) for b in answer.content if b.type == "tool_use"]
        usage = (answer.usage.input_tokens, answer.usage.output_tokens)
        return Told(text, calls, answer.stop_reason, usage, answer.content)

    def results(self, told: Told) -> list[Any]:
        names = {"text": ("type", "text"), "tool_use": ("type", "id", "name", "input")}
        blocks = [{n: getattr(b, n) for n in names[b.type]} for b in told.turn]
        ids = [block["id"] for block in blocks if block["type"] == "tool_use"]
        found = [{"type": "tool_result", "tool_use_id": i, "content": RESULT} for i in ids]
        return [{"role": "assistant", "content": blocks}, {"role": "user", "content": found}]


REASONS: dict[type[Client], dict[str, str]] = {
    Chat: {"call": "tool_calls", "named": "stop", "text": "stop", "cut": "length"},
    Responses: {"call": "completed", "text": "completed", "cut": "max_output_tokens"},
    Messages: {"call": "tool_use", "text": "end_turn", "cut": "max_tokens"},
}
IDS = [f"{kind.__name__}-{way}" for kind in REASONS for way in ("whole", "streamed")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(tmp_path_factory.mktemp("server")) as process:
        yield process


@pytest.fixture(scope="module")
def gateway(server: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with Gateway(folder, upstreams=server.url + "/v1", upstream_parser="gemma") as process:
        yield process


@pytest_asyncio.fixture(params=[(kind, way) for kind in REASONS for way in (False, True)], ids=IDS)
async def client(gateway: Gateway, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    kind, streams = request.param
    found = kind(gateway.url, streams)
    yield found
    await found.sdk.close()


def says(server: Engine, *pieces: str, **script: Any) -> AbstractContextManager[None]:
    return server.scripted({"pieces": list(pieces), "usage": [31, 17], **script})


def user(text: str = QUESTION) -> Json:
    return {"role": "user", "content": text}


async def test_a_round_trip(server: Engine, client: Client) -> None:
    asked = [user()]
    with says(server, *PROSE, *CALL):
        told = await client.ask(asked)
    assert (told.text, told.calls) == ("Let me look:", [("get_weather", ARGUMENTS)])
    assert told.reason == REASONS[type(client)]["call"]
    assert told.usage == (31, 17)
    got = await state(server)
    assert got["path"] == "/v1/chat/completions"
    assert not got["body"].keys() & {"tools", "tool_choice", "parallel_tool_calls"}
    assert [turn["role"] for turn in got["body"]["messages"]] == ["user"]
    shown = got["body"]["messages"][0]["content"]
    assert shown.startswith("You can call the functions")
    assert shown.endswith(QUESTION)
    assert WEATHER[0]["function"]["description"] in shown

    with says(server, "It ", "rains."):
        told = await client.ask([*asked, *client.results(told)])
    assert (told.text, told.calls) == ("It rains.", [])
    assert told.reason == REASONS[type(client)]["text"]
    turns = (await state(server))["body"]["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[1]["content"] == f"Let me look:{CALL}"
    assert turns[2]["content"] == f"<tool_response>\n{RESULT}\n</tool_response>"


@pytest.mark.parametrize("choice", ["required", "get_weather"])
async def test_a_call_that_has_to_be_made(server: Engine, client: Client, choice: str) -> None:
    call = json.dumps({"name": "get_weather", "parameters": ARGUMENTS}, indent=1)
    with says(server, *(f"[{call}]" if choice == "required" else call)):
        told = await client.ask([user()], choice)
    assert (told.text, told.calls) == ("", [("get_weather", ARGUMENTS)])
    reasons = REASONS[type(client)]
    assert told.reason == reasons.get("named" if choice != "required" else "call", reasons["call"])
    bound = (await state(server))["body"]["response_format"]
    assert bound["type"] == "json_schema"
    schema = bound["json_schema"]["schema"]
    assert schema["type"] == ("array" if choice == "required" else "object")
    assert ("get_time" in json.dumps(schema)) == (choice == "required")


async def test_none_and_one_call_at_most(server: Engine, client: Client) -> None:
    with says(server, TWO):
        assert (await client.ask([user()], "none")).text == TWO
        shown = (await state(server))["body"]["messages"][0]["content"]
        assert shown.startswith("You can call")  # as in process
        cities = [call[1]["city"] for call in (await client.ask([user()])).calls]
        assert cities == ["Paris", "Rome"]
        told = await client.ask([user()], parallel=False)
    assert (told.text, told.calls) == ("", [("get_weather", {"city": "Paris"})])


@pytest.mark.parametrize(
    "text",
    [
        " A list: [get_weather, 2] and {\n",
        'Call get_weather(city="Paris") so:\n```python\nget_weather(city=x)\n```\nIt helps.',
        '[get_weather(city="Par',
    ],
)
async def test_what_is_no_call_stays_to_the_letter(
    server: Engine, client: Client, text: str
) -> None:
    with says(server, *text):
        told = await client.ask([user()])
    assert (told.text, told.calls) == (text, [])
    assert told.reason == REASONS[type(client)]["text"]


async def test_an_answer_that_is_cut_loses_nothing(server: Engine, client: Client) -> None:
    with says(server, "Sure.\n", *CALL[:20], finish="length"):
        told = await client.ask([user()])
    assert (told.text, told.calls) == (f"Sure.\n{CALL[:20]}", [])
    assert told.reason == REASONS[type(client)]["cut"]
    assert told.usage == (31, 17)
