"""Prompts of token ids: an engine says what they spell, the policy judges it, the ids go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gemma_gateway.core.engine import EngineFailed, EngineRequest
from gemma_gateway.engines.scripted import Script, ScriptedReply
from tests.calls import MODEL
from tests.road import Reply, Road, Told, say

POLICY = "categories: [{name: hate, terms: [hate crime]}, {name: seen, terms: [owl], action: flag}]"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


def ids(text: str) -> list[int]:
    """As ``tests.loopback`` takes them back."""
    return [ord(char) - 32 for char in text]


async def complete(road: Road, prompt: Any, **more: Any) -> Reply:
    return await road.post("completions", {"model": MODEL, "prompt": prompt, **more})


def detokenizing(reply: ScriptedReply | EngineFailed) -> Script:
    """An engine that answers calls, and says this of token ids."""
    other = say("fine")

    def answer(request: EngineRequest) -> Any:
        if request.path != "/detokenize":
            return other(request)
        if isinstance(reply, EngineFailed):
            raise reply
        return reply

    return answer


@pytest.mark.parametrize("stream", [False, True])
async def test_the_engine_gets_the_ids_themselves(told: Told, stream: bool) -> None:
    road = Road(say("fine"))
    reply = await complete(road, [float(n) for n in ids("The sea")], stream=stream)
    assert reply.status == 200
    asked, call = road.engine.requests
    assert (asked.path, asked.document) == (
        "/detokenize",
        {"model": MODEL, "tokens": ids("The sea")},
    )
    assert (call.path, call.document["prompt"]) == ("/v1/completions", ids("The sea"))
    assert told.calls[0][0].request.input_length == len("The sea")


async def test_several_prompts_are_asked_for_one_by_one() -> None:
    road = Road(say("fine"))
    prompts = [ids("one"), ids("two")]
    assert (await complete(road, prompts)).status == 200
    assert [request.document.get("tokens") for request in road.engine.requests[:2]] == prompts
    assert road.engine.requests[2].document["prompt"] == prompts
    refused = await complete(road, [[1]] * 9)
    assert (refused.status, refused.json()["error"]["param"]) == (400, "prompt")


async def test_texts_are_not_asked_for() -> None:
    road = Road(say("fine"))
    assert (await complete(road, ["a", "b"])).status == 200
    assert [request.path for request in road.engine.requests] == ["/v1/completions"]


async def test_what_they_spell_is_judged(told: Told, policy: Path) -> None:
    road = Road(say("fine"), policy_file=policy)
    reply = await complete(road, [ids("fine"), ids("a hate crime")])
    error = reply.json()["error"]
    assert (reply.status, error["gateway_code"], error["param"]) == (
        400,
        "CONTENT_FILTERED",
        "prompt.1",
    )
    assert all(request.path == "/detokenize" for request in road.engine.requests)
    assert (await complete(road, ids("an owl"))).status == 200
    assert [(d.category, d.action) for call, _ in told.calls for d in call.decisions] == [
        ("hate", "block"),
        ("seen", "flag"),
    ]


@pytest.mark.parametrize(
    ("text", "word"), [("a<script>b</script>", "removed from texts"), ("x" * 8193, "8192")]
)
async def test_what_would_have_to_be_changed_is_refused(text: str, word: str) -> None:
    road = Road(say("fine"))
    error = (await complete(road, [ids("fine"), ids(text)])).json()["error"]
    assert (error["gateway_code"], error["param"]) == ("VALIDATION_ERROR", "prompt.1")
    assert word in error["message"]


async def test_calls_with_other_ids_prefer_other_servers() -> None:
    road = Road(say("fine"))
    for text in ("one", "two", "one"):
        await complete(road, ids(text))
    first, second, third = [r.affinity for r in road.engine.requests if r.path != "/detokenize"]
    assert first == third != second


@pytest.mark.parametrize(
    ("reply", "status", "code", "words"),
    [
        (ScriptedReply.json({"detail": "Not Found"}, 404), 400, "VALIDATION_ERROR", "send text"),
        (ScriptedReply.json({}, 405), 400, "VALIDATION_ERROR", "send text"),
        (ScriptedReply.json({"error": {"message": "Token id 9 is out of vocabulary"}}, 400), 400,
         "VALIDATION_ERROR", "out of vocabulary"),
        (ScriptedReply.json({"oops": "at /srv/vllm.py"}, 500), 503, "GENERATION_ERROR", "model"),
        (ScriptedReply.json({"prompt": None}), 503, "GENERATION_ERROR", "model"),
        (ScriptedReply([b"{"]), 503, "GENERATION_ERROR", "model"),
        (EngineFailed("unavailable"), 503, "ENGINE_UNAVAILABLE", "engine"),
        (EngineFailed("timeout"), 504, "ENGINE_TIMEOUT", "too long"),
    ],
)  # fmt: skip
async def test_an_engine_that_does_not_tell(
    reply: ScriptedReply | EngineFailed, status: int, code: str, words: str
) -> None:
    road = Road(detokenizing(reply))
    answer = await complete(road, ids("Hello"))
    assert (answer.status, answer.json()["error"]["gateway_code"]) == (status, code)
    assert words in answer.json()["error"]["message"]
    assert [request.path for request in road.engine.requests] == ["/detokenize"]


async def test_another_model_would_read_them_otherwise() -> None:
    models = [
        {"name": "big", "upstreams": ["http://127.0.0.1:9/v1"], "fallbacks": ["small"]},
        {"name": "small", "upstreams": ["http://127.0.0.1:9/v1"]},
    ]

    def down(request: EngineRequest) -> ScriptedReply:
        if request.path == "/detokenize":
            return ScriptedReply.json({"prompt": "Hello"})
        if request.model == "big":
            raise EngineFailed("unavailable")
        made = say("fine")(request)
        assert isinstance(made, ScriptedReply)
        return made

    road = Road(down, models=models)
    assert (await road.post("completions", {"model": "big", "prompt": "Hello"})).status == 200
    assert (await road.post("completions", {"model": "big", "prompt": [5]})).status == 503
