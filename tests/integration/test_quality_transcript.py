"""What the judge reads of a call: the same conversation and answer in every dialect."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from gemma_gateway.core.call import Call
from gemma_gateway.main import DIALECTS
from gemma_gateway.quality.item import Item, Turn
from gemma_gateway.quality.transcript import item_of
from tests.loopback import Loopback

Json = dict[str, Any]
JUDGED = [dialect for dialect in DIALECTS if dialect.judged]
EACH = pytest.mark.parametrize("dialect", JUDGED, ids=lambda d: d.name)
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def request(name: str, text: str, **more: Any) -> Json:
    if name == "completions":
        return {"prompt": text, "max_tokens": 100, **more}
    if name == "responses":
        return {"input": text, "max_output_tokens": 100, **more}
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 100, **more}


async def item(dialect: Any, body: Json, stream: bool, **script: Any) -> Item | None:
    """What is read of an answer of the loopback engine."""
    body = {**body, "model": "gemma-3-270m", "stream": stream}
    async with Loopback() as server, aiohttp.ClientSession() as session:
        sent = {**body, "loopback": script}
        async with session.post(server.url.removesuffix("/v1") + dialect.path, json=sent) as reply:
            assert reply.status == 200
            answer = await reply.read()
    call = Call("r", dialect)
    call.request.body, call.request.stream = json.loads(json.dumps(body)), stream
    call.request.model = "gemma-3-270m"
    return item_of(call, answer, filtered=False)


@EACH
@STREAMED
async def test_question_and_answer(dialect: Any, stream: bool) -> None:
    body = request(dialect.name, "Where is the sea?")
    found = await item(dialect, body, stream, pieces=["Behind ", "the dunes", ".\n\nÜber all."])
    assert found is not None
    assert found.turns == (Turn("user", "Where is the sea?"),)
    assert found.answer == "Behind the dunes.\n\nÜber all."
    assert (found.model, found.context, found.filtered) == ("gemma-3-270m", "", False)


@STREAMED
@pytest.mark.parametrize("dialect", [d for d in JUDGED if d.name != "completions"])
async def test_thoughts_and_calls_are_no_answer(dialect: Any, stream: bool) -> None:
    script = {"reasoning": ["I think so."], "tools": [["find", ['{"q": "sea"}']]]}
    body = request(dialect.name, "Where is the sea?")
    assert await item(dialect, body, stream, pieces=[], **script) is None
    found = await item(dialect, body, stream, pieces=["Behind the dunes."], **script)
    assert found is not None
    assert found.answer == "Behind the dunes."


@STREAMED
async def test_of_several_choices_the_first_counts(stream: bool) -> None:
    body = request("chat", "Where?", n=2)
    found = await item(JUDGED[0], body, stream, choices=[["Here."], ["There."]])
    assert found is not None
    assert found.answer == "Here."


async def test_tools_and_documents_are_the_context() -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "When?"}]},
        {"role": "assistant", "content": "I look."},
        {"role": "tool", "tool_call_id": "1", "content": "The pool opens at seven."},
    ]
    documents = [{"title": "Pool", "text": "Entry costs 4 euros."}, "x", {"text": 7}]
    body = {"messages": messages, "documents": documents, "max_tokens": 9}
    found = await item(JUDGED[0], body, False, pieces=["At seven."])
    assert found is not None
    assert [turn.role for turn in found.turns] == ["system", "user", "assistant", "tool"]
    assert found.question == "When?"
    assert found.context == "The pool opens at seven.\n\nEntry costs 4 euros."
