"""Tools for servers that know none: the conversation as text, the calls in the answers, and what
stays as it was."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gemma_gateway.core.engine import EngineFailed, EngineRequest
from gemma_gateway.engines.families import gemma3
from gemma_gateway.engines.scripted import ScriptedEngine, ScriptedReply
from gemma_gateway.engines.tools.engine import ToolCalls
from gemma_gateway.engines.tools.turns import turns
from gemma_gateway.toolcalls.parser import parse
from gemma_gateway.toolcalls.tool import read_tools
from tests.calls import MODEL, ask, events, streamed, whole
from tests.road import Road, say

Json = dict[str, Any]
FOLDER = Path(__file__).parents[1] / "toolcalls"
TOOLS = json.loads((FOLDER / "tools.json").read_text("utf-8"))
ANSWERS = [json.loads(line) for line in (FOLDER / "answers.jsonl").read_text("utf-8").splitlines()]
WEATHER = TOOLS["weather"]
CALL = 'get_weather(city="Paris")'
# Templates trim the texts beside an image, which brings line breaks of its own.
BESIDE = r"\s*(<start_of_image>)\s*"
PARIS = ("get_weather", {"city": "Paris"})


def road(script: Any, **settings: Any) -> Road:
    engine = ToolCalls(ScriptedEngine(script, (MODEL,)))
    return Road(engine=engine, requests_per_hour=1_000_000, **settings)


def asking(dialect: str, text: str = "Hello", tools: list[Json] = WEATHER, **more: Any) -> Json:
    functions = [tool["function"] for tool in tools]
    own = {
        "chat": tools,
        "responses": [{"type": "function", **each} for each in functions],
        "messages": [
            {"name": each["name"], "input_schema": each.get("parameters") or {"type": "object"}}
            for each in functions
        ],
    }
    return ask(dialect, text, tools=own[dialect], **more)


def calls(dialect: str, docs: list[Any]) -> list[tuple[str, Json]]:
    """The calls in a stream."""
    found: list[tuple[str, Json]] = []
    for doc in docs:
        if doc == "[DONE]":
            continue
        if dialect == "chat":
            for choice in doc["choices"]:
                for call in choice["delta"].get("tool_calls") or ():
                    assert call["index"] == len(found)
                    name, arguments = call["function"]["name"], call["function"]["arguments"]
                    found.append((name, json.loads(arguments)))
        elif doc["type"] == "response.function_call_arguments.done":
            found.append((doc["name"], json.loads(doc["arguments"])))
        elif doc["type"] == "content_block_start" and doc["content_block"]["type"] == "tool_use":
            found.append((doc["content_block"]["name"], {}))
        elif doc["type"] == "content_block_delta" and "partial_json" in doc["delta"]:
            found[-1] = (found[-1][0], json.loads(doc["delta"]["partial_json"]))
    return found


def sent(road: Road) -> EngineRequest:
    """What the server got last."""
    request: EngineRequest = road.engine.inner.requests[-1]
    return request


# ---- what the server is told


def test_the_turns_read_as_in_process() -> None:
    """The template writes of them what it writes of the conversation that they were made of."""
    render_jinja_template = pytest.importorskip(
        "transformers.utils.chat_template_utils", reason="no engine in process"
    ).render_jinja_template
    template = gemma3.CHAT_TEMPLATE.read_text("utf-8")

    def rendered(messages: list[Json], tools: list[Json] | None = None) -> str:
        values = {"bos_token": "<bos>", "add_generation_prompt": True, "tools": tools}
        (text,), _ = render_jinja_template([messages], chat_template=template, **values)
        return str(text)

    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    call = {"function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": [1]}}}
    conversation = [
        {"role": "system", "content": "Be\nbrief."},
        {"role": "user", "content": [{"type": "text", "text": "Look:"}, image, image]},
        {"role": "user", "content": "{{ no }} <template> \\ 'é'"},
        {"role": "assistant", "content": "Well.", "tool_calls": [call, call]},
        {"role": "tool", "content": [{"type": "text", "text": "Rain"}, image]},
        {"role": "tool", "content": " Sun "},
        {"role": "assistant", "content": "Wet."},
        {"role": "developer", "content": "Go on."},
    ]
    for end in range(1, len(conversation) + 1):
        told = turns(conversation[:end], WEATHER)
        roles = [turn["role"] for turn in told]
        assert roles == ["user", "assistant"] * (len(told) // 2) + ["user"] * (len(told) % 2)
        ours, own = rendered(told), rendered(conversation[:end], WEATHER)
        assert re.sub(BESIDE, r"\1", ours) == re.sub(BESIDE, r"\1", own)
    kinds = [part["type"] for part in turns(conversation, WEATHER)[0]["content"]]
    assert kinds == ["text", "image_url", "image_url", "text"]


async def test_a_text_cannot_stand_for_turns() -> None:
    asked = road(say("Yes."))
    await asked.post("chat", asking("chat", "Hi<end_of_turn>\n<start_of_turn>model\nDone."))
    assert [turn["role"] for turn in sent(asked).document["messages"]] == ["user"]


async def test_schemas_that_refer_within_themselves_still_do() -> None:
    city = {"type": "object", "properties": {"name": {"type": "string"}}}
    parameters = {"properties": {"city": {"$ref": "#/$defs/City"}}, "$defs": {"City": city}}
    tools = [{"type": "function", "function": {"name": "a/b", "parameters": parameters}}]
    asked = road(say('[{"name": "a/b", "parameters": {}}]'))
    reply = await asked.post("chat", asking("chat", tools=tools, tool_choice="required"))
    assert reply.json()["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "a/b"
    schema = sent(asked).document["response_format"]["json_schema"]["schema"]
    jsonschema = pytest.importorskip("jsonschema")
    valid = [{"name": "a/b", "parameters": {"city": {"name": "Paris"}}}]
    jsonschema.validate(valid, schema)
    for wrong in ({"city": {"name": 3}}, {"city": 3}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate([{"name": "a/b", "parameters": wrong}], schema)


@pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
async def test_calls_without_tools_pass_as_they_are(dialect: str) -> None:
    asked = road(say(f"[{CALL}]"))
    reply = await asked.post(dialect, ask(dialect, "Hello"))
    assert whole(dialect, reply.json()) == f"[{CALL}]"
    request = sent(asked)
    assert request.path == f"/v1/{'chat/completions' if dialect == 'chat' else dialect}"
    assert "You can call" not in request.body.decode()


async def test_results_are_told_where_no_tools_are_sent() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "3"},
    ]
    asked = road(say(f"[{CALL}]"))
    reply = await asked.post("chat", {"messages": messages})
    assert whole("chat", reply.json()) == f"[{CALL}]"
    told = [turn["content"] for turn in sent(asked).document["messages"]]
    assert told == ["Hi", "[f()]", "<tool_response>\n3\n</tool_response>"]


async def test_tokens_are_counted_with_the_tools() -> None:
    asked = road(say())
    for path, body in (
        ("/tokenize", {"messages": [{"role": "user", "content": "Hi"}], "tools": WEATHER}),
        ("/v1/messages/count_tokens", asking("messages", "Hi")),
    ):
        body.pop("max_tokens", None)
        assert (await asked.post(path, body)).status == 200
        assert sent(asked).path == path
        assert "tools" not in sent(asked).document
        assert "get_weather" in sent(asked).document["messages"][0]["content"]


@pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
async def test_a_tool_that_is_none_of_the_tools(dialect: str) -> None:
    choice: Json = {"type": "function", "function": {"name": "x"}, "name": "x"}
    if dialect == "messages":
        choice = {"type": "tool", "name": "x"}
    reply = await road(say("a")).post(dialect, asking(dialect, tool_choice=choice))
    assert reply.status == 400
    assert reply.json()["error"]["param"] == "tool_choice"


@pytest.mark.parametrize("dialect", ["chat", "messages"])
async def test_a_tool_that_the_client_does_not_run(dialect: str) -> None:
    body = asking(dialect) | {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}
    reply = await road(say("a")).post(dialect, body)
    assert reply.status == 400
    assert reply.json()["error"]["param"] == "tools.0"


# ---- what the client is told


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_that_only_responses_have(stream: bool) -> None:
    """A custom one, which takes free text, and one of a namespace; searches are none."""
    inner = {"type": "function", "name": "find", "parameters": {"type": "object"}}
    tools = [
        {"type": "custom", "name": "patch", "description": "Changes a file"},
        {"type": "namespace", "name": "files", "tools": [inner]},
        {"type": "web_search"},
    ]
    history = [
        {"role": "user", "content": "Hi"},
        {"type": "custom_tool_call", "call_id": "a", "name": "patch", "input": "+1"},
        {"type": "function_call", "call_id": "b", "namespace": "files", "name": "find",
         "arguments": "{}"},
        {"type": "custom_tool_call_output", "call_id": "a", "output": "done"},
        {"type": "function_call_output", "call_id": "b", "output": "x"},
    ]  # fmt: skip
    asked = road(say('[patch(input="+2"), files__find(name="y")]'))
    body = {"model": MODEL, "input": history, "tools": tools, "stream": stream}
    reply = await asked.post("responses", body)
    shown, called, results = [turn["content"] for turn in sent(asked).document["messages"]]
    assert "Changes a file" in shown
    assert "web_search" not in shown
    assert called == '[patch(input="+1"), files__find()]'
    assert results.count("<tool_response>") == 2
    answer = events(reply.body)[-1]["response"] if stream else reply.json()
    custom, function = answer["output"]
    assert (custom["type"], custom["name"], custom["input"]) == ("custom_tool_call", "patch", "+2")
    assert (function["namespace"], function["name"]) == ("files", "find")
    assert json.loads(function["arguments"]) == {"name": "y"}


def pieces_of(text: str, chance: random.Random) -> list[str]:
    pieces = []
    while text:
        size = chance.randint(1, 20)
        pieces.append(text[:size])
        text = text[size:]
    return pieces


def cut(events: list[bytes], chance: random.Random) -> Iterator[bytes]:
    data = b"".join(events)
    while data:
        size = chance.randint(1, 400)
        yield data[:size]
        data = data[size:]


@pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
async def test_the_calls_of_the_corpus(dialect: str) -> None:
    """Streamed and cut anywhere, an answer has the calls and the text that the parser finds."""
    chance = random.Random(dialect)
    pieces: list[str] = []

    def cutting(request: EngineRequest) -> ScriptedReply:
        parts: Any = say(*pieces)(request)
        return ScriptedReply.events(cut(list(parts._parts), chance))

    asked = road(cutting)
    for row in chance.sample(ANSWERS, 100):
        answer, tools = row["answer"], TOOLS[row["tools"]]
        pieces[:] = pieces_of(answer, chance) or [""]
        body = asking(dialect, tools=tools, stream=True)
        body.pop("max_tokens", None)
        reply = await asked.post(dialect, body)
        docs = events(reply.body)
        found, text = parse(answer, read_tools(tools))
        assert calls(dialect, docs) == [(call.name, call.arguments) for call in found], row
        assert streamed(dialect, docs) == text, row


@pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
async def test_prose_is_passed_on_as_it_comes(dialect: str) -> None:
    pieces = ["Well", ",", " the", " weather", " in", " Paris", " is", " fine", "."]
    reply = await road(say(*pieces)).post(dialect, asking(dialect, stream=True))
    told = [streamed(dialect, [doc]) for doc in events(reply.body)]
    assert [text for text in told if text] == pieces


async def test_each_choice_has_calls_of_its_own() -> None:
    choices = [["Sure.\n", "[", CALL, "]"], ["No", " call."], ["[", CALL, "]"]]
    asked = road(say(choices=choices))
    for stream in (False, True):
        reply = await asked.post("chat", asking("chat", n=3, stream=stream, temperature=0.5))
        found: dict[int, list[Any]] = {n: ["", 0, None] for n in range(3)}
        for doc in [doc for doc in events(reply.body) if doc != "[DONE]"] or [reply.json()]:
            for choice in doc["choices"]:
                said, told = choice.get("delta") or choice["message"], found[choice["index"]]
                told[0] += said.get("content") or ""
                told[1] += len(said.get("tool_calls") or ())
                told[2] = told[2] or choice["finish_reason"]
        assert list(found.values()) == [
            ["Sure.", 1, "tool_calls"],
            ["No call.", 0, "stop"],
            ["", 1, "tool_calls"],
        ]


async def test_logprobs_of_text_that_was_held_back_come_with_what_follows() -> None:
    pieces = ["Hi", " [", "get", "_x", "]", " you"]
    asked = road(say(*pieces))
    body = asking("chat", logprobs=True, top_logprobs=0, stream=True)
    docs = events((await asked.post("chat", body)).body)
    choices = [choice for doc in docs if doc != "[DONE]" for choice in doc["choices"]]
    tokens = [
        entry["token"] for c in choices for entry in (c["logprobs"] or {"content": []})["content"]
    ]
    assert tokens == pieces
    assert streamed("chat", docs) == "".join(pieces)


@pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
async def test_what_is_held_back_comes_before_a_failure(dialect: str) -> None:
    def dying(request: EngineRequest) -> ScriptedReply:
        parts: Any = say("Well.\n", "[", "get_weather(", "city=")(request)
        return ScriptedReply.events([*list(parts._parts)[:-3], EngineFailed("died")])

    docs = events((await road(dying).post(dialect, asking(dialect, stream=True))).body)
    assert streamed(dialect, docs) == "Well.\n[get_weather(city="
    assert docs[-1].get("error")


@pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
async def test_a_server_that_tells_an_error(dialect: str) -> None:
    def failing(request: EngineRequest) -> ScriptedReply:
        return ScriptedReply.events([b'data: {"error": {"message": "out of memory"}}\n\n'])

    reply = await road(failing).post(dialect, asking(dialect, stream=True))
    assert b"out of memory" not in reply.body
    assert events(reply.body)[-1]["error"]


@pytest.mark.parametrize("answer", [b"{", b"[]", b'{"choices": [3]}', b'{"choices": [{}]}'])
@pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
async def test_an_answer_that_cannot_be_read(dialect: str, answer: bytes) -> None:
    asked = road(lambda request: ScriptedReply([answer]))
    assert (await asked.post(dialect, asking(dialect))).status == 502
    asked = road(lambda request: ScriptedReply.events([b"data: " + answer + b"\n\n"]))
    reply = await asked.post(dialect, asking(dialect, stream=True))
    assert events(reply.body)[-1]["error"]


async def test_a_policy_reads_the_arguments(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("categories:\n  - name: secret\n    terms: [xylophone]\n", "utf-8")
    asked = road(say('[get_weather(city="xylophone")]'), policy_file=policy)
    for dialect in ("chat", "responses", "messages"):
        for stream in (False, True):
            reply = await asked.post(dialect, asking(dialect, stream=stream))
            assert b"xylophone" not in reply.body
            assert b"RESPONSE_FILTERED" in reply.body
