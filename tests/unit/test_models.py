"""Several models behind one gateway, in process: their names, who may use them, what each of them
lets through, and what takes a call that one of them can't."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gemma_gateway.core.catalogue import Catalogue
from gemma_gateway.core.engine import EngineFailed, EngineRequest
from gemma_gateway.engines import factory
from gemma_gateway.engines.fallback import Fallback
from gemma_gateway.engines.local.engine import LocalEngine
from gemma_gateway.engines.scripted import ScriptedEngine, ScriptedReply
from gemma_gateway.engines.tools.engine import ToolCalls
from gemma_gateway.engines.upstream.engine import UpstreamEngine
from gemma_gateway.monitoring.prices import Prices
from gemma_gateway.settings import Model, Settings
from tests.calls import DIALECTS, ask, events, streamed, whole
from tests.process import KEY
from tests.road import Reply, Road, Script, Told, say

STREAMED = pytest.mark.parametrize("stream", [False, True])
SERVERS = {"upstreams": ("http://127.0.0.1:9/v1",)}
LARGE = {**SERVERS, "name": "gemma-27b", "aliases": ["large", "best"], "adapters": ["legal"]}
SMALL = {**SERVERS, "name": "gemma-4b", "aliases": ["small"]}
TINY = {**SERVERS, "name": "gemma-1b"}
FALLING = {**LARGE, "fallbacks": ["small", "gemma-1b"]}
SERVED = "x-served-model"


def keyed(**fields: Any) -> dict[str, Any]:
    """Settings with one key that has these fields."""
    key = {"name": "k", "sha256": sha256(KEY.encode()).hexdigest(), **fields}
    return {"api_keys": (), "keys": [key]}


def asked(road: Road) -> list[str]:
    """The models that engines were asked for, in order; each body names the same as its request."""
    for request in road.engine.requests:
        assert request.document["model"] == request.model
        assert f'"{request.model}"'.encode() in request.body
    return [request.model for request in road.engine.requests]


def broken(fault: Callable[[], Any], *names: str) -> Script:
    """These models answer with a fault; all others echo."""
    well = say()

    def answer(request: EngineRequest) -> Any:
        if request.model not in names:
            return well(request)
        found = fault()
        if isinstance(found, EngineFailed):
            raise found
        return found

    return answer


def too_long() -> ScriptedReply:
    return ScriptedReply.json({"error": {"message": VLLM_TOO_LONG, "code": 400}}, 400)


VLLM_TOO_LONG = (
    "This model's maximum context length is 2048 tokens. However, you requested 100 output tokens "
    "and your prompt contains at least 1949 input tokens."
)
REFUSED: dict[str, tuple[str, Callable[[], Any]]] = {
    "no healthy server": ("unavailable", lambda: EngineFailed("unavailable")),
    "overloaded": ("overloaded", lambda: EngineFailed("overloaded")),
    "429": ("overloaded", lambda: ScriptedReply([b"{}"], 429)),
    "502": ("unavailable", lambda: ScriptedReply([b"no"], 502, "text/plain")),
    "503": ("unavailable", lambda: ScriptedReply([b"{}"], 503)),
    "our key is refused": ("unavailable", lambda: ScriptedReply([b"{}"], 401)),
    "context too long": ("context_length", too_long),
    "OpenAI's code": (
        "context_length",
        lambda: ScriptedReply.json({"error": {"code": "context_length_exceeded"}}, 400),
    ),
    "llama.cpp's type": (
        "context_length",
        lambda: ScriptedReply.json({"error": {"type": "exceed_context_size_error"}}, 400),
    ),
}


# ---- names


@DIALECTS
@STREAMED
@pytest.mark.parametrize("name", ["gemma-27b", "large", "best"])
async def test_an_alias_is_its_model(dialect: str, stream: bool, name: str, told: Told) -> None:
    road = Road(models=[LARGE, SMALL])
    reply = await road.post(dialect, ask(dialect, "echo: hello", model=name, stream=stream))
    assert reply.status == 200, reply.body
    assert asked(road) == ["gemma-27b"]
    assert reply.headers[SERVED] == "gemma-27b"
    ((call, end),) = told.calls
    assert (call.request.model, end.model) == ("gemma-27b", "gemma-27b")


async def test_the_first_model_is_meant_where_none_is_named() -> None:
    road = Road(models=[LARGE, SMALL])
    body = ask("chat", "echo: hello")
    del body["model"]
    assert (await road.post("chat", body)).headers[SERVED] == "gemma-27b"
    second = Road(models=[LARGE, SMALL], **keyed(models=["small"]))
    assert (await second.post("chat", body)).headers[SERVED] == "gemma-4b"


@pytest.mark.parametrize("name", ["gemma-12b", "LARGE", "large ", ""])
async def test_other_names_are_unknown(name: str) -> None:
    road = Road(models=[LARGE, SMALL])
    reply = await road.post("chat", ask("chat", "hello", model=name))
    assert reply.status in (400, 404)
    assert reply.json()["error"]["param"] == "model"
    assert asked(road) == []


@pytest.mark.parametrize(
    ("allowed", "name", "status"),
    [
        (["gemma-27b"], "gemma-27b", 200),
        (["gemma-27b"], "large", 200),
        (["large"], "gemma-27b", 200),
        (["large"], "best", 200),
        (["gemma-27b"], "gemma-4b", 403),
        (["small"], "large", 403),
        (["gemma-27b"], "legal", 403),  # an adapter may hold what its base doesn't
        (["legal"], "legal", 200),
        (["legal"], "gemma-27b", 403),
        (["gemma-27b"], "nobody", 403),
    ],
)
async def test_a_key_names_models_by_any_name(allowed: list[str], name: str, status: int) -> None:
    road = Road(models=[LARGE, SMALL], **keyed(models=allowed))
    reply = await road.post("chat", ask("chat", "echo: hello", model=name))
    assert reply.status == status
    if status == 403:
        assert reply.json()["error"]["gateway_code"] == "MODEL_NOT_ALLOWED"
        assert asked(road) == []


async def test_models_are_listed_by_all_their_names() -> None:
    listed = {
        card["id"] for card in (await Road(models=[LARGE, SMALL]).get("/v1/models")).json()["data"]
    }
    assert listed == {"gemma-27b", "legal", "gemma-4b", "large", "best", "small"}
    own = Road(models=[LARGE, SMALL], **keyed(models=["small"]))
    listed = {card["id"] for card in (await own.get("/v1/models")).json()["data"]}
    assert listed == {"gemma-4b", "small"}
    assert (await own.get("/v1/models/small")).status == 200
    assert (await own.get("/v1/models/large")).status == 404


async def test_without_models_nothing_changes() -> None:
    road = Road()
    reply = await road.post("chat", ask("chat", "echo: hello"))
    assert reply.status == 200
    assert SERVED not in reply.headers
    assert road.engine.requests[0].route is None


# ---- fallbacks


@DIALECTS
@STREAMED
@pytest.mark.parametrize("fault", list(REFUSED))
async def test_another_model_takes_what_one_cant(
    dialect: str, stream: bool, fault: str, told: Told
) -> None:
    reason, make = REFUSED[fault]
    road = Road(broken(make, "gemma-27b"), models=[FALLING, SMALL, TINY])
    reply = await road.post(dialect, ask(dialect, "echo: hello", model="large", stream=stream))
    assert reply.status == 200, reply.body
    said = streamed(dialect, events(reply.body)) if stream else whole(dialect, reply.json())
    assert said == "hello"
    assert asked(road) == ["gemma-27b", "gemma-4b"]
    assert reply.headers[SERVED] == "gemma-4b"
    ((call, end),) = told.calls
    assert (end.outcome, end.model, call.request.model) == ("ok", "gemma-4b", "gemma-4b")
    assert end.usage.completion_tokens == 1
    row = f'gateway_fallbacks_total{{fallback="gemma-4b",model="gemma-27b",reason="{reason}"}}'
    assert road.figures()[row] == 1


@STREAMED
async def test_models_are_tried_in_their_order(stream: bool) -> None:
    road = Road(broken(REFUSED["503"][1], "gemma-27b", "gemma-4b"), models=[FALLING, SMALL, TINY])
    reply = await road.post("chat", ask("chat", "echo: hello", model="large", stream=stream))
    assert reply.status == 200
    assert asked(road) == ["gemma-27b", "gemma-4b", "gemma-1b"]
    assert reply.headers[SERVED] == "gemma-1b"


@DIALECTS
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("no healthy server", 503, "ENGINE_UNAVAILABLE"),
        ("429", 503, "ENGINE_OVERLOADED"),
        ("503", 503, "GENERATION_ERROR"),
        ("context too long", 400, "CONTEXT_LENGTH_EXCEEDED"),
    ],
)
async def test_where_all_fail_the_last_one_says_why(
    dialect: str, fault: str, status: int, code: str
) -> None:
    names = ("gemma-27b", "gemma-4b", "gemma-1b")
    road = Road(broken(REFUSED[fault][1], *names), models=[FALLING, SMALL, TINY])
    reply = await road.post(dialect, ask(dialect, "echo: hello", model="large"))
    assert (reply.status, reply.json()["error"]["gateway_code"]) == (status, code)
    assert asked(road) == list(names)
    if status == 400:
        said = "prompt is too long" if dialect == "messages" else "maximum context length"
        assert said in reply.json()["error"]["message"]


@STREAMED
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (lambda: EngineFailed("unavailable", begun=True), 503),  # two servers died of it
        (lambda: EngineFailed("died"), 503),
        (lambda: EngineFailed("timeout"), 504),
        (lambda: ScriptedReply([b"{}"], 500), 503),
        (lambda: ScriptedReply([b"{}"], 504), 503),
        (lambda: ScriptedReply.json({"error": {"message": "bad field", "param": "x"}}, 400), 400),
        (lambda: ScriptedReply([b"[1]"], 400), 400),
        (lambda: ScriptedReply([b"\xff"], 400), 400),
        (lambda: ScriptedReply([b"{}"], 404), 501),
    ],
)
async def test_what_may_have_begun_or_is_wrong_stays_where_it_is(
    stream: bool, fault: Callable[[], Any], status: int
) -> None:
    road = Road(broken(fault, "gemma-27b"), models=[FALLING, SMALL, TINY])
    reply = await road.post("chat", ask("chat", "echo: hello", model="large", stream=stream))
    assert reply.status == status
    assert asked(road) == ["gemma-27b"]


async def test_only_listed_fallbacks_are_used() -> None:
    road = Road(broken(REFUSED["503"][1], "gemma-4b"), models=[FALLING, SMALL, TINY])
    assert (await road.post("chat", ask("chat", "echo: hello", model="small"))).status == 503
    assert asked(road) == ["gemma-4b"]


async def test_an_adapter_has_the_fallbacks_of_its_base() -> None:
    road = Road(broken(REFUSED["503"][1], "legal"), models=[FALLING, SMALL, TINY])
    assert (await road.post("chat", ask("chat", "echo: hello", model="legal"))).status == 200
    assert asked(road) == ["legal", "gemma-4b"]


async def test_a_key_falls_back_only_to_its_own_models() -> None:
    allowed = keyed(models=["large", "gemma-1b"])
    road = Road(broken(REFUSED["503"][1], "gemma-27b"), models=[FALLING, SMALL, TINY], **allowed)
    assert (await road.post("chat", ask("chat", "echo: hello", model="large"))).status == 200
    assert asked(road) == ["gemma-27b", "gemma-1b"]
    alone = keyed(models=["large"])
    road = Road(broken(REFUSED["503"][1], "gemma-27b"), models=[FALLING, SMALL, TINY], **alone)
    assert (await road.post("chat", ask("chat", "echo: hello", model="large"))).status == 503
    assert asked(road) == ["gemma-27b"]


# ---- patience


def slow(gate: asyncio.Event, replies: list[ScriptedReply], *names: str) -> Script:
    """These models say nothing until the gate opens; streams only, the head comes at once."""
    well = say("slow", " answer")

    def answer(request: EngineRequest) -> Any:
        if request.model not in names:
            return say()(request)

        async def later() -> AsyncIterator[bytes]:
            await gate.wait()
            async for part in well(request).chunks():  # type: ignore[union-attr]
                yield part

        replies.append(ScriptedReply.events(later()))
        return replies[-1]

    return answer


@DIALECTS
async def test_a_stream_that_queues_too_long_goes_on(dialect: str) -> None:
    replies: list[ScriptedReply] = []
    models = [{**FALLING, "queue_timeout": 0.01}, SMALL, TINY]
    road = Road(slow(asyncio.Event(), replies, "gemma-27b"), models=models)
    reply = await road.post(dialect, ask(dialect, "echo: hello", model="large", stream=True))
    assert streamed(dialect, events(reply.body)) == "hello"
    assert reply.headers[SERVED] == "gemma-4b"
    assert [each.aborted for each in replies] == [True]  # it doesn't wait in the engine any more


async def test_the_last_model_may_take_its_time() -> None:
    gate, replies = asyncio.Event(), list[ScriptedReply]()
    models = [{**FALLING, "queue_timeout": 0.01}, SMALL, TINY]
    road = Road(slow(gate, replies, "gemma-27b", "gemma-4b", "gemma-1b"), models=models)
    call = asyncio.create_task(road.post("chat", ask("chat", "hello", model="large", stream=True)))
    while len(replies) < 3:
        await asyncio.sleep(0.01)
    gate.set()
    reply = await call
    assert streamed("chat", events(reply.body)) == "slow answer"
    assert reply.headers[SERVED] == "gemma-1b"
    assert [each.aborted for each in replies] == [True, True, False]


async def test_a_call_waits_on_where_no_other_may_take_it() -> None:
    gate, replies = asyncio.Event(), list[ScriptedReply]()
    full = {**SMALL, "windows": [{"limit": 1, "seconds": 3600}]}
    models = [{**LARGE, "fallbacks": ["small"], "queue_timeout": 0.01}, full]
    road = Road(slow(gate, replies, "gemma-27b"), models=models)
    assert (await road.post("chat", ask("chat", "echo: hi", model="small"))).status == 200
    call = asyncio.create_task(road.post("chat", ask("chat", "hello", model="large", stream=True)))
    while not replies or replies[0].aborted:
        await asyncio.sleep(0.01)
    for _ in range(10):
        await asyncio.sleep(0.01)  # past its patience
    gate.set()
    reply = await call
    assert streamed("chat", events(reply.body)) == "slow answer"
    assert reply.headers[SERVED] == "gemma-27b"
    assert not replies[0].aborted


async def test_a_client_that_leaves_while_a_call_queues_ends_it() -> None:
    replies: list[ScriptedReply] = []
    models = [{**FALLING, "queue_timeout": 600}, SMALL, TINY]
    road = Road(slow(asyncio.Event(), replies, "gemma-27b"), models=models)
    await road.post("chat", ask("chat", "hello", model="large", stream=True), stays=False)
    assert [each.aborted for each in replies] == [True]
    assert asked(road) == ["gemma-27b"]


@DIALECTS
async def test_after_the_first_byte_an_error_is_told_in_the_stream(dialect: str) -> None:
    begun = say("It", " is")

    def answer(request: EngineRequest) -> Any:
        reply = begun(request)

        async def parts() -> AsyncIterator[bytes]:
            chunks = reply.chunks()  # type: ignore[union-attr]
            for _ in range(4):
                yield await anext(chunks)
            raise EngineFailed("died")

        return ScriptedReply.events(parts())

    models = [{**FALLING, "queue_timeout": 600}, SMALL, TINY]
    road = Road(answer, models=models)
    reply = await road.post(dialect, ask(dialect, "hello", model="large", stream=True))
    assert reply.status == 200
    assert asked(road) == ["gemma-27b"]
    assert "GENERATION_ERROR" in reply.body.decode()


async def test_a_stream_that_dies_before_its_first_byte_is_an_error() -> None:
    def answer(request: EngineRequest) -> Any:
        return ScriptedReply.events([EngineFailed("died")])

    road = Road(answer, models=[{**FALLING, "queue_timeout": 600}, SMALL, TINY])
    reply = await road.post("chat", ask("chat", "hello", model="large", stream=True))
    assert (reply.status, asked(road)) == (503, ["gemma-27b"])


class Looking:
    """A route on which the way to the next model is long."""

    def __init__(self, patience: float | None, model: str | None = None) -> None:
        self.patience = patience
        self.asked = asyncio.Event()
        self._model = model

    async def further(self, reason: str) -> str | None:
        self.asked.set()
        if self._model is None:
            await asyncio.Event().wait()
        return self._model


def sent(engine: ScriptedEngine, route: Looking) -> asyncio.Task[Any]:
    request = EngineRequest("id", "/v1/chat/completions", b"{}", "m", stream=True, route=route)
    return asyncio.create_task(Fallback(engine).send(request))


async def test_a_call_that_ends_on_its_way_to_another_model_leaves_nothing() -> None:
    reply, route = ScriptedReply([b"{}"], 503), Looking(None)
    call = sent(ScriptedEngine(lambda request: reply), route)
    await route.asked.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert reply.aborted


async def test_a_call_that_ends_while_its_first_model_is_left_goes_nowhere() -> None:
    left, gone = asyncio.Event(), asyncio.Event()

    async def reluctant(request: EngineRequest) -> ScriptedReply:
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
            await gone.wait()
        raise AssertionError

    engine = ScriptedEngine(reluctant)
    call = sent(engine, Looking(0.01, "other"))
    await left.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    gone.set()
    assert [request.model for request in engine.requests] == ["m"]


# ---- limits


ONE = [{"limit": 1, "seconds": 3600}]
FIVE = {"default": {"windows": [{"limit": 5, "seconds": 3600}]}}


def remaining(reply: Reply) -> int:
    return int(reply.headers["x-ratelimit-remaining-requests"])


@DIALECTS
async def test_a_model_lets_through_what_its_windows_say(dialect: str, told: Told) -> None:
    road = Road(models=[{**LARGE, "windows": ONE}, SMALL], tiers=FIVE)
    first = await road.post(dialect, ask(dialect, "echo: hi", model="large"))
    assert (first.status, remaining(first)) == (200, 0)  # the tightest of all
    refused = await road.post(dialect, ask(dialect, "echo: hi", model="best"))
    assert refused.status == 429
    error = refused.json()["error"]
    assert error["gateway_code"] == "RATE_LIMIT_EXCEEDED"
    assert "gemma-27b" in error["message"]
    assert int(refused.headers["retry-after"]) > 3500
    assert refused.headers["x-ratelimit-limit-requests"] == "1"
    assert refused.headers["x-should-retry"] == "false"
    other = await road.post(dialect, ask(dialect, "echo: hi", model="small"))
    # What the model's windows refused counts nowhere: one call here, one there.
    assert (other.status, remaining(other)) == (200, 3)
    assert asked(road) == ["gemma-27b", "gemma-4b"]


async def test_adapters_count_with_their_base() -> None:
    road = Road(models=[{**LARGE, "windows": ONE}, SMALL], tiers=FIVE)
    assert (await road.post("chat", ask("chat", "echo: hi", model="legal"))).status == 200
    assert (await road.post("chat", ask("chat", "echo: hi", model="large"))).status == 429


async def test_each_key_has_windows_of_its_own() -> None:
    other = "another-key-of-this-gateway"
    road = Road(models=[{**LARGE, "windows": ONE}], tiers=FIVE, api_keys=(KEY, other))
    for _ in range(2):
        for key in (KEY, other):
            last = await road.post(
                "chat", ask("chat", "echo: hi", model="large"), {"authorization": f"Bearer {key}"}
            )
    assert last.status == 429


async def test_what_the_service_failed_is_given_back_by_both() -> None:
    down = [True]

    def answer(request: EngineRequest) -> Any:
        if down[0]:
            raise EngineFailed("unavailable")
        return say()(request)

    road = Road(answer, models=[{**LARGE, "windows": ONE}], tiers=FIVE)
    for _ in range(3):
        assert (await road.post("chat", ask("chat", "echo: hi", model="large"))).status == 503
    down.clear()
    down.append(False)
    reply = await road.post("chat", ask("chat", "echo: hi", model="large"))
    assert (reply.status, reply.headers["x-ratelimit-limit-requests"]) == (200, "1")
    assert (await road.post("chat", ask("chat", "echo: hi", model="large"))).status == 429


async def test_a_fallback_counts_where_the_call_was_served() -> None:
    models = [
        {**FALLING, "windows": ONE},
        {**SMALL, "windows": ONE},
        {**TINY, "windows": [{"limit": 2, "seconds": 3600}]},
    ]
    road = Road(broken(REFUSED["503"][1], "gemma-27b"), models=models, tiers=FIVE)
    served = []
    for _ in range(4):
        reply = await road.post("chat", ask("chat", "echo: hi", model="large"))
        served.append((reply.status, reply.headers.get(SERVED)))
    # The large model's one request is given back each time, and a full model is left out.
    assert served == [
        (200, "gemma-4b"), (200, "gemma-1b"), (200, "gemma-1b"), (503, "gemma-27b"),
    ]  # fmt: skip
    assert (await road.post("chat", ask("chat", "echo: hi", model="small"))).status == 429


# ---- what they cost


async def test_a_model_has_its_price() -> None:
    price = {"input_per_million": 1_000_000, "output_per_million": 1_000_000}
    listed = Settings(models=[{**LARGE, "price": price}]).models
    prices = Prices({}, "EUR", Catalogue(listed))
    assert prices.cost("gemma-27b", 2, 3, 0) == 5
    assert prices.cost("legal", 1, 0, 0) == 1
    assert prices.cost("gemma-4b", 1, 0, 0) is None


def test_a_catalogue_goes_over_to_another_list_at_once() -> None:
    catalogue = Catalogue([Model(**LARGE)])
    catalogue.replace([Model(**SMALL)])
    assert catalogue.find("gemma-27b") is None
    assert catalogue.resolve("large") == "large"
    assert catalogue.resolve("small") == "gemma-4b"
    assert catalogue.aliases() == ("small",)


def test_servers_without_a_parser_get_the_gateways() -> None:
    servers = {"name": "a", "upstreams": "http://127.0.0.1:1/v1"}
    given = Settings(models=[servers | {"parser": "gemma"}, servers | {"name": "b"}])
    made = [factory.engine_of(given.engine, Path("/nonexistent"), m) for m in given.models]
    assert [type(engine) for engine in made] == [ToolCalls, UpstreamEngine]
    short = Settings(upstreams=("http://127.0.0.1:1/v1",), upstream_parser="gemma")
    assert isinstance(factory.engine(short.engine, Path("/nonexistent")), ToolCalls)


def test_a_model_in_this_process_has_its_parser(tmp_path: Path) -> None:
    """It stands before the operator's own flags: the last one rules."""
    (tmp_path / "config.json").write_text("{}")
    here = {"name": "mine", "model": str(tmp_path), "parser": "hermes"}
    given = Settings(models=[here], engine_args=("--enable-lora",)).engine
    engine = factory.engine_of(given, tmp_path, given.models[0])
    assert isinstance(engine, LocalEngine)
    assert engine.options.engine_args == ("--tool-call-parser", "hermes", "--enable-lora")


def test_the_short_form_takes_an_identity_beside_a_key() -> None:
    """As ever: the key is not sent then."""
    given = Settings(
        upstreams=SERVERS["upstreams"], upstream_api_key="unused", upstream_credentials="google"
    )
    assert isinstance(factory.engine(given.engine, Path("/nonexistent")), UpstreamEngine)
