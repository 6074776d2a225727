"""Bodies that are still arriving: their time and their bytes."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message

from gemma_gateway.api import intake
from gemma_gateway.api.connection import Connection
from gemma_gateway.api.deadlines import Deadlines
from gemma_gateway.api.intake import Intake
from gemma_gateway.core.call import Call
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.wire.openai.chat import Chat
from tests.waiting import PATIENCE

TIMEOUT = 600.0  # seconds; of the whole call


class Sender:
    """A client that sends ``parts``, and then is silent."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = list(parts)

    async def receive(self) -> Message:
        if not self._parts:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": self._parts.pop(0), "more_body": True}


async def send(message: Message) -> None:
    """Nobody listens."""


def connection(sender: Sender, bodies: Intake, limit: int = 2**21) -> Connection:
    call = Call("req-1", Chat())
    return Connection(call, {}, sender.receive, send, limit, TIMEOUT, bodies, Deadlines())


def test_a_large_body_has_more_time() -> None:
    assert intake.patience(0) == intake.SECONDS
    assert intake.patience(10 * intake.RATE) == intake.SECONDS + 10


@pytest.mark.parametrize("parts", [(), (b"{",), (b"x" * 100_000,)])
async def test_time_is_up_for_a_body_that_doesn_t_come(
    monkeypatch: pytest.MonkeyPatch, parts: tuple[bytes, ...]
) -> None:
    """Long before the whole call's, and without a timer of its own; nothing of it stays counted."""
    monkeypatch.setattr(intake, "SECONDS", 0.1)
    monkeypatch.setattr(intake, "RATE", 1_000_000)
    bodies, deadlines = Intake(2**21), Deadlines()
    one = connection(Sender(*parts), bodies)
    deadlines.add(one)
    with pytest.raises(GatewayError) as error:
        async with asyncio.timeout(PATIENCE):
            await one.body()
    assert error.value.code is Code.REQUEST_TIMEOUT
    assert error.value.headers["connection"] == "close"
    assert bodies.total == 0


async def test_the_whole_call_s_time_is_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "SECONDS", 10 * TIMEOUT)
    one = connection(Sender(b"x"), Intake(2**21))
    reading = asyncio.create_task(one.body())
    await asyncio.sleep(0)
    assert one.patience == TIMEOUT
    reading.cancel()


async def test_a_body_over_the_limit_is_counted_no_more() -> None:
    bodies = Intake(2**21)
    with pytest.raises(GatewayError) as error:
        await connection(Sender(*[b"x" * 1000] * 10), bodies, limit=5000).body()
    assert error.value.code is Code.REQUEST_TOO_LARGE
    assert bodies.total == 0


def test_one_key_can_t_take_all_the_room() -> None:
    bodies = Intake(2**21)
    size = intake.CALLER_BYTES
    bodies.take("a", size)
    with pytest.raises(GatewayError) as error:
        bodies.take("a", 1)
    assert error.value.code is Code.RATE_LIMIT_EXCEEDED
    for other in ("b", "c", "d"):
        bodies.take(other, size)
    with pytest.raises(GatewayError) as error:
        bodies.take("e", 1)
    assert error.value.code is Code.ENGINE_OVERLOADED
    assert error.value.headers["retry-after"] == "1"
    bodies.give_back("a", size)
    bodies.take("e", size)
    for key in ("b", "c", "d", "e"):
        bodies.give_back(key, size)
    assert bodies.total == 0
    assert not bodies._held


def test_large_bodies_have_room_for_a_few_of_a_key() -> None:
    bodies = Intake(64 * 2**20)
    bodies.take("a", 4 * 64 * 2**20)
    with pytest.raises(GatewayError):
        bodies.take("a", 1)
