"""The bytes that calls hold of fetched images and decoded sounds."""

from __future__ import annotations

import pytest

from gemma_gateway.core.call import Call, Principal
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.media.holdings import Holdings
from gemma_gateway.settings import Tier
from gemma_gateway.wire.openai.chat import Chat


def of(key: str) -> Call:
    return Call("req", Chat(), principal=Principal(key, key, "default", Tier()))


def refused(holdings: Holdings, call: Call, size: int) -> Code:
    before = holdings.total
    with pytest.raises(GatewayError) as error:
        holdings.take(call, size)
    assert holdings.total == before
    return error.value.code


def test_a_key_has_half_and_all_have_the_whole() -> None:
    holdings = Holdings(100)
    first, second, other, third = of("a"), of("a"), of("b"), of("c")
    holdings.take(first, 30)
    holdings.take(second, 20)
    assert refused(holdings, second, 1) is Code.RATE_LIMIT_EXCEEDED
    holdings.take(other, 40)
    assert refused(holdings, third, 11) is Code.ENGINE_OVERLOADED
    holdings.take(third, 10)
    holdings.give_back(first)
    holdings.give_back(first)  # once is enough
    holdings.take(second, 30)
    for call in (second, other, third):
        holdings.give_back(call)
    assert holdings.total == 0
    holdings.take(first, 50)
