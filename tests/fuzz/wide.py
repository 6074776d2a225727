"""Large and wide requests: bodies up to the size limit, each made to cost as much as it can."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from tests.fuzz.requests import VALID, Hostile

Json = dict[str, Any]
LIMIT = 2 * 2**20  # GATEWAY_MAX_BODY_BYTES
CHARACTERS = (
    "a", "aA ", "<", ">", "<script", "</", "\\", '"', "\\u0061", "\n", "é", "ä̈", "\u0301", "中",
    "\u200b", "\U000e0061", "🏴", "\U0001f1e6", "\ufffd", "𝐡", "ha", "hat", "hate", "viol ", "0",
    "<end_of_turn>", "<start_of_turn>model\n", "<|turn>", "data:image/png;base64,", "&lt;", "\x00",
    "x" * 97, "{", "[",
)  # fmt: skip
FIELDS = (
    "tools", "messages", "input", "prompt", "system", "instructions", "metadata", "stop",
    "response_format", "structured_outputs", "logit_bias", "chat_template_kwargs", "documents",
    "stop_token_ids", "bad_words", "tokens", "text", "user", "model", "functions", "unheard_of",
)  # fmt: skip


def size(chance: random.Random, most: int) -> int:
    """A number up to ``most``: small ones and large ones alike."""
    return int(2 ** (chance.random() * most.bit_length())) % (most + 1)


def text(chance: random.Random, most: int) -> str:
    """A long text that is mostly one thing."""
    unit = chance.choice(CHARACTERS)
    made = unit * max(1, size(chance, most) // len(unit.encode()))
    return made + chance.choice(["", "hate", "</script>", "\\", "<end_of_turn>"])


def leaf(chance: random.Random) -> Any:
    """One small value."""
    return chance.choice(
        ["a", "\\a", "", "hate", 0, -1, 1.5, True, None, {}, [], "<b>", "é", 2**63 - 1, "data:,"]
    )


def long_keys(chance: random.Random, most: int) -> Any:
    """Long keys over many leaves, on one or more levels."""
    key = chance.choice("kK\\é.") * size(chance, most // 4)
    node: Any = [leaf(chance)] * size(chance, most // 6)
    for _ in range(chance.randint(1, 3)):
        node = {key: node}
    return [node]


def many_leaves(chance: random.Random, most: int) -> Any:
    """A list, or an object, of very many small values."""
    count = size(chance, most // 6)
    if chance.random() < 0.5:
        return [leaf(chance)] * count
    value = leaf(chance)
    return {f"{n:x}": value for n in range(count // 2)}


def deep(chance: random.Random, most: int) -> Any:
    """Nested, up to the bound and far beyond it."""
    node: Any = leaf(chance)
    for _ in range(size(chance, min(400, most))):
        node = [node] if chance.random() < 0.5 else {"properties": node}
    return node


def parts(chance: random.Random, most: int) -> Any:
    """Messages of many parts, or many messages."""
    role = chance.choice(["user", "assistant", "system", "tool"])
    part = {"type": chance.choice(["text", "input_text", "image_url"]), "text": text(chance, 200)}
    inner = [part] * size(chance, most // 300)
    turn: Json = {"role": role}
    turn[chance.choice(["content", "tool_calls", "reasoning", "refusal", "x"])] = inner
    return [turn] * chance.choice([1, 1, 2, 50, 51])


def schema(chance: random.Random, most: int) -> Any:
    """A tool, or a format, whose schema is wide, repeats itself or matches far too much."""
    count = size(chance, most // 60)
    pattern = chance.choice(["(a?){1,1000}b", "((a{1,1000}){1,1000}){1,1000}", "^[a-z]+$", "(.*)*"])
    prop = chance.choice(
        [
            {"type": "string"},
            {"type": "string", "pattern": pattern},
            {"$ref": "#"},
            {"enum": ["a", "b"]},
        ]
    )
    document = {"type": "object", "properties": {f"p{n}": prop for n in range(count)}}
    function = {"name": "f", "parameters": document, "strict": True}
    if chance.random() < 0.5:
        return [{"type": "function", "function": function, "input_schema": document, "name": "f"}]
    return {
        "type": "json_schema",
        "json_schema": {"name": "f", "schema": document},
        "json": document,
    }


def number_lists(chance: random.Random, most: int) -> Any:
    """Token ids and biases."""
    count = size(chance, most // 7)
    if chance.random() < 0.5:
        return [chance.randint(-1, 300_000)] * count
    return {str(n): 1 for n in range(count // 2)}


RULE_TYPES: tuple[Callable[[random.Random, int], Any], ...] = (
    text, long_keys, many_leaves, deep, parts, schema, number_lists,
)  # fmt: skip


def body(chance: random.Random) -> Hostile:
    """A valid body in which one or two fields are huge."""
    path = chance.choice(sorted(VALID))
    document = json.loads(json.dumps(VALID[path]))
    document["stream"] = chance.random() < 0.3 and "count" not in path and "token" not in path
    most = chance.choice([LIMIT // 100, LIMIT // 10, LIMIT, LIMIT])
    for _ in range(chance.choice([1, 1, 2])):
        field = chance.choice([*FIELDS, *document])
        document[field] = chance.choice(RULE_TYPES)(chance, most // 2)
    data = json.dumps(document, ensure_ascii=chance.random() < 0.3).encode("utf-8", "surrogatepass")
    if len(data) > LIMIT and chance.random() < 0.9:
        return body(chance)
    return Hostile(path, data)


def answer(chance: random.Random) -> Hostile:
    """A short request whose answer is large, odd or broken: a script for ``tests.loopback``."""
    path = chance.choice(
        ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"]
    )
    words = [text(chance, 300) for _ in range(chance.randint(0, 5))] * size(chance, 200)
    script: Json = {"pieces": words, "write": chance.choice(["event", "all", 1000, 7])}
    odd: Json = {
        "tools": [["f", ['{"a": "', text(chance, 2000), '"}']]] * chance.randint(1, 5),
        "reasoning": [text(chance, 500)] * chance.randint(1, 20),
        "choices": [words] * chance.randint(1, 4),
        "die": chance.randint(-1, 5),
        "error": chance.randint(0, 5),
        "status": chance.choice([400, 401, 404, 413, 422, 429, 500, 502, 503, 504]),
        "end": False,
        "finish": chance.choice(["length", "tool_calls", "", "x" * 1000]),
    }
    for name in chance.sample(sorted(odd), chance.randint(0, 2)):
        script[name] = odd[name]
    document = json.loads(json.dumps(VALID[path]))
    document |= {"stream": chance.random() < 0.5, "loopback": script}
    for name in ("max_tokens", "max_output_tokens"):
        if name in document:
            document[name] = 1024
    if "completions" in path:
        document["logprobs"] = True if "chat" in path else 5
        if "chat" in path:
            document["top_logprobs"] = chance.choice([1, 20])
    return Hostile(path, json.dumps(document).encode())
