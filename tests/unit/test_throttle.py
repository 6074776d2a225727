"""Failed keys by address."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from gemma_gateway.access.keys import KeyRing
from gemma_gateway.access.throttle import BURST, MOST, Throttle
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.settings import Settings

KEY = "right-key-0123456789"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def ring(clock: Clock, **settings: Any) -> KeyRing:
    found = KeyRing.from_settings(Settings(api_keys=(KEY,), **settings))
    found.throttle = Throttle(clock)
    return found


async def refusal(keys: KeyRing, key: str, address: str) -> GatewayError:
    with pytest.raises(GatewayError) as refused:
        await keys.identify(None, key, address)
    return refused.value


async def test_an_address_with_too_many_failures_hears_so(clock: Clock) -> None:
    keys = ring(clock)
    codes = [(await refusal(keys, f"guess-{n}", "203.0.113.9")).code for n in range(3 * BURST)]
    assert codes == [Code.INVALID_API_KEY] * BURST + [Code.RATE_LIMIT_EXCEEDED] * 2 * BURST
    last = await refusal(keys, "guess", "203.0.113.9")
    assert last.status == 429
    assert last.headers["retry-after"] == "2"
    assert keys.throttle.refused == 2 * BURST + 1
    # the good key works on, from there too; other addresses notice nothing
    assert (await keys.identify(None, KEY, "203.0.113.9")).name == "env-1"
    assert (await refusal(keys, "guess", "203.0.113.10")).code is Code.INVALID_API_KEY
    clock.now += float(last.headers["retry-after"])
    assert (await refusal(keys, "guess", "203.0.113.9")).code is Code.INVALID_API_KEY
    assert (await refusal(keys, "guess", "203.0.113.9")).code is Code.RATE_LIMIT_EXCEEDED


async def test_what_counts_as_a_failed_key(clock: Clock) -> None:
    keys = ring(clock, keys=[{"name": "old", "sha256": hashlib.sha256(b"old").hexdigest(),
                              "expires": "2020-01-01T00:00:00Z"}])  # fmt: skip
    odd: list[tuple[Any, Any]] = [
        ("Basic abc", None), ("Bearer", None), (None, ""), (None, "x" * 5000), (None, "ü"),
        ("Bearer a", "b"), (None, "old"), ("Bearer nobody", None),
    ]  # fmt: skip
    for authorization, x_api_key in odd:
        address = f"203.0.113.{len(keys.throttle._failures)}"
        codes = set()
        for _ in range(BURST + 1):
            with pytest.raises(GatewayError) as refused:
                await keys.identify(authorization, x_api_key, address)
            codes.add(refused.value.code)
        assert Code.RATE_LIMIT_EXCEEDED in codes
    for address in ("203.0.113.200", ""):  # no key is no guess; without an address nobody is told
        for _ in range(2 * BURST):
            with pytest.raises(GatewayError) as refused:
                await keys.identify(None, None if address else "guess", address)
            assert refused.value.code is Code.INVALID_API_KEY


async def test_an_ipv6_network_is_one_address(clock: Clock) -> None:
    keys = ring(clock)
    for n in range(BURST):
        await refusal(keys, "guess", f"2001:db8:0:1:{n:x}::{n:x}")
    error = await refusal(keys, "guess", "2001:db8:0:1::ffff")
    assert error.code is Code.RATE_LIMIT_EXCEEDED
    assert (await refusal(keys, "guess", "2001:db8:0:2::1")).code is Code.INVALID_API_KEY


async def test_memory_is_bounded(clock: Clock) -> None:
    keys = ring(clock)
    for n in range(MOST + 500):
        await refusal(keys, "guess", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
    assert len(keys.throttle._failures) == MOST


async def test_the_log_is_not_flooded(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    keys = ring(clock)
    for n in range(BURST + 300):
        await refusal(keys, f"guess-{n}", "203.0.113.9")
    told = [record.getMessage() for record in caplog.records]
    assert told == ["too many failed keys from 203.0.113.9; refused so far: 1"]
    assert "guess" not in caplog.text
