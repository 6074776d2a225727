"""What the gateway answered is accepted when it comes back as the next turn's history: whole or put
together from a stream, with thoughts, calls and several choices, also where the policy cut it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.calls import MODEL, events
from tests.road import Road, say

Json = dict[str, Any]
ROUTES = pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
POLICY = "categories: [{name: hate, terms: [hate crime]}]"
USER = {"role": "user", "content": "Hello"}
TOOL = {"type": "object", "properties": {"t": {"type": "string"}}}
TOOLS: dict[str, list[Json]] = {
    "chat": [{"type": "function", "function": {"name": "look", "parameters": TOOL}}],
    "responses": [{"type": "function", "name": "look", "parameters": TOOL}],
    "messages": [{"name": "look", "input_schema": TOOL}],
}

words = st.lists(
    st.sampled_from(["Good ", "day", "<b>", "\n", "é", "😀", "hate ", "crime", ".", " ", "{"]),
    max_size=6,
)
calls = st.lists(
    words.map(lambda found: ["look", _cut(json.dumps({"t": "".join(found)}))]), max_size=2
)
scripts = st.fixed_dictionaries(
    {"pieces": words, "reasoning": words, "tools": calls},
    optional={"finish": st.sampled_from(["stop", "length"])},
)


def _cut(text: str) -> list[str]:
    return [text[i : i + 5] for i in range(0, len(text), 5)]


def ask(dialect: str, history: list[Json], **more: Any) -> Json:
    turns = {"input" if dialect == "responses" else "messages": history}
    return {"model": MODEL, "tools": TOOLS[dialect], **turns, **more}


def of_whole(dialect: str, doc: Json) -> list[list[Json]]:
    """What each choice of an answer says, as items of a history."""
    if dialect == "chat":
        return [[choice["message"]] for choice in doc["choices"]]
    if dialect == "responses":
        return [doc["output"]]
    return [[{"role": doc["role"], "content": doc["content"]}]]


def of_stream(dialect: str, docs: list[Any]) -> list[list[Json]]:
    """The same of a stream."""
    if dialect == "responses":
        return of_whole(dialect, docs[-1]["response"])
    found: dict[int, Json] = {}
    if dialect == "messages":
        for doc in docs:
            if doc["type"] == "content_block_start":
                found[doc["index"]] = dict(doc["content_block"])
            elif doc["type"] == "content_block_delta":
                _add_block(found[doc["index"]], doc["delta"])
        return [[{"role": "assistant", "content": [_whole_block(b) for b in found.values()]}]]
    for doc in docs:
        for choice in doc["choices"] if doc != "[DONE]" else ():
            _add_delta(found.setdefault(choice["index"], {}), choice["delta"])
    return [[{"role": "assistant", **message}] for message in found.values()]


def _add_block(block: Json, delta: Json) -> None:
    for key, value in delta.items():
        if key != "type":
            before = block.get(key)
            block[key] = (before if isinstance(before, str) else "") + value


def _whole_block(block: Json) -> Json:
    written = block.pop("partial_json", "")
    if block["type"] == "tool_use" and written:
        try:
            block["input"] = json.loads(written)
        except ValueError:  # a call that was cut
            block["input"] = {}
    return block


def _add_delta(message: Json, delta: Json) -> None:
    for key, value in delta.items():
        if key == "tool_calls":
            listed = message.setdefault(key, [])
            for piece in value:
                while len(listed) <= piece["index"]:
                    listed.append({"function": {"name": "", "arguments": ""}})
                call = listed[piece["index"]]
                call.update({k: v for k, v in piece.items() if k in ("id", "type") and v})
                for name, text in piece.get("function", {}).items():
                    call["function"][name] += text or ""
        elif key != "role":
            message[key] = message.get(key) + value if message.get(key) and value else value


def results(dialect: str, items: list[Json]) -> list[Json]:
    """What the client's tools say to the calls among the items."""
    found: list[Json] = []
    for item in items:
        made = [call["id"] for call in item.get("tool_calls") or ()]
        found += [{"role": "tool", "tool_call_id": name, "content": None} for name in made]
        if item.get("type") == "function_call":
            called = {"type": "function_call_output", "call_id": item["call_id"], "output": "ok"}
            found.append(called)
        blocks = item.get("content") if dialect == "messages" else ()
        used = [b for b in blocks or () if b["type"] == "tool_use"]
        if used:
            content = [{"type": "tool_result", "tool_use_id": b["id"]} for b in used]
            found.append({"role": "user", "content": content})
    return found or [USER]


async def echo(dialect: str, script: Json, stream: bool, policy: Path) -> None:
    road = Road(say(**script) if script else say(), policy_file=policy)
    several = {"n": 2} if dialect == "chat" else {}
    first = await road.post(dialect, ask(dialect, [USER], stream=stream, **several))
    assert first.status == 200, first.body
    read = of_stream(dialect, events(first.body)) if stream else of_whole(dialect, first.json())
    for items in read:
        history = [USER, *items, *results(dialect, items)]
        again = await road.post(dialect, ask(dialect, history))
        assert again.status == 200, (items, again.body)


@ROUTES
@settings(
    max_examples=25,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # each case is a gateway of its own
    suppress_health_check=list(HealthCheck),
)
@given(scripts, st.booleans())
def test_an_answer_is_a_history(dialect: str, script: Json, stream: bool) -> None:
    with TemporaryDirectory() as folder:
        policy = Path(folder, "policy.yaml")
        policy.write_text(POLICY)
        asyncio.run(echo(dialect, script, stream, policy))
