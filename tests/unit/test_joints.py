"""What the lists in ``main`` are for: a stage, a filter on streamed text, an engine's decorator, a
tap, an observer and a limit of their own, each one class here and one line in its list."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gemma_gateway import main
from gemma_gateway.core.call import Call, Client
from gemma_gateway.core.engine import EngineFailed, EngineReply, EngineRequest
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.stage import End
from gemma_gateway.engines.scripted import ScriptedReply
from gemma_gateway.engines.wrapper import WrapperEngine
from gemma_gateway.safety.terms import Match
from tests.calls import DIALECTS, MODEL, ask, ending, events, streamed, whole
from tests.road import Reply, Road, say

SECRET, MASK = "swordfish", "*********"


def text_of(dialect: str, reply: Reply, stream: bool) -> str:
    return streamed(dialect, events(reply.body)) if stream else whole(dialect, reply.json())


# ---- a stage


class Curfew:
    name = "limits"

    async def enter(self, call: Call, client: Client) -> None:
        if b"midnight" in call.request.raw:
            raise GatewayError(Code.RATE_LIMIT_EXCEEDED, "Not at midnight.")


@DIALECTS
async def test_a_stage(dialect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "STAGES", (*main.STAGES[:3], lambda p: Curfew(), *main.STAGES[3:]))
    road = Road()
    assert (await road.post(dialect, ask(dialect, "echo: noon"))).status == 200
    refused = await road.post(dialect, ask(dialect, "echo: midnight"))
    assert refused.status == 429
    assert refused.json()["error"]["message"] == "Not at midnight."
    assert len(road.engine.requests) == 1


# ---- a filter


class Redacted:
    """Follows a text, and masks the secret wherever it was cut."""

    def __init__(self) -> None:
        self.held = ""
        self.match: Match | None = None

    def push(self, text: str) -> str:
        text = (self.held + text).replace(SECRET, MASK)
        keep = next(n for n in range(len(SECRET) - 1, -1, -1) if text.endswith(SECRET[:n]))
        self.held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def close(self) -> str:
        rest, self.held = self.held, ""
        return rest


class Redaction:
    flagging, rewrites = False, True

    def find(self, text: str) -> Match | None:
        return None

    def flags(self, text: str) -> set[str]:
        return set()

    def scanner(self) -> Redacted:
        return Redacted()


@pytest.fixture
def redacting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "FILTERS", (*main.FILTERS, lambda p: Redaction()))


@pytest.mark.usefixtures("redacting")
@DIALECTS
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "pieces",
    [
        ["It is swordfish."],
        ["It is sword", "fish."],
        list("It is swordfish."),
        ["It is ", "swordfish", "."],
        ["It is swordfish.", " A sword."],
        ["It ends in sword"],
        ["It is swordfish"],
    ],
)
async def test_a_filter_that_changes_texts(dialect: str, stream: bool, pieces: list[str]) -> None:
    reply = await Road(say(*pieces)).post(dialect, ask(dialect, "Which?", stream=stream))
    assert reply.status == 200
    assert SECRET not in reply.body.decode()
    assert text_of(dialect, reply, stream) == "".join(pieces).replace(SECRET, MASK)


@pytest.mark.usefixtures("redacting")
@DIALECTS
@pytest.mark.parametrize("stream", [False, True])
async def test_the_policy_still_ends_answers_before_it(dialect: str, stream: bool) -> None:
    pieces = ["It is sword", "fish, and I ", "hate ", "you ", "swordfish"]
    reply = await Road(say(*pieces)).post(dialect, ask(dialect, "Which?", stream=stream))
    said = text_of(dialect, reply, stream)
    assert said.startswith(f"It is {MASK}, and")
    assert "hate" not in reply.body.decode()
    if stream:
        assert ending(dialect, events(reply.body))[0] in ("content_filter", "refusal")


@pytest.mark.usefixtures("redacting")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", ["chat", "completions", "responses"])
async def test_logprobs_dont_spell_what_was_changed(dialect: str, stream: bool) -> None:
    more: dict[str, Any] = {"logprobs": True, "top_logprobs": 2}
    if dialect == "completions":
        more = {"logprobs": 2}
    elif dialect == "responses":
        more = {"top_logprobs": 2, "include": ["message.output_text.logprobs"]}
    road = Road(say("It is ", "sword", "fish"))
    reply = await road.post(dialect, ask(dialect, "Which?", stream=stream, **more))
    assert reply.status == 200
    assert '"sword"' not in reply.body.decode()
    assert text_of(dialect, reply, stream) == f"It is {MASK}"


# ---- an engine's decorator


class Fallback(WrapperEngine):
    """Asks for a smaller model where the one that was asked for can't be had."""

    def serves(self, model: str) -> bool:
        return model == "large" or self.inner.serves(model)

    async def send(self, request: EngineRequest) -> EngineReply:
        try:
            return await self.inner.send(request)
        except EngineFailed:
            return await self.inner.send(request.altered(model=MODEL))


@DIALECTS
@pytest.mark.parametrize("stream", [False, True])
async def test_a_decorator_of_the_engine(
    dialect: str, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small_only(request: EngineRequest) -> ScriptedReply:
        if request.model != MODEL:
            raise EngineFailed("unavailable", "out of memory")
        found = say()(request)
        assert isinstance(found, ScriptedReply)
        return found

    monkeypatch.setattr(main, "DECORATORS", (lambda p, engine: Fallback(engine),))
    road = Road(small_only)
    body = ask(dialect, "echo: <start_of_turn>Good morning", stream=stream, model="large")
    reply = await road.post(dialect, body)
    assert reply.status == 200
    assert text_of(dialect, reply, stream).endswith("Good morning")
    first, second = road.engine.requests
    assert (first.model, second.model) == ("large", MODEL)
    assert json.loads(second.body)["model"] == MODEL
    # Written anew, and as carefully: a raw prompt alone may hold control tokens.
    assert (b"<start_of_turn>" in second.body) is (dialect == "completions")
    assert json.loads(first.body) | {"model": MODEL} == json.loads(second.body)


# ---- taps, observers, limits


class Ears:
    """Hears along."""

    def __init__(self, client: Client, heard: list[bytes]) -> None:
        self.client = client
        self.heard = heard

    async def body(self) -> bytes:
        return await self.client.body()

    def expect(self) -> None:
        self.client.expect()

    async def answer(self, call: Call, status: int, body: bytes) -> None:
        self.heard.append(body)
        await self.client.answer(call, status, body)

    async def begin(self, call: Call) -> None:
        await self.client.begin(call)

    async def write(self, data: bytes) -> None:
        self.heard.append(data)
        await self.client.write(data)

    async def end(self) -> None:
        await self.client.end()

    def done(self, outcome: str) -> None:
        self.heard.append(outcome.encode())


class Recording:
    """A tap, an observer and a limit in one."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.ends: list[End] = []
        self.units: list[int] = []

    def listen(self, call: Call, client: Client) -> Ears:
        return Ears(client, self.heard)

    def settle(self, call: Call, end: End) -> None:
        self.ends.append(end)


class Tokens:
    """Reserves ten tokens a call of a hundred, and gives back what was not used."""

    def __init__(self) -> None:
        self.left = 15

    async def reserve(self, call: Call) -> None:
        if self.left < 10:
            raise GatewayError(Code.RATE_LIMIT_EXCEEDED, "No tokens are left.")
        self.left -= 10
        call.notes[Tokens] = self

    async def settle(self, call: Call, end: End) -> None:
        if call.notes.get(Tokens) is self:
            self.left += 10 - end.usage.completion_tokens


@DIALECTS
@pytest.mark.parametrize("stream", [False, True])
async def test_a_tap_an_observer_and_a_limit(
    dialect: str, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording, tokens = Recording(), Tokens()
    monkeypatch.setattr(main, "TAPS", (*main.TAPS, lambda p: recording))
    monkeypatch.setattr(main, "OBSERVERS", (*main.OBSERVERS, lambda p: recording))
    monkeypatch.setattr(main, "LIMITS", (*main.LIMITS, lambda p: tokens))
    road = Road(say("Good ", "morning"))
    reply = await road.post(dialect, ask(dialect, "Hello", stream=stream))
    assert b"".join(recording.heard) == reply.body + b"ok"
    (end,) = recording.ends
    assert (end.status, end.outcome, end.model) == (200, "ok", MODEL)
    assert end.usage.completion_tokens == 2
    assert tokens.left == 13
    tokens.left = 9
    reply = await road.post(dialect, ask(dialect, "Hello", stream=stream))
    assert (reply.status, reply.json()["error"]["message"]) == (429, "No tokens are left.")
    assert recording.ends[1].outcome == "RATE_LIMIT_EXCEEDED"
    assert tokens.left == 9  # a call that got none gives none back


def test_the_order_of_the_stages() -> None:
    """Who, then how many, then the body, then how much, then what: each needs the one before."""
    road = Road()
    made = main.made(main.STAGES, road.parts)
    assert [(type(stage).__name__, stage.name) for stage in made] == [
        ("Identify", "access"),
        ("Places", "access"),
        ("ReadBody", "body"),
        ("Room", "body"),
        ("Limits", "limits"),
        ("Steps", "validation"),
        ("CheckMedia", "safety"),
        ("LogprobsRoom", "safety"),
        ("TokenPrompts", "safety"),
    ]
    several = Road(models=[{"name": MODEL, "upstreams": ["http://127.0.0.1:9/v1"]}]).parts
    names = [stage.name for stage in main.made(main.STAGES, several)]
    assert names[-5:] == [
        "validation",
        "limits",
        "safety",
        "safety",
        "safety",
    ]  # a model's limits, once it is known
    steps = main.made(main.STEPS, road.parts)
    assert [type(step).__name__ for step in steps] == [
        "Decompress",
        "Decode",
        "Expand",
        "Sanitise",
        "Validate",
        "Routing",
        "Fit",
        "Judge",
        "BreakControlTokens",  # last: nothing may be written after it
    ]
