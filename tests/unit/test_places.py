"""A key's calls in flight."""

from __future__ import annotations

import pytest

from gemma_gateway.core.call import Call, Principal
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.limits.places import Places
from gemma_gateway.settings import Tier
from gemma_gateway.wire.openai.chat import Chat


def call(name: str, most: int) -> Call:
    made = Call("req", Chat(), "/v1/chat/completions")
    made.principal = Principal(name * 64, name, "default", Tier(max_in_flight=most))
    return made


def take(places: Places, one: Call) -> None:
    assert one.principal is not None
    places.take(one, one.principal)


def test_each_key_has_its_own_places() -> None:
    places = Places()
    held = [call("a", 3) for _ in range(3)]
    for one in held:
        take(places, one)
    over = call("a", 3)
    with pytest.raises(GatewayError) as refused:
        take(places, over)
    assert refused.value.code is Code.RATE_LIMIT_EXCEEDED
    assert refused.value.headers == {"retry-after": "1"}
    assert "3 calls in flight" in refused.value.message
    take(places, call("b", 3))
    places.leave(over)  # it had none
    with pytest.raises(GatewayError):
        take(places, call("a", 3))
    places.leave(held[0])
    places.leave(held[0])  # only once
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
        places.leave(one)
    places.leave(Call("req", Chat(), "/v1/chat/completions"))  # whose key never was known
    assert len(places) == 0


def test_prompts_with_logprobs_share_their_tiers_room() -> None:
    def made(name: str) -> tuple[Call, Principal]:
        one = Call("req", Chat(), "/v1/completions")
        one.principal = Principal(name * 64, name, "t", Tier(prompt_logprobs_tokens=100))
        places.take(one, one.principal)
        return one, one.principal

    places = Places()
    (first, principal), (second, _), (plain, _), (other, others) = map(made, "aaab")
    places.weigh(first, principal, 60)
    with pytest.raises(GatewayError) as refused:
        places.weigh(second, principal, 41)
    assert refused.value.code is Code.RATE_LIMIT_EXCEEDED
    assert refused.value.headers == {"retry-after": "1"}
    assert "101 bytes" in refused.value.message
    places.weigh(other, others, 100)  # another key's room
    places.leave(second)  # it held a place, and no room
    places.leave(plain)
    places.leave(first)
    places.leave(first)  # only once
    again, _ = made("a")
    places.weigh(again, principal, 100)
    places.leave(again)
    places.leave(other)
    assert len(places) == 0
