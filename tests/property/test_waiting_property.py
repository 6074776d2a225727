"""Signs of life between an engine's chunks: whatever their cuts and the client's pace, the SDKs'
own readers see the same events as without."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence

import anthropic._streaming
import openai._streaming
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message

from gemma_gateway.api.connection import Connection
from gemma_gateway.api.deadlines import Deadlines
from gemma_gateway.api.intake import Intake
from gemma_gateway.core.call import Call, Principal
from gemma_gateway.core.dialect import Dialect
from gemma_gateway.core.heavy import Heavy
from gemma_gateway.engines.scripted import ScriptedReply
from gemma_gateway.pipeline.delivery import Delivery
from gemma_gateway.safety.policy import Policy
from gemma_gateway.settings import Tier
from gemma_gateway.wire.anthropic.messages import Messages
from gemma_gateway.wire.openai.chat import Chat
from gemma_gateway.wire.openai.completions import Completions
from gemma_gateway.wire.openai.responses import Responses
from tests import loopback

CASES = int(os.environ.get("PROPERTY_CASES", "2000")) // 5
DIALECTS: Sequence[Dialect] = (Chat(), Completions(), Responses(), Messages())
DELIVERY = Delivery(Policy.load().modes(), Heavy(), lambda model: True)
CALLER = Principal("key", "name", "default", Tier())
WORDS = ["I", " ha", "ppen", " to say: ", "grün 🙂", " again"]

Read = list[tuple[str | None, str]]


def written(dialect: Dialect) -> bytes:
    """What an engine writes."""
    said = loopback.said({"messages": []}, {"pieces": WORDS}, 1, "m")
    return b"".join(loopback.ROUTES[dialect.path][0](said, True))


WRITTEN = {dialect.path: written(dialect) for dialect in DIALECTS}


def read(raw: bytes, dialect: Dialect) -> Read:
    """The events as the official client for a route reads them."""
    if isinstance(dialect, Messages):
        found = anthropic._streaming.SSEDecoder().iter_bytes(iter([raw]))
        return [(sse.event, sse.data) for sse in found if sse.event != "ping"]
    events = openai._streaming.SSEDecoder().iter_bytes(iter([raw]))
    return [(sse.event, sse.data) for sse in events]


async def delivered(
    dialect: Dialect, cuts: list[int], signs: list[bool], pauses: list[int]
) -> tuple[bytes, bool]:
    """What a client gets, and whether it was shown life.

    Args:
        cuts: where the engine's bytes are cut.
        signs: before each chunk, and before the end: whether it is time for a sign of life.
        pauses: turns of the event loop, in turn for what the engine and the connection wait for.
    """
    raw, got = WRITTEN[dialect.path], bytearray()
    places = [0, *sorted({cut % len(raw) for cut in cuts} - {0}), len(raw)]
    turn = 0

    async def pause() -> None:
        nonlocal turn
        turn += 1
        for _ in range(pauses[turn % len(pauses)]):
            await asyncio.sleep(0)

    async def send(message: Message) -> None:
        await pause()  # as under backpressure: before anything is written
        got.extend(message.get("body", b""))

    async def receive() -> Message:
        raise AssertionError

    call = Call("req-1", dialect, principal=CALLER)
    call.request.stream = True
    one = Connection(call, {}, receive, send, 1, 600.0, Intake(1), Deadlines())
    shown = False

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal shown
        for number in range(len(places)):
            due = signs[number % len(signs)] and one.silent_since < float("inf")
            if due:  # as the sweep over all calls does
                one.show_life()
                shown = True
            await pause()
            if number + 1 < len(places):
                yield raw[places[number] : places[number + 1]]

    one.expect()
    if signs[-1]:
        one.show_life()
        shown = True
        await pause()
    assert await DELIVERY.deliver(call, one, ScriptedReply.events(chunks())) == "ok"
    return bytes(got), shown


@settings(max_examples=CASES, deadline=None)
@given(
    st.sampled_from(DIALECTS),
    st.lists(st.integers(0, 10_000), max_size=12),
    st.lists(st.booleans(), min_size=1, max_size=9),
    st.lists(st.integers(0, 4), min_size=1, max_size=9),
)
def test_signs_of_life_change_nothing(
    dialect: Dialect, cuts: list[int], signs: list[bool], pauses: list[int]
) -> None:
    plain, _ = asyncio.run(delivered(dialect, cuts, [False], [0]))
    raw, shown = asyncio.run(delivered(dialect, cuts, signs, pauses))
    assert (dialect.ping in raw) is shown
    assert raw.replace(dialect.ping, b"") == plain
    assert read(raw, dialect) == read(plain, dialect)
