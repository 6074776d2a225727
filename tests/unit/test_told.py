"""What a client sent is what the model gets, or the client is told: markup, bounds, terms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from gemma_gateway.core.call import Change
from gemma_gateway.core.changes import listed
from gemma_gateway.monitoring.capture import record_of
from tests.calls import DIALECTS, PATHS, Json, ask, ending, events, streamed, whole
from tests.road import Road, Told, say

SCRIPT = "<script>alert(1)</script>"
CHANGED = "x-gateway-changed"
STRIPPED = {
    "chat": "messages.0.content",
    "completions": "prompt",
    "responses": "input",
    "messages": "messages.0.content",
}


def tier(**fields: Any) -> Json:
    return {"tiers": {"default": fields}}


OPEN: Json = tier(
    sanitise="off",
    policy="flag",
    max_tokens_default=None,
    max_tokens_cap=None,
    temperature=None,
    top_p=None,
    repetition_penalty=None,
    max_messages=None,
    max_message_chars=None,
)


def sent(road: Road) -> Json:
    """The body that the engine got last."""
    body: Json = json.loads(road.engine.requests[-1].body)
    return body


# ---- markup


@DIALECTS
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_stripped_is_told(dialect: str, stream: bool, told: Told) -> None:
    road = Road(say("Well."))
    reply = await road.post(dialect, ask(dialect, f"a{SCRIPT}b", stream=stream))
    where = STRIPPED[dialect]
    assert reply.headers[CHANGED] == f"{where};stripped"
    assert SCRIPT not in road.engine.requests[-1].body.decode()
    call, end = told.calls[-1]
    assert record_of(call, end, road.parts.memory).changes == f"{where};stripped"
    assert road.figures()['gateway_request_changes_total{how="stripped"}'] == 1


@DIALECTS
async def test_a_tier_may_only_flag_markup_or_leave_it(dialect: str) -> None:
    text = f"a{SCRIPT} javascript:b \U000e0061"
    for mode, header in (("flag", f"{STRIPPED[dialect]};flagged"), ("off", None)):
        road = Road(say("Well."), **tier(sanitise=mode))
        reply = await road.post(dialect, ask(dialect, text))
        assert reply.headers.get(CHANGED) == header
        assert text in json.dumps(sent(road), ensure_ascii=False)


async def test_clean_requests_tell_nothing(told: Told) -> None:
    road = Road(say("Well."))
    reply = await road.post("chat", ask("chat", "List<Object> items = load(); Why?"))
    assert (reply.status, reply.headers.get(CHANGED)) == (200, None)
    call, end = told.calls[-1]
    assert record_of(call, end, road.parts.memory).changes == ""
    assert "gateway_request_changes_total" not in str(road.figures())


FUNCTION = {
    "name": "write",
    "description": f"writes {SCRIPT}",
    "parameters": {
        "type": "object",
        "properties": {SCRIPT: {"type": "string", "description": SCRIPT, "enum": [SCRIPT]}},
    },
}
CALL = json.dumps({"text": SCRIPT})
WITH_TOOLS: dict[str, Json] = {
    "chat": {
        "tools": [{"type": "function", "function": FUNCTION}],
        "messages": [
            {"role": "user", "content": "go"},
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": SCRIPT,
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "write", "arguments": CALL},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": f"6\t{SCRIPT}\n9\t</body>"},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": SCRIPT}]},
        ],
    },
    "messages": {
        "max_tokens": 10,
        "tools": [
            {
                "name": "write",
                "description": f"writes {SCRIPT}",
                "input_schema": FUNCTION["parameters"],
            }
        ],
        "messages": [
            {"role": "user", "content": "go"},
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "c1", "name": "write", "input": {"text": SCRIPT}}
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": SCRIPT},
                    {
                        "type": "tool_result",
                        "tool_use_id": "c1",
                        "content": [{"type": "text", "text": SCRIPT}],
                    },
                    {
                        "type": "document",
                        "source": {"type": "text", "media_type": "text/plain", "data": SCRIPT},
                    },
                ],
            },
        ],
    },
    "responses": {
        "tools": [{"type": "function", **FUNCTION}],
        "input": [
            {"role": "user", "content": "go"},
            {"type": "function_call", "call_id": "c1", "name": "write", "arguments": CALL},
            {"type": "function_call_output", "call_id": "c1", "output": SCRIPT},
            {
                "type": "function_call_output",
                "call_id": "c1",
                "output": [{"type": "input_text", "text": SCRIPT}],
            },
        ],
    },
}


def strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)


@pytest.mark.parametrize("dialect", list(WITH_TOOLS))
async def test_what_tools_are_told_and_tell_stays(dialect: str) -> None:
    body, road = WITH_TOOLS[dialect], Road(say("Well."))
    reply = await road.post(dialect, body)
    assert (reply.status, reply.headers.get(CHANGED)) == (200, None)
    before, after = list(strings(body)), list(strings(sent(road)))
    assert [text for text in before if "script" in text] == [t for t in after if "script" in t]


async def test_code_in_a_message_stays() -> None:
    text = f"My `{SCRIPT}` page:\n```html\n{SCRIPT}\njavascript:void(0)\n```\nWhy, {SCRIPT}?"
    road = Road(say("Well."))
    await road.post("chat", ask("chat", text))
    assert sent(road)["messages"][0]["content"] == text.replace(f", {SCRIPT}", ", ")


# ---- bounds


@pytest.mark.parametrize(
    ("dialect", "fields", "header"),
    [
        ("chat", {"max_tokens": 32_000}, "max_tokens;clamped"),
        ("chat", {"max_completion_tokens": 32_000}, "max_completion_tokens;clamped"),
        (
            "chat",
            {"max_tokens": 7, "max_completion_tokens": 1025},
            "max_tokens;clamped, max_completion_tokens;clamped",
        ),
        ("chat", {"max_tokens": 5, "min_tokens": 9}, "min_tokens;clamped"),
        ("chat", {"max_tokens": 5, "thinking_token_budget": 9}, "thinking_token_budget;clamped"),
        ("chat", {"max_tokens": 5, "thinking_token_budget": -1}, None),
        ("chat", {"max_tokens": 1024}, None),
        ("chat", {}, None),
        ("completions", {"max_tokens": 1025}, "max_tokens;clamped"),
        ("responses", {"max_output_tokens": 1025}, "max_output_tokens;clamped"),
        ("messages", {"max_tokens": 1025}, "max_tokens;clamped"),
        (
            "messages",
            {"max_tokens": 9000, "thinking": {"type": "enabled", "budget_tokens": 8000}},
            "thinking;dropped, max_tokens;clamped",
        ),
        (
            "chat",
            {"messages": [{"role": "user", "content": "<end_of_turn>"}]},
            "messages.0;escaped",
        ),
        ("messages", {"system": "<bos>"}, "system;escaped"),
    ],
)
async def test_what_is_bounded_is_told(dialect: str, fields: Json, header: str | None) -> None:
    road = Road(say("Well."))
    body = {**ask(dialect, "hi", max_tokens=None), **fields}
    if dialect == "responses":
        del body["max_tokens"]
    reply = await road.post(dialect, body)
    assert (reply.status, reply.headers.get(CHANGED)) == (200, header)


async def test_a_budget_of_thoughts_stays_below_the_answers_bound() -> None:
    road = Road(say("Well."), **tier(max_tokens_cap=4096))
    thinking = {"type": "enabled", "budget_tokens": 8000}
    reply = await road.post("messages", ask("messages", "hi", max_tokens=9000, thinking=thinking))
    assert reply.headers[CHANGED] == "thinking.budget_tokens;clamped, max_tokens;clamped"
    assert sent(road)["thinking"] == {"type": "enabled", "budget_tokens": 4095}
    # what never went together is the engine's to refuse
    wrong = {"type": "enabled", "budget_tokens": 2000}
    await road.post("messages", ask("messages", "hi", max_tokens=2000, thinking=wrong))
    assert sent(road)["thinking"] == wrong


@DIALECTS
async def test_a_message_that_is_cut_is_told(dialect: str) -> None:
    road = Road(say("Well."), **tier(max_message_chars=10, too_long="truncate"))
    reply = await road.post(dialect, ask(dialect, "x" * 50))
    assert reply.headers[CHANGED] == f"{STRIPPED[dialect]};truncated"


async def test_a_message_that_is_too_long_names_setting_and_tier() -> None:
    road = Road(max_in_flight=8)
    refused = await road.post("chat", ask("chat", "x" * 8193))
    assert refused.json()["error"]["message"] == (
        "A message holds at most 8192 characters (max_message_chars of tier default)."
    )
    many = {"messages": [{"role": "user", "content": "x"}] * 51}
    assert (await road.post("chat", many)).json()["error"]["message"] == (
        "Send at most 50 messages or prompts, not 51 (max_messages of tier default)."
    )
    none: Json = {"messages": []}
    assert (await road.post("chat", none)).status == 400


@DIALECTS
async def test_an_error_tells_what_was_changed_before_it(dialect: str) -> None:
    refused = await Road().post(dialect, ask(dialect, f"I hate you {SCRIPT}"))
    assert (refused.status, refused.headers[CHANGED]) == (400, f"{STRIPPED[dialect]};stripped")


def test_a_list_of_changes_is_bounded_and_plain() -> None:
    many = [Change(f"messages.{n}", "stripped") for n in range(20)]
    text = listed([*many, *many])
    assert text.startswith("messages.0;stripped, messages.1;stripped, ")
    assert text.endswith("messages.15;stripped, +4")
    assert listed([Change("a\r\nb", "dropped"), Change("x" * 65, "dropped")]) == "+2"


# ---- terms


@DIALECTS
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("mode", ["flag", "off"])
async def test_a_tier_may_only_note_terms_or_not_even_that(
    dialect: str, stream: bool, mode: str, told: Told
) -> None:
    pieces = ["I ", "ha", "te", " thing", "s \\", "u", "002e"]
    road = Road(say(*pieces), **tier(policy=mode))
    reply = await road.post(dialect, ask(dialect, "Is violence illegal?", stream=stream))
    assert reply.status == 200
    call, end = told.calls[-1]
    assert end.outcome == "ok"
    if stream:
        assert streamed(dialect, events(reply.body)) == "".join(pieces)
        assert call.answer.held_characters == 0
    else:
        assert whole(dialect, reply.json()) == "".join(pieces)
    noted = mode == "flag"
    assert [tuple(d) for d in call.decisions] == [
        ("input", "harm", "flag"),
        ("output", "harm", "flag"),
    ] * noted
    record = record_of(call, end, road.parts.memory)
    assert record.flagged == ("input:harm, output:harm" if noted else "")
    count = 'gateway_filter_matches_total{action="flag",category="harm",direction="output"}'
    assert road.figures().get(count) == (1 if noted else None)


@pytest.mark.parametrize("mode", ["flag", "off"])
@pytest.mark.parametrize("logprobs", [False, True])
async def test_a_stream_of_a_tier_that_only_notes_has_the_engines_own_bytes(
    mode: str, logprobs: bool
) -> None:
    pieces = ["I hate", " you \\u00", "e9 ", "\u00e9\u200d", "."]
    more = {"logprobs": True, "top_logprobs": 2} if logprobs else {}
    body = ask("chat", "x", stream=True, stream_options={"include_usage": True}, **more)
    road = Road(say(*pieces), **tier(policy=mode))
    reply = await road.post("chat", body)
    script = await road.engine.send(road.engine.requests[-1])
    own = b"".join([part async for part in script.chunks()])
    assert reply.body == own


HOW = "(GATEWAY_POLICY_FILE), or by `policy` of the key's tier."


@DIALECTS
@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_says_who_changes_it_and_no_term(dialect: str, stream: bool) -> None:
    refused = await Road().post(dialect, ask(dialect, "I hate you", stream=stream))
    words = refused.json()["error"]["message"]
    assert words.startswith("The request was blocked by the content policy (category harm).")
    assert words.endswith(HOW)
    assert "hate" not in words
    cut = await Road(say("I ", "hate", " you")).post(dialect, ask(dialect, "x", stream=stream))
    found = events(cut.body) if stream else [cut.json()]
    told = [d for d in found if isinstance(d, dict) and d.get("code") == "RESPONSE_FILTERED"]
    assert told
    assert all(d["message"].startswith("The answer was blocked by") for d in told)
    assert all(d["message"].endswith(HOW) for d in told)
    if stream:
        assert ending(dialect, found)[0] in ("content_filter", "refusal")


# ---- the tier that is open


@DIALECTS
async def test_sampling_and_length_are_left_to_the_model(dialect: str) -> None:
    road = Road(say("Well."), max_model_len=2048, **OPEN)
    body = ask(dialect, "hi")
    body.pop("max_tokens", None)
    reply = await road.post(dialect, body)
    assert (reply.status, reply.headers.get(CHANGED)) == (200, None)
    added = {"messages": {"max_tokens": 2048}, "responses": {"store": False}}
    assert sent(road) == {**body, **added.get(dialect, {})}


@DIALECTS
async def test_an_answer_may_be_as_long_as_the_context(dialect: str) -> None:
    road = Road(say("Well."), max_model_len=2048, **OPEN)
    name = "max_output_tokens" if dialect == "responses" else "max_tokens"
    for wanted, bound in ((2048, 2048), (32_000, 2048), (2**31 - 1, 2048), (9, 9)):
        body = {**ask(dialect, "hi"), name: wanted}
        reply = await road.post(dialect, body)
        assert (reply.status, sent(road)[name]) == (200, bound)
        header = f"{name};clamped" if wanted > bound else None
        assert reply.headers.get(CHANGED) == header


async def test_where_the_context_is_not_known_the_clients_bound_goes_on() -> None:
    road = Road(say("Well."), **OPEN)
    await road.post("messages", ask("messages", "hi", max_tokens=32_000))
    assert sent(road)["max_tokens"] == 32_000
    reply = await road.post("messages", {"messages": [{"role": "user", "content": "hi"}]})
    assert (reply.status, reply.json()["error"]["param"]) == (400, "max_tokens")


@pytest.mark.parametrize("dialect", [name for name in PATHS if name != "completions"])
async def test_agents_send_long_and_many_messages(dialect: str) -> None:
    road = Road(say("Well."), **OPEN)
    turns = [{"role": role, "content": "x" * 20_000} for role in ("user", "assistant")] * 40
    body = {**ask(dialect, ""), "input" if dialect == "responses" else "messages": turns}
    reply = await road.post(dialect, body)
    assert (reply.status, reply.headers.get(CHANGED)) == (200, None)
