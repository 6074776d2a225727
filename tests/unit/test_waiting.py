"""A client that waits: what a silent stream shows, and how long an answer is waited for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from math import inf
from typing import Any

import pytest
from starlette.types import Message

from gemma_gateway.api import deadlines
from gemma_gateway.api.connection import Connection
from gemma_gateway.api.deadlines import Deadlines, client_patience
from gemma_gateway.api.intake import Intake
from gemma_gateway.core.call import Call
from gemma_gateway.core.engine import EngineFailed, EngineRequest
from gemma_gateway.core.errors import Code
from gemma_gateway.engines.scripted import ScriptedReply
from gemma_gateway.wire.openai.chat import Chat
from tests.calls import DIALECTS, MODEL, ask, events, streamed
from tests.process import AUTH
from tests.road import Reply, Road, Script, Told, say
from tests.waiting import until

TICK = 0.002
COMMENT = b": ping\n\n"
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
WORDS = ("It", " is", " raining", " again")

Beat = Callable[[], Awaitable[None]]


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "TICK", TICK)
    monkeypatch.setattr(deadlines, "ROUNDED", 0.0)


def sign(dialect: str) -> bytes:
    return PING if dialect == "messages" else COMMENT


class Waited:
    """A call whose engine can wait until its client was shown life.

    Args:
        play: an engine's answer, as ``say`` gives it, and what waits for two more signs of life.
    """

    def __init__(
        self,
        dialect: str,
        play: Callable[[EngineRequest, Beat], Awaitable[ScriptedReply]],
        **settings: Any,
    ) -> None:
        self.dialect = dialect
        self.reply = Reply()
        self.road = Road(lambda request: play(request, self._beat), **settings)

    async def _beat(self) -> None:
        seen = self.reply.body.count(sign(self.dialect))
        await until(
            lambda: self.reply.body.count(sign(self.dialect)) > seen + 1, "two signs of life"
        )

    async def post(self, body: Any = None, **more: Any) -> Reply:
        body = body or ask(self.dialect, "hello", stream=True)
        return await self.road.post(self.dialect, body, reply=self.reply, **more)


def waited(dialect: str, play: Any, **settings: Any) -> Waited:
    return Waited(dialect, play, **{"heartbeat_seconds": TICK, **settings})


async def parts(request: EngineRequest, *words: str) -> list[bytes]:
    reply = say(*(words or WORDS))(request)
    return [part async for part in reply.chunks()]  # type: ignore[union-attr]


# ---- signs of life


async def before_the_head(request: EngineRequest, beat: Beat) -> ScriptedReply:
    found = await parts(request)
    await beat()
    return ScriptedReply.events(found)


async def before_the_first_event(request: EngineRequest, beat: Beat) -> ScriptedReply:
    found = await parts(request)

    async def answer() -> AsyncIterator[bytes]:
        await beat()
        for part in found:
            yield part

    return ScriptedReply.events(answer())


async def between_all_events(request: EngineRequest, beat: Beat) -> ScriptedReply:
    found = await parts(request)

    async def answer() -> AsyncIterator[bytes]:
        for part in found:
            yield part
            await beat()

    return ScriptedReply.events(answer())


async def within_an_event(request: EngineRequest, beat: Beat) -> ScriptedReply:
    found = b"".join(await parts(request))

    async def answer() -> AsyncIterator[bytes]:
        for at in range(0, len(found), 97):
            yield found[at : at + 97]
            if at % 2:
                await beat()

    return ScriptedReply.events(answer())


PLACES = [before_the_head, before_the_first_event, between_all_events, within_an_event]


@DIALECTS
@pytest.mark.parametrize("play", PLACES)
async def test_a_silent_stream_shows_life_and_says_the_same(
    dialect: str, play: Any, told: Told
) -> None:
    plain = await Road(say(*WORDS), heartbeat_seconds=0).post(
        dialect, ask(dialect, "hello", stream=True)
    )
    call = waited(dialect, play)
    reply = await call.post()
    assert reply.status == 200
    assert reply.body.count(sign(dialect)) > 1
    assert reply.body.replace(sign(dialect), b"") == plain.body
    assert reply.headers["content-type"] == plain.headers["content-type"]
    assert reply.headers["x-request-id"]
    (quiet, quiet_end), (shown, shown_end) = told.calls
    assert shown.answer.events == quiet.answer.events == len(WORDS)
    assert shown.answer.first_token > 0
    assert quiet_end._replace(seconds=0) == shown_end._replace(seconds=0)


@DIALECTS
async def test_text_that_is_held_back_is_silence(dialect: str) -> None:
    """What may become a term of the policy waits for what comes next."""
    events_of: list[bytes] = []

    async def play(request: EngineRequest, beat: Beat) -> ScriptedReply:
        events_of.extend(await parts(request, "I", " ha", "ppen to know"))

        async def answer() -> AsyncIterator[bytes]:
            for part in events_of:
                yield part
                if b'" ha"' in part:
                    await beat()

        return ScriptedReply.events(answer())

    reply = await waited(dialect, play).post()
    assert streamed(dialect, events(reply.body)) == "I happen to know"
    assert reply.body.count(sign(dialect)) > 1


@DIALECTS
async def test_zero_is_never(dialect: str) -> None:
    async def play(request: EngineRequest, beat: Beat) -> ScriptedReply:
        await asyncio.sleep(20 * TICK)
        return ScriptedReply.events(await parts(request))

    reply = await waited(dialect, play, heartbeat_seconds=0).post()
    assert streamed(dialect, events(reply.body)) == "".join(WORDS)
    assert sign(dialect) not in reply.body


@DIALECTS
async def test_a_whole_answer_stays_silent(dialect: str) -> None:
    async def play(request: EngineRequest, beat: Beat) -> ScriptedReply:
        await asyncio.sleep(20 * TICK)
        found = say(*WORDS)(request)
        assert isinstance(found, ScriptedReply)
        return found

    reply = await waited(dialect, play).post(ask(dialect, "hello"))
    assert reply.status == 200
    assert reply.json()["model"] == MODEL


async def test_a_client_that_reads_nothing_gets_one_sign_at_most() -> None:
    """Nothing piles up for it, and the call's own writes and its end wait their turn."""
    gate, entered, sent = asyncio.Event(), 0, list[Message]()

    async def send(message: Message) -> None:
        nonlocal entered
        entered += 1
        await gate.wait()
        sent.append(message)

    looked_after = Deadlines(heartbeat=TICK)
    call = Call("req-1", Chat())
    one = Connection(call, {}, send, send, 1, 600.0, Intake(1), looked_after)  # type: ignore[arg-type]
    looked_after.add(one)
    one.expect()
    await until(lambda: entered, "a sign of life")
    await asyncio.sleep(20 * TICK)
    assert entered == 1

    async def rest() -> None:
        await one.begin(call)
        await one.write(b"data: 1\n\n")
        await one.end()

    rest_of_it = asyncio.create_task(rest())
    await asyncio.sleep(20 * TICK)
    assert entered == 1
    gate.set()
    await rest_of_it
    looked_after.discard(one)
    await asyncio.sleep(20 * TICK)
    kinds = [message["type"].removeprefix("http.response.") for message in sent]
    assert kinds[0] == "start"
    assert kinds.count("start") == 1
    bodies = [message["body"] for message in sent[1:]]
    assert [body for body in bodies if body != COMMENT] == [b"data: 1\n\n", b""]
    assert bodies[-1] == b""
    assert not sent[-1].get("more_body")


async def test_a_blocked_write_is_no_silence() -> None:
    gate, entered = asyncio.Event(), list[Message]()

    async def send(message: Message) -> None:
        entered.append(message)
        if message.get("body") == b"data: 1\n\n":
            await gate.wait()

    looked_after = Deadlines(heartbeat=TICK)
    call = Call("req-1", Chat())
    one = Connection(call, {}, send, send, 1, 600.0, Intake(1), looked_after)  # type: ignore[arg-type]
    looked_after.add(one)
    await one.begin(call)
    writing = asyncio.create_task(one.write(b"data: 1\n\n"))
    await until(lambda: entered and entered[-1].get("body") == b"data: 1\n\n", "the write")
    await asyncio.sleep(20 * TICK)
    assert entered[-1]["body"] == b"data: 1\n\n"
    gate.set()
    await writing
    await until(lambda: entered[-1]["body"] == COMMENT, "a sign of life")
    await one.end()
    looked_after.discard(one)


# ---- what is refused after a sign of life


def failed(reason: str) -> Callable[[EngineRequest], Any]:
    def fail(request: EngineRequest) -> Any:
        raise EngineFailed(reason)

    return fail


def status(number: int) -> Callable[[EngineRequest], Any]:
    error = {"error": {"message": "the prompt is odd", "param": "messages", "code": number}}
    return lambda request: ScriptedReply.json(error, number)


def broken(request: EngineRequest) -> Any:
    raise RuntimeError("secret")


def whole(request: EngineRequest) -> Any:
    return say(*WORDS)(request.altered(stream=False))


# what the engine does, the status before a sign of life, code, of whose outcome
REFUSALS: dict[str, tuple[Callable[[EngineRequest], Any], int, str]] = {
    "400": (status(400), 400, "VALIDATION_ERROR"),
    "404": (status(404), 501, "UPSTREAM_ROUTE_MISSING"),
    "429": (status(429), 503, "ENGINE_OVERLOADED"),
    "503": (status(503), 503, "GENERATION_ERROR"),
    "unavailable": (failed("unavailable"), 503, "ENGINE_UNAVAILABLE"),
    "timeout": (failed("timeout"), 504, "ENGINE_TIMEOUT"),
    "died": (failed("died"), 503, "GENERATION_ERROR"),
    "a fault of ours": (broken, 503, "INTERNAL_ERROR"),
}


def refusal(dialect: str, reply: Reply) -> tuple[str, str]:
    """Code and message of the error that a stream ends with."""
    last = events(reply.body)[-1]
    error = last["error"]
    assert "secret" not in json.dumps(last)
    return error["gateway_code"], error["message"]


@DIALECTS
@pytest.mark.parametrize("case", REFUSALS)
async def test_a_refusal_keeps_its_status_until_life_was_shown(
    dialect: str, case: str, told: Told
) -> None:
    answer, number, code = REFUSALS[case]

    async def play(request: EngineRequest, beat: Beat) -> ScriptedReply:
        await beat()
        found: ScriptedReply = answer(request)
        return found

    body = ask(dialect, "hello", stream=True)
    at_once = await Road(answer).post(dialect, body)
    assert (at_once.status, at_once.json()["error"]["gateway_code"]) == (number, code)
    late = await waited(dialect, play).post(body)
    assert late.status == 200
    assert refusal(dialect, late) == (code, at_once.json()["error"]["message"])
    assert told.ends == [(number, code), (200, code)]


@DIALECTS
async def test_an_engine_that_knows_no_streams_is_an_error_in_the_end(
    dialect: str, told: Told
) -> None:
    async def play(request: EngineRequest, beat: Beat) -> ScriptedReply:
        await beat()
        found: ScriptedReply = whole(request)
        return found

    reply = await waited(dialect, play).post()
    assert refusal(dialect, reply)[0] == "GENERATION_ERROR"
    assert told.ends == [(200, "GENERATION_ERROR")]


@DIALECTS
@pytest.mark.parametrize("case", [*REFUSALS, "whole"])
async def test_a_refusal_meets_a_sign_of_life_on_its_way(dialect: str, case: str) -> None:
    """The sweep has just decided on it, and it hasn't left."""
    answer, _, code = REFUSALS.get(case, (whole, 200, "GENERATION_ERROR"))

    def meets(request: EngineRequest) -> Any:
        (one,) = road._app._deadlines._open
        one.show_life()
        return answer(request)

    road = Road(meets)
    reply = await road.post(dialect, ask(dialect, "hello", stream=True))
    assert reply.status == 200
    assert reply.body.startswith(sign(dialect))
    assert refusal(dialect, reply)[0] == code


@DIALECTS
@pytest.mark.parametrize(("more", "number"), [({"temperature": 9}, 400), ({"model": "no"}, 404)])
async def test_what_is_wrong_with_a_request_is_told_first(
    dialect: str, more: dict[str, Any], number: int
) -> None:
    road = Road(say(*WORDS), heartbeat_seconds=TICK)
    reply = await road.post(dialect, ask(dialect, "hello", stream=True) | more)
    assert reply.status == number


async def test_a_limit_is_told_first() -> None:
    road = Road(say(*WORDS), heartbeat_seconds=TICK, requests_per_hour=1)
    assert (await road.post("chat", ask("chat", "hello", stream=True))).status == 200
    assert (await road.post("chat", ask("chat", "hello", stream=True))).status == 429


@DIALECTS
async def test_another_model_answers_after_life_was_shown(dialect: str) -> None:
    url = "http://127.0.0.1:1/v1"
    models = [
        {"name": "gemma-27b", "upstreams": url, "fallbacks": ["gemma-4b"]},
        {"name": "gemma-4b", "upstreams": url},
    ]
    asked: list[str] = []

    async def play(request: EngineRequest, beat: Beat) -> ScriptedReply:
        asked.append(request.model)
        await beat()
        if request.model == "gemma-27b":
            raise EngineFailed("unavailable")
        return ScriptedReply.events(await parts(request))

    call = waited(dialect, play, models=models)
    reply = await call.post(ask(dialect, "hello", model="gemma-27b", stream=True))
    assert asked == ["gemma-27b", "gemma-4b"]
    assert streamed(dialect, events(reply.body)) == "".join(WORDS)


@DIALECTS
async def test_a_shutdown_after_life_was_shown(dialect: str, told: Told) -> None:
    async def play(request: EngineRequest, beat: Beat) -> ScriptedReply:
        await beat()
        call.road._app.stop()
        await asyncio.Event().wait()
        raise AssertionError

    call = waited(dialect, play)
    reply = await call.post()
    assert refusal(dialect, reply)[0] == "SHUTTING_DOWN"
    assert told.ends == [(200, "SHUTTING_DOWN")]


# ---- how long a client waits


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, inf),
        ({"x-stainless-timeout": "600"}, 600),
        ({"x-stainless-timeout": "0.5"}, 0.5),
        ({"x-stainless-read-timeout": "7.25"}, 7.25),
        ({"x-stainless-read-timeout": "7", "x-stainless-timeout": "9"}, 7),
        ({"x-stainless-read-timeout": "None", "x-stainless-timeout": "9"}, 9),
        ({"x-envoy-expected-rq-timeout-ms": "1500"}, 1.5),
        ({"x-envoy-expected-rq-timeout-ms": "1500", "x-stainless-timeout": "1"}, 1),
        *(
            ({name: value}, inf)
            for name in ("x-stainless-timeout", "x-envoy-expected-rq-timeout-ms")
            for value in (
                *("", "0", "0.0", "-1", "+5", "NaN", "inf", "1e3", "1_0", "0x10", " 5", "5 ", "5s"),
                *("None", "NOT_GIVEN", "٣", "5,5", "1" * 13, "1.", ".5"),
            )
        ),
    ],
)
def test_what_clients_say_of_their_patience(fields: dict[str, str], seconds: float) -> None:
    raw = {name.encode(): value.encode() for name, value in fields.items()}
    assert client_patience(raw) == pytest.approx(seconds)


def never(ended: list[str], begun: Callable[[], None]) -> Script:
    """An engine that doesn't answer, and notes that it was left."""

    async def answer(request: EngineRequest) -> ScriptedReply:
        begun()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(request.id)
            raise
        raise AssertionError

    return answer


@DIALECTS
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "field",
    [
        ("x-stainless-timeout", "90"),
        ("x-stainless-read-timeout", "90"),
        ("x-envoy-expected-rq-timeout-ms", "90000"),
    ],
)
async def test_nobody_works_for_a_client_that_waits_no_longer(
    dialect: str, stream: bool, field: tuple[str, str], told: Told
) -> None:
    ended: list[str] = []

    def while_it_works() -> None:
        waiting = road._app._deadlines._open
        ((one, since),) = waiting.items()
        waiting[one] = since - 100  # so long has its client been waiting by now

    road = Road(never(ended, while_it_works))
    name, value = field
    headers = {**AUTH, name: value}
    reply = await road.post(dialect, ask(dialect, "hello", stream=stream), headers=headers)
    assert (reply.status, reply.json()["error"]["gateway_code"]) == (504, "CLIENT_DEADLINE")
    assert reply.headers["x-should-retry"] == "false"
    assert len(ended) == 1
    assert told.ends == [(504, "CLIENT_DEADLINE")]


@pytest.mark.parametrize(("wait", "late"), [(inf, Code.ENGINE_TIMEOUT), (9.0, Code.CLIENT_DEADLINE),
                                            (900.0, Code.ENGINE_TIMEOUT)])  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_waits_for_the_beginning_only(wait: float, late: Code, stream: bool) -> None:
    """From when its body is here. Whoever has the beginning may read as long as the call takes."""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Message) -> None:
        """It arrives."""

    call = Call("req-1", Chat())
    call.started -= 60  # the body took so long
    one = Connection(call, {}, receive, send, 9, 600.0, Intake(9), Deadlines())
    one.wait = wait
    await one.body()
    assert one.late is late
    assert one.patience == (pytest.approx(69, abs=5) if late is Code.CLIENT_DEADLINE else 600)
    await (one.begin(call) if stream else one.answer(call, 200, b"{}"))
    assert (one.late, one.patience) == (Code.ENGINE_TIMEOUT, 600)
