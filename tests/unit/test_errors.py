"""The table of errors, and how each protocol tells them: every code, in every dialect, whole and at
the end of a stream, and as the official clients see it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest

from gemma_gateway import main
from gemma_gateway.core.call import Call, Client
from gemma_gateway.core.dialect import Dialect
from gemma_gateway.core.errors import Code, Family, GatewayError, quoted
from gemma_gateway.main import DIALECTS as ROUTES
from gemma_gateway.wire.openai.errors import CODES
from tests.calls import PATHS, ask, content_type, events
from tests.process import AUTH
from tests.road import Road

EVERY_CODE = pytest.mark.parametrize("code", list(Code))
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
# Trying again doesn't help, so that no client may take it for a passing failure.
FINAL = {
    code for code in Code if code.value.status < 500 and code.value.status not in (408, 429)
} | {
    Code.ENGINE_TIMEOUT,
    Code.CLIENT_DEADLINE,
    Code.UPSTREAM_ROUTE_MISSING,
    Code.UPSTREAM_KEY_REFUSED,
    Code.UPSTREAM_ANSWER_INVALID,
}


def check_object(error: Any, code: Code, protocol: str) -> None:
    """An error object, as its protocol and the gateway tell it."""
    place = ("openai", "anthropic").index(protocol)
    assert error["type"] == TYPES[code.value.family][place]
    assert error["gateway_code"] == code.name
    assert error["message"]
    if protocol == "openai":
        assert set(error) == {"message", "type", "param", "code", "gateway_code"}
        assert error["code"] == CODES.get(code)
    else:
        assert set(error) == {"message", "type", "param", "gateway_code"}


def check_headers(headers: dict[str, str], code: Code) -> None:
    wait = code.value.wait
    assert headers["x-should-retry"] == ("true" if wait else "false")
    assert headers.get("retry-after") == (str(int(wait)) if wait else None)
    assert headers.get("retry-after-ms") == (str(int(wait * 1000)) if wait else None)


def protocol_of(path: str) -> str:
    return "anthropic" if path.startswith("/v1/messages") else "openai"


@EVERY_CODE
async def test_every_code_on_every_route(code: Code, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        name = "access"

        def enter(self, call: Call, client: Client) -> None:
            raise GatewayError(code, param="messages.0")

    monkeypatch.setattr(main, "STAGES", (lambda parts: Refusing(),))
    road = Road()
    for path in [dialect.path for dialect in ROUTES]:
        for stream in (False, True):
            headers = {**AUTH, **content_type(path), "x-request-id": "req-1"}
            reply = await road.post(path, {"stream": stream}, headers)
            assert (reply.status, reply.headers["content-type"]) == (
                code.value.status,
                "application/json",
            )
            check_headers(reply.headers, code)
            doc = reply.json()
            check_object(doc["error"], code, protocol_of(path))
            assert doc["error"]["param"] == "messages.0"
            assert reply.headers["x-request-id"] == "req-1"
            if protocol_of(path) == "anthropic":
                assert (doc["type"], doc["request_id"]) == ("error", "req-1")
                assert reply.headers["request-id"] == "req-1"
            else:
                assert set(doc) == {"error"}
                assert "request-id" not in reply.headers


@EVERY_CODE
def test_every_code_at_the_end_of_a_stream(code: Code) -> None:
    for dialect in [d for d in ROUTES if d.streams]:
        raw = dialect.stream(hide_usage=False).failure(GatewayError(code, param="x"))
        (doc,) = events(raw)
        check_object(doc["error"], code, protocol_of(dialect.path))
        if dialect.name == "responses":
            assert (doc["type"], doc["code"], doc["param"]) == ("error", CODES.get(code), "x")


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/nope", "/nope", "/v1/keys", "/v1/usage"]
)
async def test_other_routes_answer_in_the_protocol_of_the_client(path: str) -> None:
    """Anthropic's clients name its version on every request."""
    road = Road()
    for headers in ({}, AUTH):
        if headers and path in ("/v1/models", "/v1/usage"):
            continue
        plain = await road.get(path, headers)
        told = await road.get(path, {**headers, "anthropic-version": "2023-06-01"})
        assert plain.status == told.status
        code = Code[plain.json()["error"]["gateway_code"]]
        check_object(plain.json()["error"], code, "openai")
        check_object(told.json()["error"], code, "anthropic")
        assert told.json()["request_id"] == told.headers["request-id"]
        for reply in (plain, told):
            check_headers(reply.headers, code)


def test_what_is_final_and_what_may_pass() -> None:
    for code in Code:
        assert (code.value.wait == 0) is (code in FINAL), code
        # Whoever isn't told better takes these two for a passing failure.
        assert code.value.status not in (503, 429) or code not in FINAL, code
        assert 400 <= code.value.status < 500 or code.value.status in (501, 502, 503, 504)


@pytest.mark.parametrize(
    ("wait", "again", "seconds", "milliseconds"),
    [
        (0, "false", None, None),
        (0.0002, "true", "1", "1"),
        (0.25, "true", "1", "250"),
        (1, "true", "1", "1000"),
        (1.5, "true", "2", "1500"),
        (60, "true", "60", "60000"),
        (60.001, "false", "61", "60001"),
        (3600, "false", "3600", "3600000"),
        (2_678_400, "false", "2678400", "2678400000"),
    ],
)
def test_when_to_try_again(
    wait: float, again: str, seconds: str | None, milliseconds: str | None
) -> None:
    headers = GatewayError(Code.RATE_LIMIT_EXCEEDED, wait=wait, headers={"allow": "POST"}).headers
    told = [headers.get(name) for name in ("x-should-retry", "retry-after", "retry-after-ms")]
    assert told == [again, seconds, milliseconds]
    assert headers["allow"] == "POST"


# ---- the official clients


def transport(sdk: Any, answer: Callable[[], tuple[int, bytes, dict[str, str]]]) -> Any:
    """An HTTP client of the kind that the SDK takes, whose server answers so."""
    http: Any = httpx
    if not issubclass(sdk.DefaultHttpxClient, httpx.Client):
        http = importlib.import_module("httpx2")

    def handle(request: Any) -> Any:
        status, body, headers = answer()
        return http.Response(status, content=body, headers=headers)

    return http.Client(transport=http.MockTransport(handle))


def asks(dialect: Dialect, answer: Callable[[], tuple[int, bytes, dict[str, str]]]) -> Any:
    """One call of the SDK of a dialect; raises what it makes of the answer."""
    if dialect.name == "messages":
        claude = anthropic.Anthropic(api_key="k", http_client=transport(anthropic, answer))
        return claude.messages.create(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}]
        )
    client = openai.OpenAI(
        api_key="k", base_url="http://test/v1", http_client=transport(openai, answer)
    )
    if dialect.name == "responses":
        return client.responses.create(model="m", input="x")
    if dialect.name == "completions":
        return client.completions.create(model="m", prompt="x")
    return client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])


def generating() -> Iterator[Dialect]:
    return (dialect for dialect in ROUTES if dialect.name in PATHS)


@EVERY_CODE
@pytest.mark.parametrize("dialect", list(generating()), ids=lambda d: d.name)
def test_every_code_as_the_sdks_see_it(code: Code, dialect: Dialect) -> None:
    """Tried three times where that may help, once where it can't: none of them sleeps for long."""
    error = GatewayError(code, wait=code.value.wait and 0.001)
    body, tries = dialect.error(error, "req-1"), []

    def answer() -> tuple[int, bytes, dict[str, str]]:
        tries.append(code)
        return error.status, body, {"content-type": "application/json", **error.headers}

    with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as caught:
        asks(dialect, answer)
    assert len(tries) == (1 if code in FINAL else 3)
    seen: Any = caught.value
    assert seen.status_code == code.value.status
    if dialect.name == "messages":
        assert seen.type == TYPES[code.value.family][1]
        assert seen.body["error"]["gateway_code"] == code.name
    else:
        assert (seen.code, seen.type) == (CODES.get(code), TYPES[code.value.family][0])
        assert seen.body["gateway_code"] == code.name


@pytest.mark.parametrize("dialect", list(generating()), ids=lambda d: d.name)
@pytest.mark.parametrize("wait", [60.001, 119, 3600])
def test_no_sdk_sleeps_through_a_long_wait(dialect: Dialect, wait: float) -> None:
    error = GatewayError(Code.RATE_LIMIT_EXCEEDED, wait=wait)
    tries: list[int] = []

    def answer() -> tuple[int, bytes, dict[str, str]]:
        tries.append(1)
        return 429, dialect.error(error, "r"), {"content-type": "application/json", **error.headers}

    with pytest.raises((openai.RateLimitError, anthropic.RateLimitError)):
        asks(dialect, answer)
    assert len(tries) == 1


# ---- texts


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gpt-4", '"gpt-4"'),
        ("mock[1m]", '"mock[1m]"'),
        ("x" * 300, f'"{"x" * 128}..."'),
        ("a\nb\u202ec\x00", '"a\ufffdb\ufffdc\ufffd"'),
    ],
)
def test_a_client_s_own_word_in_a_message(name: str, text: str) -> None:
    assert quoted(name) == text


# ---- what validation calls by OpenAI's names


@pytest.mark.parametrize("dialect", list(PATHS))
@pytest.mark.parametrize(
    ("text", "change", "code", "gateway_code"),
    [
        ("x" * 9000, {}, "string_above_max_length", "VALIDATION_ERROR"),
        ("hi", {"chat_template": "{{ x }}"}, "unsupported_parameter", "VALIDATION_ERROR"),
        ("hi", {"temperature": 9}, "invalid_value", "VALIDATION_ERROR"),
        ("hi", {"model": "gpt-9"}, "model_not_found", "MODEL_NOT_FOUND"),
        ("I hate violence", {}, "content_policy_violation", "CONTENT_FILTERED"),
    ],
)
async def test_what_is_wrong_has_openais_code(
    dialect: str, text: str, change: dict[str, Any], code: str, gateway_code: str
) -> None:
    error = (await Road().post(dialect, ask(dialect, text, **change))).json()["error"]
    assert error["gateway_code"] == gateway_code
    assert error["param"]
    assert error.get("code") == (None if dialect == "messages" else code)


async def test_too_many_messages() -> None:
    body = ask("chat", "hi")
    body["messages"] *= 51
    error = (await Road().post("chat", body)).json()["error"]
    assert (error["code"], error["param"]) == ("array_above_max_length", "messages")
