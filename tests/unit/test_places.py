"""A key's calls in flight."""

from __future__ import annotations

from typing import Any

import pytest

from gemma_gateway.core.call import Call, Principal
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.stage import End
from gemma_gateway.core.usage import Usage
from gemma_gateway.limits.places import LogprobsRoom, Places
from gemma_gateway.settings import Tier
from gemma_gateway.wire.openai.chat import Chat

END = End(200, "ok", 1.0, "gemma", Usage())
NOBODY: Any = None  # no place needs the client


def call(name: str, most: int) -> Call:
    made = Call("req", Chat())
    made.principal = Principal(name * 64, name, "default", Tier(max_in_flight=most))
    return made


def take(places: Places, one: Call) -> None:
    places.enter(one, NOBODY)


def leave(places: Places, one: Call) -> None:
    places.settle(one, END)


def test_each_key_has_its_own_places() -> None:
    places = Places()
    held = [call("a", 3) for _ in range(3)]
    for one in held:
        take(places, one)
    over = call("a", 3)
    with pytest.raises(GatewayError) as refused:
        take(places, over)
    assert refused.value.code is Code.RATE_LIMIT_EXCEEDED
    assert refused.value.headers["retry-after"] == "1"
    assert "3 calls in flight" in refused.value.message
    take(places, call("b", 3))
    leave(places, over)  # it had none
    with pytest.raises(GatewayError):
        take(places, call("a", 3))
    leave(places, held[0])
    leave(places, held[0])  # only once
    take(places, call("a", 3))
    with pytest.raises(GatewayError):
        take(places, call("a", 3))
    assert places.refused == 3


def test_nothing_is_left_of_callers_that_are_gone() -> None:
    places = Places()
    calls = [call(f"{n % 16:x}", 0) for n in range(1000)]  # 0: no limit
    for one in calls:
        take(places, one)
    assert len(places) == 16
    for one in calls:
        leave(places, one)
    leave(places, Call("req", Chat()))  # whose key never was known
    assert len(places) == 0


def test_prompts_with_logprobs_share_their_tiers_room() -> None:
    def made(name: str, tokens: int) -> Call:
        one = Call("req", Chat())
        one.principal = Principal(name * 64, name, "t", Tier(prompt_logprobs_tokens=100))
        one.request.logprobs_tokens = tokens
        take(places, one)
        return one

    def weigh(one: Call) -> None:
        LogprobsRoom(places).enter(one, NOBODY)

    places = Places()
    first, second, plain, other = made("a", 60), made("a", 41), made("a", 0), made("b", 100)
    weigh(first)
    weigh(plain)
    with pytest.raises(GatewayError) as refused:
        weigh(second)
    assert refused.value.code is Code.RATE_LIMIT_EXCEEDED
    assert refused.value.headers["retry-after"] == "1"
    assert "101 bytes" in refused.value.message
    weigh(other)  # another key's room
    leave(places, second)  # it held a place, and no room
    leave(places, plain)
    leave(places, first)
    leave(places, first)  # only once
    again = made("a", 100)
    weigh(again)
    leave(places, again)
    leave(places, other)
    assert len(places) == 0
