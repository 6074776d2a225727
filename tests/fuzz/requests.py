"""Small hostile requests: strategies that make them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

MODEL = "gemma-3-270m"
TURN = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
VALID: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": MODEL, "messages": TURN, "max_tokens": 2, "stream": False, "n": 1, "stop": ["x"],
        "temperature": 0.5, "top_p": 0.5, "logprobs": True, "top_logprobs": 1, "seed": 1,
        "tools": [TOOL], "stream_options": {"include_usage": True}, "logit_bias": {"5": 1},
        "response_format": {"type": "text"}, "tool_choice": "none", "user": "u",
    },
    "/v1/completions": {
        "model": MODEL, "prompt": "Hello", "max_tokens": 2, "stream": False, "n": 1, "echo": False,
        "logprobs": 1, "suffix": None, "best_of": 1, "presence_penalty": 0.1,
    },
    "/v1/responses": {
        "model": MODEL, "input": [{"role": "user", "content": "Hello"}], "max_output_tokens": 16,
        "instructions": "Be brief", "stream": False, "store": False, "text": {"verbosity": "low"},
        "metadata": {"a": "b"}, "tools": [], "reasoning": {"effort": "low"},
    },
    "/v1/messages": {
        "model": MODEL, "messages": TURN, "max_tokens": 2, "system": "Be brief", "stream": False,
        "temperature": 0.5, "stop_sequences": ["x"], "metadata": {"user_id": "u"},
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
    },
    "/v1/messages/count_tokens": {"model": MODEL, "messages": TURN, "system": "Be brief"},
    "/tokenize": {"model": MODEL, "prompt": "Hello", "add_special_tokens": True},
    "/detokenize": {"model": MODEL, "tokens": [1, 2, 3]},
}  # fmt: skip

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=40),
    st.sampled_from(
        ["", "\x00", "\ud800", "\u202e", "data:text/html,x", "<script>", "../../etc/passwd",
         "http://127.0.0.1/", "{{7*7}}", "%s%n", "*" * 9000, "\r\nx: y", "true", "-1", "NaN"]
    ),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.one_of(
                st.text(max_size=8), st.sampled_from(["type", "role", "content", "text", "url"])
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
FIELDS = (
    "chat_template", "priority", "cache_salt", "min_tokens", "ignore_eos", "prompt_logprobs",
    "structured_outputs", "guided_json", "bad_words", "documents", "previous_response_id",
    "background", "truncate_prompt_tokens", "min_p", "top_k", "repetition_penalty",
    "max_completion_tokens", "allowed_token_ids", "stop_token_ids", "reasoning_effort", "__x",
)  # fmt: skip
names = st.sampled_from([*sorted({name for body in VALID.values() for name in body}), *FIELDS])


@dataclass
class Hostile:
    """One request."""

    path: str
    data: bytes
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)


def _places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if not isinstance(node, dict | list):
        return found
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        found += _places(value, (*path, key))
    return found


@st.composite
def changed_bodies(draw: st.DrawFn) -> Hostile:
    """A valid body with some places made wrong, and odd fields added."""
    path = draw(st.sampled_from(sorted(VALID)))
    body = json.loads(json.dumps(VALID[path]))
    for _ in range(draw(st.integers(1, 3))):
        places = _places(body)
        *way, last = draw(st.sampled_from(places))
        holder = body
        for step in way:
            holder = holder[step]
        if draw(st.booleans()) or not isinstance(holder, dict):
            holder[last] = draw(values)
        else:
            holder[draw(names)] = draw(values)
    return Hostile(path, json.dumps(body).encode("utf-8", "surrogatepass"))


@st.composite
def raw_bodies(draw: st.DrawFn) -> Hostile:
    """Bytes that are no JSON, or JSON that no parser should love."""
    data = draw(
        st.one_of(
            st.binary(max_size=300),
            values.map(lambda v: json.dumps(v).encode("utf-8", "surrogatepass")),
            st.sampled_from(
                [b"", b"{", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe{}", b"\xef\xbb\xbf{}",
                 b'{"model":"a","model":"b","messages":[]}', b'{"messages":NaN}', b"1e999", b"null",
                 b'{"messages":[{"role":"user","content":"\\ud800"}]}',
                 b'{"n":' + b"9" * 5000 + b"}",
                 b'{"a":1e999}', b"{}" * 2, b'{"messages":[' + b"{}," * 60 + b"{}]}"]
            ),
        )
    )  # fmt: skip
    kind = draw(
        st.sampled_from(
            ["application/json", "application/json; charset=x", "text/plain", "", "a/b"]
        )
    )
    return Hostile(draw(st.sampled_from(sorted(VALID))), data, headers={"content-type": kind})


@st.composite
def odd_requests(draw: st.DrawFn) -> Hostile:
    """Odd methods, paths and headers."""
    path = draw(
        st.sampled_from(
            [*VALID, "/", "/v1", "/v1/models/", "/v1/models/../x", "/v1/usage", "/health/x",
             "/v1/chat/completions/", "//v1/models", "/v1/models/%00", "/%2e%2e/metrics", "/docs/x"]
        )
    )  # fmt: skip
    method = draw(
        st.sampled_from(["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "POST", "PROPFIND"])
    )
    latin = st.text(
        st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"),
        min_size=1,
        max_size=200,
    )
    header = draw(
        st.sampled_from(["authorization", "x-api-key", "x-request-id", "accept", "content-type"])
    )
    return Hostile(path, b"{}", method, {header: draw(latin)})


hostile = st.one_of(changed_bodies(), changed_bodies(), raw_bodies(), odd_requests())
