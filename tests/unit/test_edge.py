"""The application's edge: pages of other origins, paths, methods, ids, the caller's trace."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gemma_gateway import __version__
from gemma_gateway.api import head
from gemma_gateway.api.head import MAX_TRACE_CHARS
from gemma_gateway.core.errors import GatewayError
from gemma_gateway.engines.local import weights
from gemma_gateway.settings import Settings, Tier
from tests.calls import DIALECTS, MODEL, PATHS, ask
from tests.process import AUTH, KEY, OPERATOR, OPERATOR_AUTH
from tests.road import Reply, Road

PAGE = "https://app.example.com"
ENGINE_ROUTES = (*PATHS.values(), "/v1/messages/count_tokens", "/tokenize", "/detokenize")
ANTHROPIC = {"anthropic-version": "2023-06-01"}


def without(headers: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in names}


# ---- pages of other origins


async def preflight(road: Road, path: str, method: str = "POST", origin: str = PAGE) -> Reply:
    asked = "authorization,content-type,x-stainless-lang,anthropic-version,x-api-key"
    headers = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": asked,
    }
    return await road.request("OPTIONS", path, b"", headers)


@pytest.mark.parametrize(("origins", "told"), [((PAGE,), PAGE), (("*",), "*")])
async def test_a_preflight_is_answered(origins: tuple[str, ...], told: str) -> None:
    road = Road(cors_origins=origins)
    for path in (*ENGINE_ROUTES, "/v1/models", "/v1/usage", "/nowhere"):
        reply = await preflight(road, path)
        assert reply.status == 200
        assert reply.headers["access-control-allow-origin"] == told
        assert "POST" in reply.headers["access-control-allow-methods"]
        for name in ("authorization", "x-api-key", "anthropic-version", "x-stainless-lang"):
            assert name in reply.headers["access-control-allow-headers"]
        assert int(reply.headers["access-control-max-age"]) > 0
        assert "Origin" in reply.headers["vary"]
        assert "access-control-allow-credentials" not in reply.headers


ASKED: dict[str, tuple[str, str, Any, dict[str, str], int]] = {
    "answer": ("POST", "chat", ask("chat", "echo: hi"), AUTH, 200),
    "stream": ("POST", "chat", ask("chat", "echo: hi", stream=True), AUTH, 200),
    "no key": ("POST", "messages", ask("messages", "hi"), {}, 401),
    "wrong body": ("POST", "responses", {}, AUTH, 400),
    "wrong method": ("GET", "chat", b"", AUTH, 405),
    "no route": ("POST", "/nowhere", {}, AUTH, 404),
    "too large": ("POST", "chat", b"x", AUTH | {"content-length": "99999999"}, 413),
    "models": ("GET", "/v1/models", b"", AUTH, 200),
    "models without a key": ("GET", "/v1/models", b"", {}, 401),
}


@pytest.mark.parametrize(
    ("origins", "origin", "told"),
    [((PAGE,), PAGE, PAGE), (("*",), PAGE, "*"), ((PAGE,), "https://evil.example", None),
     ((PAGE,), "null", None), ((), PAGE, None)],
)  # fmt: skip
async def test_every_answer_says_who_may_read_it(
    origins: tuple[str, ...], origin: str, told: str | None
) -> None:
    road = Road(cors_origins=origins)
    for method, route, body, headers, status in ASKED.values():
        path = PATHS.get(route, route)
        reply = await road.request(method, path, body, headers | {"origin": origin})
        assert reply.status == status
        assert reply.headers.get("access-control-allow-origin") == told
        assert ("Origin" in reply.headers.get("vary", "")) == bool(origins)
        if told:
            exposed = set(reply.headers["access-control-expose-headers"].split(", "))
            assert {"x-request-id", "request-id", "retry-after", "x-should-retry"} <= exposed
            assert {name for name in reply.headers if name.startswith("x-ratelimit")} <= exposed


async def test_a_preflight_of_a_stranger_opens_nothing() -> None:
    reply = await preflight(Road(cors_origins=(PAGE,)), "/v1/models", origin="https://evil.example")
    assert "access-control-allow-origin" not in reply.headers
    off = await preflight(Road(), "/v1/chat/completions")
    assert (off.status, off.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("given", "origin"),
    [("https://App.Example.com/", PAGE), ("https://app.example.com:443", PAGE),
     ("http://localhost:3000", "http://localhost:3000"), ("app://obsidian.md", "app://obsidian.md"),
     ("http://[::1]:80", "http://[::1]"), ("*", "*")],
)  # fmt: skip
def test_origins_are_as_browsers_write_them(given: str, origin: str) -> None:
    assert Settings(cors_origins=given).server.cors_origins == (origin,)


@pytest.mark.parametrize(
    "given", ["app.example.com", "null", "https://*.example.com", "https://a/b", "https://", "a b"]
)
def test_what_is_no_origin_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        Settings(cors_origins=given)


# ---- paths and methods


NEARLY = {
    "//v1/chat/completions": "/v1/chat/completions",
    "/v1//chat/completions": "/v1/chat/completions",
    "/v1/chat/completions/": "/v1/chat/completions",
    "/chat/completions": "/v1/chat/completions",
    "/v1/v1/chat/completions": "/v1/chat/completions",
    "/api/v1/chat/completions": "/v1/chat/completions",
    "/openai/v1/chat/completions": "/v1/chat/completions",
    "/openai/deployments/gemma/chat/completions": "/v1/chat/completions",
    "/v1/chat/completion": "/v1/chat/completions",
    "/V1/Chat/Completions": "/v1/chat/completions",
    "/v1/engines/gemma/completions": "/v1/completions",
    "/v1/v1/messages": "/v1/messages",
    "/messages": "/v1/messages",
    "/messages/count_tokens": "/v1/messages/count_tokens",
    "/v1/response": "/v1/responses",
    "/v1/tokenize": "/tokenize",
    "/v1/models/": "/v1/models",
    "/models": "/v1/models",
    "/v1/usage/": "/v1/usage",
    "/v1/keys/": "/v1/keys",
    "/health/": "/health",
    "/healthz": "/health",
}


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
async def test_a_path_that_is_nearly_right_is_helped(method: str) -> None:
    road = Road()
    for path, meant in NEARLY.items():
        reply = await road.request(method, path, b"", AUTH)
        if (method, path) == ("POST", "/v1/models/"):  # a model, whose name is empty
            assert reply.status == 405
            continue
        assert reply.status == 404
        assert reply.json()["error"]["message"].endswith(f"did you mean {meant}?")
        assert "location" not in reply.headers


async def test_a_path_that_is_like_no_other_isn_t() -> None:
    road = Road()
    for path in ("/wp-login.php", "/v1/embeddings", "/v1", "/" + "v1/" * 99):
        reply = await road.request("POST", path, b"", AUTH)
        assert reply.status == 404
        assert "did you mean" not in reply.json()["error"]["message"]


ALLOWED = {
    "/v1/keys": {"GET", "HEAD", "POST"},
    "/v1/keys/abc": {"PATCH", "DELETE"},
    "/v1/monitoring/alerts/silences": {"GET", "HEAD", "POST"},
    "/v1/models": {"GET", "HEAD"},
    "/v1/models/a/b": {"GET", "HEAD"},
    "/health": {"GET", "HEAD"},
    "/console": {"GET", "HEAD"},
    "/v1/feedback": {"POST"},
    **{path: {"POST"} for path in ENGINE_ROUTES},
}


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "TRACE", "DELETE", "HEAD", "POST", "GET"])
async def test_a_wrong_method_is_told_the_right_ones(method: str) -> None:
    """RFC 9110, 15.5.6."""
    road = Road(operator_keys=(OPERATOR,))
    for path, allowed in ALLOWED.items():
        if method not in allowed:
            reply = await road.request(method, path, b"", OPERATOR_AUTH)
            assert (reply.status, set(reply.headers["allow"].split(", "))) == (405, allowed)


async def test_head_is_get_without_the_body() -> None:
    road, changing = Road(), ("content-length", "x-request-id", "etag")
    for path in (
        *("/", "/version", "/v1/models", f"/v1/models/{MODEL}", "/v1/usage", "/metrics"),
        *("/health", "/health/live", "/health/ready", "/console", "/docs", "/openapi.json"),
    ):
        got = await road.get(path)
        asked = await road.request("HEAD", path, b"", AUTH)
        assert asked.status == got.status
        assert without(asked.headers, *changing).keys() == without(got.headers, *changing).keys()


async def test_the_root_leads_browsers_to_the_console() -> None:
    road = Road()
    page = await road.get("/", {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (page.status, page.headers["location"]) == (307, "console")
    other = await road.get("/", {"accept": "*/*"})
    assert other.json() == {"name": "gemma-gateway", "version": __version__, "docs": "/docs"}
    assert (await road.get("/version", {})).json() == {"version": __version__}


async def test_the_icon_is_where_browsers_look() -> None:
    reply = await Road().get("/favicon.ico", {})
    if reply.status == 404:
        pytest.skip("the console isn't built")
    assert reply.headers["content-type"] == "image/svg+xml"


# ---- who asks


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"api-key": KEY}, 200),
        ({"api-key": KEY, "x-api-key": KEY}, 200),
        ({"api-key": KEY, "authorization": f"Bearer {KEY}"}, 200),
        ({"api-key": "wrong"}, 401),
        ({"api-key": KEY, "x-api-key": "other"}, 401),
        ({"api-key": "other", "authorization": f"Bearer {KEY}"}, 401),
    ],
)
@pytest.mark.parametrize("route", ["chat", "/v1/models"])
async def test_azure_s_spelling_of_a_key(route: str, headers: dict[str, str], status: int) -> None:
    road = Road()
    if route == "chat":
        reply = await road.post(route, ask(route, "echo: hi"), headers)
    else:
        reply = await road.get(route, headers)
    assert reply.status == status


def test_a_field_that_comes_twice_is_a_list() -> None:
    found = head.fields([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")])
    assert found == {b"a": b"1, 3", b"b": b"2"}
    with pytest.raises(GatewayError, match="differ"):
        head.credentials({b"api-key": b"a", b"x-api-key": b"b"})


@pytest.mark.parametrize("route", ["/v1/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize("key", [AUTH, {}], ids=["answer", "error"])
@pytest.mark.parametrize("stream", [False, True])
async def test_anthropic_s_clients_find_the_request_s_id(
    route: str, key: dict[str, str], stream: bool
) -> None:
    body = ask("messages", "echo: hi", stream=stream)
    reply = await Road().post(route, body, key | {"x-request-id": "mine-1"})
    assert reply.headers["request-id"] == reply.headers["x-request-id"] == "mine-1"


async def test_others_have_it_once() -> None:
    reply = await Road().post("chat", ask("chat", "echo: hi"))
    assert "request-id" not in reply.headers
    assert reply.headers["x-request-id"]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [("/v1/models", {}, 401), ("/v1/models/none", AUTH, 404), ("/v1/message", AUTH, 404),
     ("/v1/feedback", AUTH, 405)],
)  # fmt: skip
async def test_errors_are_in_the_client_s_protocol(
    path: str, headers: dict[str, str], status: int
) -> None:
    road = Road()
    theirs = await road.get(path, headers | ANTHROPIC)
    assert (theirs.status, theirs.json()["type"]) == (status, "error")
    assert theirs.headers["request-id"] == theirs.json()["request_id"]
    ours = await road.get(path, headers)
    assert "type" not in ours.json()
    assert "request-id" not in ours.headers


# ---- the caller's trace

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@DIALECTS
async def test_a_trace_goes_on_to_the_engine_as_it_is(dialect: str) -> None:
    road = Road()
    trace = {"traceparent": PARENT, "tracestate": "a=1,b=2"}
    await road.post(dialect, ask(dialect, "echo: hi"), AUTH | trace | {"baggage": "user=me"})
    assert road.engine.requests[0].headers == trace


@pytest.mark.parametrize("value", ["x" * (MAX_TRACE_CHARS + 1), "caf\xe9", "a\x7fb"])
async def test_what_another_server_might_refuse_does_not(value: str) -> None:
    road = Road()
    headers = AUTH | {"traceparent": PARENT, "tracestate": value}
    assert (await road.post("chat", ask("chat", "echo: hi"), headers)).status == 200
    assert road.engine.requests[0].headers == {"traceparent": PARENT}


async def test_the_log_names_the_engine_s_id(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    road = Road(access_log=True)
    await road.post("chat", ask("chat", "echo: hi"), AUTH | {"x-request-id": "mine-1"})
    assert road.parts.log is not None
    road.parts.log.flush()
    line = json.loads(capfdbinary.readouterr().out)
    assert (line["request_id"], line["call_id"]) == ("mine-1", road.engine.requests[0].id)


# ---- models


async def test_a_model_is_described_for_both_protocols() -> None:
    road = Road(context=4096)
    listed = (await road.get("/v1/models")).json()
    one = (await road.get(f"/v1/models/{MODEL}")).json()
    assert listed["data"] == [one]
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == (MODEL, MODEL, False)
    assert one["id"] == one["root"] == one["display_name"] == MODEL
    assert one["max_model_len"] == one["context_length"] == one["max_input_tokens"] == 4096
    assert one["max_tokens"] == Tier().max_tokens_cap
    assert one["description"] == weights.BUNDLED  # nothing else is set, so it is that
    assert one["created_at"] == "2024-02-21T00:00:00Z"
    assert one["created"] == 1708473600
    assert one["input_modalities"] == one["output_modalities"] == ["text"]


@pytest.mark.parametrize(
    ("context", "cap", "most"), [(512, 1024, 512), (None, 1024, 1024), (4096, 1024, 1024)]
)
async def test_an_answer_is_as_long_as_tier_and_model_allow(
    context: int | None, cap: int, most: int
) -> None:
    road = Road(context=context, tiers={"default": {"max_tokens_cap": cap}})
    one = (await road.get(f"/v1/models/{MODEL}")).json()
    assert (one["max_model_len"], one["max_tokens"]) == (context, most)
