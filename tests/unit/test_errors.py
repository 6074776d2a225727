"""The table of errors, and its bodies in both dialects."""

from __future__ import annotations

import json

import pytest

from gemma_gateway.core.errors import Code, Family, GatewayError
from gemma_gateway.wire import engine_error
from gemma_gateway.wire.anthropic.messages import Messages
from gemma_gateway.wire.openai.chat import Chat

ANTHROPIC_TYPES = {
    "invalid_request_error", "authentication_error", "permission_error", "not_found_error",
    "request_too_large", "rate_limit_error", "api_error", "overloaded_error", "timeout_error",
}  # fmt: skip

# What clients of OpenAI and of Anthropic read as the type of an error.
TYPES = {
    Family.INVALID_REQUEST: ("invalid_request_error", "invalid_request_error"),
    Family.TOO_LARGE: ("invalid_request_error", "request_too_large"),
    Family.REQUEST_TIMEOUT: ("invalid_request_error", "timeout_error"),
    Family.AUTHENTICATION: ("authentication_error", "authentication_error"),
    Family.PERMISSION: ("permission_error", "permission_error"),
    Family.NOT_FOUND: ("invalid_request_error", "not_found_error"),
    Family.RATE_LIMIT: ("rate_limit_error", "rate_limit_error"),
    Family.UNAVAILABLE: ("server_error", "overloaded_error"),
    Family.TIMEOUT: ("server_error", "timeout_error"),
    Family.INTERNAL: ("server_error", "api_error"),
}


@pytest.mark.parametrize("code", list(Code))
def test_every_code_has_a_body_in_each_dialect(code: Code) -> None:
    error = GatewayError(code, param="messages.0")
    openai = json.loads(Chat().error(error, "req-1"))["error"]
    assert openai == {
        "message": code.value.message,
        "type": TYPES[code.value.family][0],
        "param": "messages.0",
        "code": code.name,
    }
    anthropic = json.loads(Messages().error(error, "req-1"))
    assert anthropic["type"] == "error"
    assert anthropic["error"]["type"] in ANTHROPIC_TYPES
    assert anthropic["error"]["type"] == TYPES[code.value.family][1]
    assert anthropic["error"]["gateway_code"] == code.name
    assert anthropic["request_id"] == "req-1"
    assert 400 <= error.status < 500 or error.status in (503, 504)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"error": {"message": "too long", "param": "prompt"}}', ("too long", "prompt")),
        (b'{"object": "error", "message": "too long", "param": null}', ("too long", None)),
        (b'{"error": "model not found"}', ("model not found", None)),
        (b'{"error": {"message": ["x"], "param": 5}}', ("", None)),
        (b'{"detail": "x"}', ("", None)),
        (b"[1]", ("", None)),
        (b'{"error": [1]}', ("", None)),
        (b"<html>", ("", None)),
    ],
)
def test_engine_errors_are_read_whatever_they_look_like(
    raw: bytes, expected: tuple[str, str | None]
) -> None:
    assert engine_error.read(raw) == expected


def test_a_long_engine_message_is_cut() -> None:
    message, _ = engine_error.read(json.dumps({"error": {"message": "x" * 9000}}).encode())
    assert len(message) == engine_error.MAX_MESSAGE_CHARS
