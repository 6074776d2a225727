"""Every text of a request is judged, cleaned and counted, wherever a dialect keeps it.

The table is made from sample bodies: each string in each of them is replaced, one after the other,
and so is what stands around it. What is not treated as text is told here, field by field.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from gemma_gateway.core.call import Request
from gemma_gateway.core.dialect import Dialect
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.safety import input as incoming
from gemma_gateway.safety.policy import Policy
from gemma_gateway.settings import Tier
from gemma_gateway.wire.anthropic.count_tokens import CountTokens
from gemma_gateway.wire.anthropic.messages import Messages
from gemma_gateway.wire.openai.chat import Chat
from gemma_gateway.wire.openai.completions import Completions
from gemma_gateway.wire.openai.responses import Responses
from gemma_gateway.wire.place import place
from gemma_gateway.wire.vllm.tokenize import Tokenize
from tests.road import read

Json = dict[str, Any]
Path = tuple[str | int, ...]
POLICY = Policy.load()
TIER = Tier()

# Fields of the body that are parameters or names: models never see them.
PARAMETERS = {"model", "user", "metadata", "safety_identifier", "prompt_cache_key", "service_tier"}
PARAMETERS |= {"reasoning_effort", "reasoning", "truncation", "include", "thinking", "bad_words"}
# Short strings that name things, in messages and parts (not in calls, tools and schemas).
NAMES = {"id", "type", "status", "detail", "media_type", "format", "cache_control", "call_id"}
NAMES |= {"tool_call_id", "tool_use_id"}
OPAQUE = {"data", "file_data", "signature", "encrypted_content"}  # base64 and the like
BINDING = {"response_format", "structured_outputs", "stop", "stop_sequences"}  # never rewritten
MESSAGES = {"messages", "input", "system", "instructions", "prompt", "suffix"}

IMAGE = "data:image/png;base64,AAAA"
SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "description": "b"}}}
FUNCTION = {"name": "f", "description": "g", "parameters": SCHEMA}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"q": "r"}'}}
LOOSE = {"id": "c2", "type": "function", "function": {"name": "f", "arguments": {"q": ["r"]}}}
PARTS = [
    {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
    {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}, "note": "b"},
    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    {"type": "file", "file": {"filename": "c", "file_data": IMAGE}},
    {"type": "refusal", "refusal": "d"},
    {"type": "thinking", "thinking": "e"},
    {"type": "tool_reference", "name": "f"},
    "g",
]
CHAT: Json = {
    "messages": [
        {"role": "system", "content": "a", "name": "b"},
        {"role": "user", "content": PARTS, "tomorrow": {"x": ["c", {"y": "d"}]}},
        {
            "role": "assistant",
            "content": "e",
            "reasoning": "f",
            "reasoning_content": "g",
            "refusal": "h",
            "tool_calls": [CALL, LOOSE, {"id": "c3", "type": "custom", "custom": {"input": "i"}}],
            "function_call": {"name": "j", "arguments": "k"},
            "reasoning_details": [{"type": "l", "data": "m"}],
            "audio": {"id": "n"},
        },
        {"role": "tool", "tool_call_id": "c1", "content": "o"},
        {"role": "developer", "content": "p", "tools": [{"function": FUNCTION}]},
    ],
    "tools": [{"type": "function", "function": FUNCTION}],
    "tool_choice": {"type": "function", "function": {"name": "q"}},
    "functions": [FUNCTION],
    "documents": [{"title": "r", "text": "s"}],
    "chat_template_kwargs": {"t": "u"},
    "response_format": {"type": "json_schema", "json_schema": {"name": "v", "schema": SCHEMA}},
    "structured_outputs": {"choice": ["w"]},
    "stop": ["x"],
}
ITEMS = [
    {"role": "user", "content": "a", "tomorrow": {"x": ["b"]}},
    {
        "type": "message",
        "id": "m1",
        "status": "completed",
        "role": "assistant",
        "content": [
            {"type": "output_text", "text": "c", "annotations": [{"title": "d"}]},
            {"type": "refusal", "refusal": "e"},
        ],
        "phase": "commentary",
    },
    {"role": "user", "content": [{"type": "input_image", "image_url": IMAGE, "detail": "auto"}]},
    {"role": "user", "content": [{"type": "input_file", "filename": "f", "file_data": IMAGE}]},
    {"type": "function_call", "call_id": "1", "name": "g", "arguments": '{"q": "h"}'},
    {"type": "function_call_output", "call_id": "1", "output": "i"},
    {"type": "function_call_output", "call_id": "1", "output": [{"type": "text", "text": "j"}]},
    {
        "type": "reasoning",
        "id": "r",
        "summary": [{"type": "summary_text", "text": "k"}],
        "content": [{"type": "reasoning_text", "text": "l"}],
    },
    {"type": "custom_tool_call", "call_id": "2", "name": "m", "input": "n"},
    {"type": "custom_tool_call_output", "call_id": "2", "output": "o"},
    {"type": "mcp_call", "name": "p", "arguments": "q", "server_label": "r", "error": "s"},
    {"type": "of_tomorrow", "deep": {"er": ["t"]}},
]
RESPONSES: Json = {
    "input": ITEMS,
    "instructions": "u",
    "tools": [{"type": "function", **FUNCTION}],
    "tool_choice": {"type": "function", "name": "v"},
    "text": {"format": {"type": "json_schema", "name": "w", "schema": SCHEMA}},
    "chat_template_kwargs": {"x": "y"},
    "structured_outputs": {"choice": ["z"]},
    "stop": ["a"],
}
BLOCKS = [
    {"type": "text", "text": "a", "citations": [{"type": "b", "cited_text": "c"}]},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
    {"type": "document", "title": "d", "source": {"type": "text", "data": "e"}},
    {"type": "search_result", "source": "f", "title": "g", "content": [{"text": "h"}]},
    {"type": "tool_use", "id": "t1", "name": "i", "input": {"id": "j", "url": ["k"]}},
    {"type": "tool_result", "tool_use_id": "t1", "content": "l"},
    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "m"}]},
    {"type": "thinking", "thinking": "n", "signature": "AAAA"},
    {"type": "redacted_thinking", "data": "AAAA"},
    {"type": "tool_reference", "tool_name": "o"},
    {"type": "of_tomorrow", "deep": {"er": ["p"]}},
]
TURNS: Json = {
    "system": [{"type": "text", "text": "q"}],
    "messages": [
        {"role": "user", "content": "r", "tomorrow": {"x": ["s"]}, "name": "t"},
        {"role": "assistant", "content": BLOCKS},
    ],
    "tools": [{"name": "u", "description": "v", "input_schema": SCHEMA}],
    "tool_choice": {"type": "tool", "name": "w"},
    "chat_template_kwargs": {"x": "y"},
}
ANTHROPIC = {
    **TURNS,
    "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    "stop_sequences": ["z"],
}
COMPLETIONS: Json = {
    "prompt": ["a", "b"],
    "suffix": "c",
    "response_format": {"type": "json_schema", "json_schema": {"name": "d", "schema": SCHEMA}},
    "structured_outputs": {"choice": ["e"]},
    "stop": "f",
}
TOKENIZE = {key: value for key, value in CHAT.items() if key not in (BINDING | {"chat_template"})}
SAMPLES: list[tuple[Dialect, Json]] = [
    (Chat(), CHAT),
    (Completions(), COMPLETIONS),
    (Responses(), RESPONSES),
    (Messages(), ANTHROPIC),
    (CountTokens(), TURNS),
    (Tokenize(), TOKENIZE),
    (Tokenize(), {"prompt": "a"}),
]


def strings(node: Any, path: Path = ()) -> Iterator[Path]:
    """The place of every string below a node."""
    if isinstance(node, str):
        yield path
    elif isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from strings(value, (*path, key))


def objects(node: Any, path: Path = ()) -> Iterator[Path]:
    """The place of every object below a node."""
    if isinstance(node, dict | list):
        if isinstance(node, dict):
            yield path
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from objects(value, (*path, key))


def at(node: Any, path: Path) -> Any:
    for step in path:
        node = node[step]
    return node


def is_text(path: Path) -> bool:
    """Whether a string that stands there is text, by what this file tells."""
    if path[0] in PARAMETERS:
        return False
    free = {"tools", "functions", "tool_choice", "documents", "chat_template_kwargs", "tool_calls"}
    free |= {"function_call", "arguments", "parameters", "input_schema", "tomorrow", "text"}
    free |= {"reasoning_details", "audio", "output_config", *BINDING}
    inside = set(path[:-1])
    if inside & free or ("input" in path[1:-1]):
        return True
    if path[-1] == "data" and "source" in inside:
        return False  # told on its own: base64, or a plain document
    if (path[-1] == "url" and "image_url" in inside) or path[-1] == "image_url":
        return False
    return path[-1] not in NAMES | OPAQUE


ROWS = [
    pytest.param(dialect, sample, path, id=f"{dialect.name}-{'.'.join(map(str, path))}")
    for dialect, sample in SAMPLES
    for path in strings(sample)
]
TEXTS = [row for row in ROWS if is_text(row.values[2])]  # type: ignore[arg-type]
EVERY_TEXT = pytest.mark.parametrize(("dialect", "sample", "path"), TEXTS)


def take(dialect: Dialect, body: Json) -> Request:
    switches = {f"chat_template_kwargs.{name}" for name in body.get("chat_template_kwargs", ())}
    every = switches.union(body)  # what goes on to the engine, whatever that is
    return read(json.dumps(body).encode(), dialect, TIER, 64, frozenset(every))


def with_text(sample: Json, path: Path, text: str) -> Json:
    body: Json = json.loads(json.dumps(sample))  # unlike a deep copy, no two fields share an object
    at(body, path[:-1])[path[-1]] = text
    return body


@pytest.mark.parametrize(("dialect", "sample"), SAMPLES)
def test_the_samples_themselves_pass(dialect: Dialect, sample: Json) -> None:
    assert incoming.check(POLICY, take(dialect, sample).messages) == set()


@EVERY_TEXT
def test_every_text_is_judged(dialect: Dialect, sample: Json, path: Path) -> None:
    body = with_text(sample, path, "I hate it")
    with pytest.raises(GatewayError) as caught:
        incoming.check(POLICY, take(dialect, body).messages)
    # Where only words of the protocol may stand, another word is no valid request.
    words_only = {"role"} if dialect.name != "chat" else {"role", "type"}
    expected = {Code.CONTENT_FILTERED}
    expected |= {Code.VALIDATION_ERROR} if path[-1] in words_only else set()
    assert caught.value.code in expected
    assert str(caught.value.param).split(".")[0] == path[0]


def is_spoken(sample: Json, path: Path) -> bool:
    """Whether it is what a message says: no name, thought or document, nothing of a tool's."""
    if path[0] not in ("messages", "input", "system"):
        return path[0] in ("prompt", "suffix", "instructions")
    if path[0] == "system" or len(path) == 1:
        return len(path) == 1 or path[2:] == ("text",)
    message, (_, _, *within) = sample[path[0]][path[1]], path
    if message.get("role") in ("tool", "function") or message.get("type", "message") != "message":
        return False
    if within[0] != "content" or len(within) > 3:
        return False
    return len(within) < 3 or within[2] in ("text", "refusal")


@EVERY_TEXT
def test_what_messages_say_is_cleaned_and_nothing_else(
    dialect: Dialect, sample: Json, path: Path
) -> None:
    body = with_text(sample, path, "a<script>b</script>")
    try:
        clean = take(dialect, body).body
    except GatewayError:
        assert path[-1] in ("role", "type")
        return
    assert at(clean, path) == ("a" if is_spoken(sample, path) else "a<script>b</script>")


@EVERY_TEXT
def test_every_text_of_a_message_counts(dialect: Dialect, sample: Json, path: Path) -> None:
    if path[0] not in MESSAGES:
        return
    fits = with_text(sample, path, "x" * 8000)
    if path[-1] not in ("role", "type"):
        assert take(dialect, fits)
    with pytest.raises(GatewayError) as caught:
        take(dialect, with_text(sample, path, "x" * 8193))
    assert caught.value.code is Code.VALIDATION_ERROR


@pytest.mark.parametrize(
    ("dialect", "sample", "path"),
    [row for row in ROWS if row.values[2][-1] in NAMES],  # type: ignore[index]
)
def test_a_name_of_any_length_is_a_text(dialect: Dialect, sample: Json, path: Path) -> None:
    with pytest.raises(GatewayError):
        incoming.check(POLICY, take(dialect, with_text(sample, path, "hate " * 40)).messages)


FREE = [
    pytest.param(dialect, sample, path, id=f"{dialect.name}-{'.'.join(map(str, path))}")
    for dialect, sample in SAMPLES
    for path in objects(sample)
    if path
    and path[0] not in ("metadata",)
    and is_text((*path, "id"))
    and not (path[0] == "text" and len(path) == 1)
    and not (path[0] == "output_config" and len(path) == 1)
]


@pytest.mark.parametrize(("dialect", "sample", "path"), FREE)
def test_keys_of_free_form_are_judged(dialect: Dialect, sample: Json, path: Path) -> None:
    body = json.loads(json.dumps(sample))
    at(body, path)["hate"] = 1
    with pytest.raises(GatewayError) as caught:
        incoming.check(POLICY, take(dialect, body).messages)
    strict = path == ("structured_outputs",)  # takes only what vLLM knows
    assert caught.value.code is (Code.VALIDATION_ERROR if strict else Code.CONTENT_FILTERED)


ALONE = [
    pytest.param(key, value, id=key)
    for key, value in CHAT["messages"][2].items()
    if key not in ("role", "content", "audio", "reasoning_details")
]


@pytest.mark.parametrize("content", ["absent", None, "", []])
@pytest.mark.parametrize(("key", "value"), ALONE)
def test_a_message_without_content_is_read(key: str, value: Any, content: Any) -> None:
    """OpenAI lets content out beside tool calls, and so do clients that drop what is null."""
    kept = {} if content == "absent" else {"content": content}
    message = {"role": "assistant", **kept, key: value}
    for path in strings(value) if not isinstance(value, str) else [()]:
        for text, seen in (("I hate it", Code.CONTENT_FILTERED), ("x" * 8193, None)):
            body = {"messages": [with_text(message, (key, *path), text)]}
            with pytest.raises(GatewayError) as caught:
                incoming.check(POLICY, take(Chat(), body).messages)
            assert caught.value.code is (seen or Code.VALIDATION_ERROR)


@pytest.mark.parametrize("characters", [5348, 8100])
def test_arguments_count_once(characters: int) -> None:
    text = "line\n" * 2000
    content = json.dumps({"path": "a.txt", "content": text})[: characters - 2] + '"}'
    call = {"id": "c1", "type": "function", "function": {"name": "write", "arguments": content}}
    body = {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}
    assert take(Chat(), body).input_length < characters + 30
    items = [{"type": "function_call", "call_id": "1", "name": "write", "arguments": content}]
    assert take(Responses(), {"input": items}).input_length < characters + 30


@pytest.mark.parametrize(
    ("sent", "read_as"),
    [
        (r'{"q": "h\u0061te"}', '{"q": "hate"}'),
        (r'{"q": "h\\u0061te"}', r'{"q": "h\\u0061te"}'),
        (r'{"q": "\\\u0061"}', r'{"q": "\\a"}'),
        (r'{"q": "\ud83d\ude00"}', '{"q": "😀"}'),
        (r'{"q": "\ud83d \ude00"}', r'{"q": "\ud83d \ude00"}'),
        (r'{"q": "\u0061\ude00"}', r'{"q": "a\ude00"}'),
        (r'{"q": "\n\u000a\u0022\u005c\u00e9"}', r'{"q": "\n\u000a\u0022\u005cé"}'),
        (r'{"id": 123456789012345678901234567890.10}', None),
        (r'{"q": "\u00', None),
        ("\\", None),
    ],
)
def test_arguments_are_read_as_templates_read_them(sent: str, read_as: str | None) -> None:
    """Escapes go, and nothing else changes: neither spaces nor long numbers."""
    call = {"type": "function", "function": {"name": "f", "arguments": sent}}
    body = {"messages": [{"role": "assistant", "tool_calls": [call]}]}
    got = take(Chat(), body).body["messages"][0]["tool_calls"][0]["function"]["arguments"]
    assert got == (sent if read_as is None else read_as)


def test_what_cannot_be_cut_is_refused_where_longer_messages_are_cut() -> None:
    call = {"function": {"name": "f", "arguments": {f"key {i} " + "x" * 200: 1 for i in range(60)}}}
    body = {"messages": [{"role": "assistant", "tool_calls": [call]}]}
    with pytest.raises(GatewayError) as caught:
        read(json.dumps(body).encode(), Chat(), Tier(too_long="truncate"), 64, frozenset())
    assert caught.value.param == "messages.0"


def test_texts_beside_the_messages_are_bounded() -> None:
    for field, value in (("tools", [{"a": "x" * 600_000}]), ("documents", ["x" * 600_000])):
        with pytest.raises(GatewayError) as caught:
            take(Chat(), {"messages": [{"role": "user", "content": "x"}], field: value})
        assert (caught.value.code, caught.value.param) == (Code.VALIDATION_ERROR, field)
        assert "524288" in caught.value.message


def test_paths_are_put_together_when_they_are_named() -> None:
    assert place("messages.0") == "messages.0"
    assert place((("messages.0", "content"), 3)) == "messages.0.content.3"
