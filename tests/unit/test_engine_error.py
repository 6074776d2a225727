"""What an engine says of a request: what clients are told of it, and what they aren't."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_gateway.core import overflow
from gemma_gateway.core.errors import Code
from gemma_gateway.engines.scripted import ScriptedReply
from gemma_gateway.wire import engine_error
from tests.calls import DIALECTS, ask, events
from tests.road import Reply, Road, Told

VLLM = "This model's maximum context length is 2048 tokens. However, "
# Of a server: its text, and how many tokens it says are too many for a context of 2048.
TOO_LONG = {
    "vLLM, characters": (
        VLLM + "your prompt contains 9999 characters (more than 8192 characters, which is the "
        "upper bound for 2048 input tokens). Please reduce the length of the input prompt.", 2049,
    ),
    "vLLM, at least": (
        VLLM + "your prompt contains at least 2049 input tokens, which exceeds this limit even "
        "without any output tokens. Please reduce the length of the input prompt.", 2049,
    ),
    "vLLM, counted": (VLLM + "your prompt contains 5000 input tokens, which exceeds this", 5000),
    "vLLM, with the answer": (
        VLLM + "you requested 100 output tokens and your prompt contains at least 2000 input "
        "tokens.", 2100,
    ),
    "vLLM, engine": (
        "The decoder prompt (length 3000) is longer than the maximum model length of 2048. Make "
        "sure that `max_model_len` is no smaller than the number of text tokens.", 3000,
    ),
    "vLLM, engine, no room": (
        "The decoder prompt (length 2048) plus the number of requested output tokens (at least 1) "
        "is longer than the maximum model length of 2048.", 2049,
    ),
    "vLLM, messages": (
        "Input length (3000) exceeds model's maximum context length (2048).", 3000,
    ),
    "vLLM, responses": (
        "The engine prompt length 3000 exceeds the max_model_len 2048. Please reduce prompt.", 3000,
    ),
    "vLLM, older": (
        "'max_tokens' or 'max_completion_tokens' is too large: 2000. This model's maximum context "
        "length is 2048 tokens and your request has 1000 input tokens (2000 > 2048 - 1000).", 2049,
    ),
    "OpenAI": (
        VLLM + "you requested 5000 tokens (1000 in the messages, 4000 in the completion).", 5000,
    ),
    "OpenAI, messages": (VLLM + "your messages resulted in 3000 tokens. Please reduce", 3000),
    "SGLang": (
        "The input (3000 tokens) is longer than the model's context length (2048 tokens).", 3000,
    ),
    "SGLang, total": (
        "Requested token count exceeds the model's maximum context length of 2048 tokens. You "
        "requested a total of 3000 tokens: 2000 tokens from the input messages and 1000 tokens for "
        "the completion.", 3000,
    ),
    "llama.cpp": (
        "request (3000 tokens) exceeds the available context size (2048 tokens), try increasing it",
        3000,
    ),
    "TGI": (
        "`inputs` tokens + `max_new_tokens` must be <= 2048. Given: 2000 `inputs` tokens and 1000 "
        "`max_new_tokens`", 3000,
    ),
    "Anthropic": ("prompt is too long: 3000 tokens > 2048 maximum", 3000),
}  # fmt: skip
# Without figures.
ONLY_TOLD: dict[str, dict[str, Any]] = {
    "OpenAI's code": {"code": "context_length_exceeded", "message": "Too much."},
    "llama.cpp's type": {"type": "exceed_context_size_error", "message": ""},
    "Ollama": {"message": "the input length exceeds the context length"},
    "OpenAI's newer text": {"message": "Your input exceeds the context window of this model."},
}
ELSE = (
    "max_tokens=4096 cannot be greater than max_model_len=2048. Please request fewer tokens.",
    "The context of this conversation is empty.",
    "messages.0: field required",
    "",
)


class Server(Road):
    """A gateway whose engine answers every call in one way, which may be changed."""

    def __init__(self) -> None:
        super().__init__(lambda request: self._answer())
        self._answer: Callable[[], ScriptedReply] = lambda: ScriptedReply([b""], 500)

    async def refuses(
        self, dialect: str, error: Any, status: int = 400, *, stream: bool = False
    ) -> Reply:
        """What a client gets where the engine answers with this error, or bytes."""
        raw = error if isinstance(error, bytes) else json.dumps({"error": error}).encode()
        self._answer = lambda: ScriptedReply([raw], status)
        return await self.post(dialect, ask(dialect, "hi", stream=stream))

    async def breaks_off(self, dialect: str, error: Any) -> Any:
        """The last event of a stream in which the engine tells of this error."""
        raw = json.dumps({"type": "error", "error": error}).encode()
        self._answer = lambda: ScriptedReply.events([b"event: error\ndata: " + raw + b"\n\n"])
        reply = await self.post(dialect, ask(dialect, "hi", stream=True))
        return next(e for e in reversed(events(reply.body)) if e != "[DONE]")


# ---- prompts that are too long


@pytest.mark.parametrize("server", list(TOO_LONG))
def test_every_servers_figures(server: str) -> None:
    text, tokens = TOO_LONG[server]
    found = overflow.find({"message": text})
    assert found is not None
    assert (found.maximum, found.tokens) == (2048, tokens)
    # LiteLLM and others look for OpenAI's sentence, some for its first number.
    assert found.message.startswith("This model's maximum context length is 2048 tokens.")
    assert str(tokens) in found.message


@pytest.mark.parametrize("server", list(ONLY_TOLD))
def test_without_figures(server: str) -> None:
    found = overflow.find(ONLY_TOLD[server])
    assert found is not None
    assert found.maximum == 0
    assert found.message.startswith("This model's maximum context length is exceeded.")


@pytest.mark.parametrize("text", ELSE)
def test_what_is_about_something_else(text: str) -> None:
    assert overflow.find({"message": text}) is None


def check_too_long(dialect: str, reply: Any, maximum: int, tokens: int) -> None:
    assert reply["gateway_code"] == "CONTEXT_LENGTH_EXCEEDED"
    assert reply["type"] == "invalid_request_error"
    if dialect == "messages":
        figures = f": {tokens} tokens > {maximum} maximum" if maximum else ""
        assert reply["message"] == "prompt is too long" + figures
    else:
        assert reply["code"] == "context_length_exceeded"
        assert reply["message"].startswith("This model's maximum context length is ")


@DIALECTS
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_prompt_that_is_too_long(
    dialect: str, stream: bool, status: int, told: Told
) -> None:
    server = Server()
    for text, tokens in TOO_LONG.values():
        said = {"message": text, "type": "BadRequestError", "code": status}
        reply = await server.refuses(dialect, said, status, stream=stream)
        assert (reply.status, reply.headers["x-should-retry"]) == (400, "false")
        check_too_long(dialect, reply.json()["error"], 2048, tokens)
        assert reply.json()["error"]["param"] in ("messages", "prompt", "input")
    for error in ONLY_TOLD.values():
        reply = await server.refuses(dialect, error, status, stream=stream)
        check_too_long(dialect, reply.json()["error"], 0, 0)
    assert {outcome for _, outcome in told.ends} == {"CONTEXT_LENGTH_EXCEEDED"}


@DIALECTS
async def test_a_prompt_that_is_too_long_told_in_the_stream(dialect: str, told: Told) -> None:
    """Other servers' words don't pass there; the figures do."""
    server = Server()
    for text, tokens in TOO_LONG.values():
        doc = await server.breaks_off(dialect, {"message": text, "type": "x", "code": 400})
        check_too_long(dialect, doc["error"], 2048, tokens)
    assert {outcome for _, outcome in told.ends} == {"CONTEXT_LENGTH_EXCEEDED"}


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.failed", "response": {"error": {"code": "context_length_exceeded"}}},
        {"type": "error", "code": "context_length_exceeded", "message": "Too much."},
        {"error": {"message": "prompt is too long: 3 tokens > 2 maximum"}},
        {"error": "the input length exceeds the context length"},
    ],
)
def test_every_shape_of_an_event_that_tells_it(event: dict[str, Any]) -> None:
    assert overflow.find(engine_error.found(event)) is not None


# ---- what may pass


@pytest.mark.parametrize(
    ("raw", "message", "param"),
    [
        (b'{"error": {"message": "too big", "param": "prompt"}}', "too big", "prompt"),
        (b'{"object": "error", "message": "too big", "param": null}', "too big", None),
        (b'{"error": "no such thing"}', "no such thing", None),
        (b'{"error": {"message": ["x"], "param": 5}}', "", None),
        (b'{"error": {"message": "no", "param": "body.messages.0.role"}}', "no", "messages.0.role"),
        (b'{"error": {"message": "no", "param": "function-wrap[log()]"}}', "no", None),
        (b'{"detail": "x"}', "", None),
        (b"[1]", "", None),
        (b'{"error": [1]}', "", None),
        (b"<html>", "", None),
        (b"", "", None),
    ],
)
def test_errors_are_read_whatever_they_look_like(
    raw: bytes, message: str, param: str | None
) -> None:
    error = engine_error.invalid(engine_error.document(raw))
    assert (error.code, error.param) == (Code.VALIDATION_ERROR, param)
    assert error.message == (message or Code.VALIDATION_ERROR.value.message)


KEYS = st.sampled_from(["error", "message", "param", "code", "type", "response"])
LEAVES = st.none() | st.integers() | st.text()


@given(st.recursive(LEAVES, lambda inner: st.dictionaries(KEYS, inner)))
def test_whatever_an_engine_says(doc: Any) -> None:
    error = engine_error.found(doc)
    assert engine_error.invalid(error).status == 400
    engine_error.names_no_model(error)


def test_a_long_message_is_cut() -> None:
    error = engine_error.invalid({"message": "x" * 9000})
    assert len(error.message) == engine_error.MAX_MESSAGE_CHARS


@pytest.mark.parametrize(
    ("code", "passes"),
    [
        ("invalid_value", True),
        ("integer_below_min_value", True),
        ("string_above_max_length", True),
        ("unsupported_parameter", True),
        ("content_filter", True),
        (400, False),
        (None, False),
        ("BadRequestError", False),
        ("internal_secret", False),
        (["invalid_value"], False),
    ],
)
async def test_codes_that_clients_know_pass(code: Any, passes: bool) -> None:
    reply = await Server().refuses("chat", {"message": "no", "code": code})
    error = reply.json()["error"]
    assert error["code"] == (code if passes else None)
    assert (error["gateway_code"], error["message"]) == ("VALIDATION_ERROR", "no")


# ---- what mustn't


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("upstream says /srv/x", "upstream says <path>"),
        ("cannot read '/opt/models/gemma/config.json': no", "cannot read '<path>': no"),
        (r"cannot read C:\models\gemma\x.bin", "cannot read <path>"),
        ("~/models/x is missing", "<path> is missing"),
        ("http://10.0.0.7:8000/v1 refused", "<address> refused"),
        ("10.0.0.7:8000 refused", "<address> refused"),
        (
            "connect to gemma-0.models.default.svc.cluster.local failed",
            "connect to <address> failed",
        ),
        ("connect to gpu-node:8000 failed", "connect to <address> failed"),
        ("localhost:11434 is away", "<address> is away"),
        ("db.example.com:5432 is away", "<address> is away"),
        # what looks alike, and is the caller's business
        ("image/png and/or image/jpeg", None),
        ("Use /v1/chat/completions or /v1/responses.", None),
        ("max_tokens must be 1 to 4096: got 10000", None),
        ("1.5/2.0 is too high", None),
        ("at 12:30 the seed was 17", None),
        ("messages.0.content.1.text is empty", None),
        ("n must be 1 when using greedy sampling, got 2.", None),
        ("version 3.14 has no role 'developer' -- use 'system'", None),
    ],
)
def test_places_do_not_pass(text: str, passes: str | None) -> None:
    assert engine_error.invalid({"message": text}).message == (text if passes is None else passes)


@pytest.mark.parametrize(
    ("text", "param", "says"),
    [
        (
            "thinking_token_budget is set but reasoning_config is not configured. Please set "
            "--reasoning-parser and/or --reasoning-config to use thinking_token_budget.",
            "thinking", "no extended thinking",
        ),
        (
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be '
            "set",
            "tool_choice", "without tools",
        ),
        ('tool_choice="required" requires --tool-call-parser to be set', "tool_choice",
         "without tools"),
        ("Set VLLM_MAX_STOP_STRINGS to allow more.", None, "isn't set up"),
        ("You must set `--enable-prompt-embeds` to input `prompt_embeds`.", None, "isn't set up"),
        ('Traceback (most recent call last):\n  File "/x.py", line 1, in f', None, "isn't set up"),
        ("<class 'KeyError'>: 'x'", None, "isn't set up"),
        ("<vllm.Foo object at 0x7f0011223344>", None, "isn't set up"),
        ("vllm.v1.engine.exceptions.EngineDeadError", None, "isn't set up"),
        ("serving_chat.py:120 failed", None, "isn't set up"),
    ],
)  # fmt: skip
async def test_how_a_server_is_set_up_does_not_pass(
    text: str, param: str | None, says: str
) -> None:
    server = Server()
    error = (await server.refuses("chat", {"message": text})).json()["error"]
    assert (error["gateway_code"], error["param"]) == ("VALIDATION_ERROR", param)
    assert says in error["message"]
    named = await server.refuses("chat", {"message": text, "param": "seed"})
    assert named.json()["error"]["param"] == "seed"


# ---- a server without the route, the model, or a place for us


ABOUT_THE_MODEL: list[Any] = [
    {"message": "The model `x` does not exist. Valid aliases: y.", "type": "NotFoundError"},
    {"message": "no", "code": "model_not_found"},
    {"message": "no", "param": "model"},
    {"message": 'model "x" not found, try pulling it first'},
    {"message": "Unknown model: x"},
    "model 'x' not found",
]
NO_ROUTE: list[bytes] = [
    b'{"error": {"message": "The model does not support Messages API", "code": 501}}',  # 501 alone
    b'{"detail": "Not Found"}',
    b"404 page not found",
    b"<html>nginx</html>",
    b"",
    b'{"error": {"message": "Not Found", "type": "x", "code": 404}}',
    b'{"detail": "Method Not Allowed"}',
]


@DIALECTS
@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_server_that_lacks_the_route(dialect: str, status: int, told: Told) -> None:
    server = Server()
    for raw in NO_ROUTE if status != 404 else NO_ROUTE[1:]:
        reply = await server.refuses(dialect, raw, status)
        error = reply.json()["error"]
        assert (reply.status, error["gateway_code"]) == (501, "UPSTREAM_ROUTE_MISSING"), raw
        assert told.calls[-1][0].path in error["message"]
        assert reply.headers["x-should-retry"] == "false"
        limit, left = (
            int(reply.headers[f"x-ratelimit-{name}-requests"]) for name in ("limit", "remaining")
        )
        assert left == limit  # it is none of the caller's doing


@DIALECTS
async def test_a_server_that_lacks_the_model(dialect: str) -> None:
    server = Server()
    for said in ABOUT_THE_MODEL:
        reply = await server.refuses(dialect, said, 404)
        error = reply.json()["error"]
        assert (reply.status, error["gateway_code"]) == (404, "MODEL_NOT_FOUND"), said
        assert error["param"] == "model"
        assert '"gemma-3-270m"' in error["message"]


@DIALECTS
@pytest.mark.parametrize(
    ("status", "error"),
    [(401, {}), (402, {}), (403, {}), (429, {"code": "insufficient_quota", "message": "pay"})],
)
async def test_a_server_that_refuses_our_key(dialect: str, status: int, error: Any) -> None:
    reply = await Server().refuses(dialect, error, status)
    assert reply.status == 502
    assert reply.json()["error"]["gateway_code"] == "UPSTREAM_KEY_REFUSED"
    assert reply.headers["x-should-retry"] == "false"
    assert "retry-after" not in reply.headers
