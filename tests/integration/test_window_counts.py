"""Requests that count as several, as seconds of audio do: on real servers, against a reference."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable

import pytest

from gemma_gateway.core.call import Call, Principal
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.stage import End
from gemma_gateway.core.usage import Usage
from gemma_gateway.limits.ledger import Ledger
from gemma_gateway.limits.limiter import Limiter
from gemma_gateway.limits.script import GIVE_BACK, SCRIPT
from gemma_gateway.limits.stage import AudioWindows
from gemma_gateway.settings import Tier, Window
from gemma_gateway.storage.connection import prepare
from gemma_gateway.storage.redis import Store
from gemma_gateway.wire.openai.chat import Chat
from tests.integration.conftest import Server
from tests.stores import MICROS, rigged

Caller = Callable[..., Principal]
HEADER, SLOT = 24, 8


@pytest.mark.parametrize("seed", range(4))
async def test_decisions_waits_and_returns_are_the_reference_s(
    store: Store, prefix: str, seed: int
) -> None:
    """Random counts, looks and returns, also twice and long after, on rings that wrap around."""
    chance = random.Random(seed)
    key = f"{prefix}:{{x}}:log"
    windows = [(chance.randint(5, 9), chance.choice([1, 1, 2, 5])) for _ in range(3)]
    slots = max(limit for limit, _ in windows) + chance.choice([0, 0, 3])
    least = min(limit for limit, _ in windows)
    flat = [n for window in windows for n in window]
    clock, counted, told = 1_800_000_000 * MICROS, list[int](), list[tuple[int, int]]()
    returned = seams = refused = 0

    def inside(seconds: int, moment: int) -> list[int]:
        return [t for t in counted if t > moment - seconds * MICROS]

    for _ in range(800):
        clock += chance.choice([0, 1, 250_000, MICROS, MICROS])
        if told and chance.random() < 0.35:
            time, count = chance.choice([told[-1], chance.choice(told[-12:]), chance.choice(told)])
            reply = await store.run(prepare(GIVE_BACK, [key], [time, count]))
            if reply:
                for _ in range(count):
                    counted.remove(time)
                returned += count > 1
            else:  # given back before, or written over long after it mattered
                assert counted.count(time) < count or all(
                    time <= clock - s * MICROS for _, s in windows
                )
            continue
        take = chance.randint(0, least)
        total = struct.unpack(">d", (await store.call("GETRANGE", key, 0, 7)) or bytes(8))[0]
        reply = await store.run(rigged(key, clock, [take, slots, 60, *flat]))
        assert reply[2] == clock
        # The first moment at which so many fit: something leaves then.
        moments = [clock, *(t + s * MICROS for t in counted for _, s in windows)]
        fit = min(
            moment
            for moment in moments
            if moment >= clock
            and all(len(inside(s, moment)) + max(take, 1) <= limit for limit, s in windows)
        )
        assert reply[:2] == [int(fit == clock), fit - clock]
        if take and fit == clock:
            seams += total % slots + take > slots
            counted += [clock] * take
            told.append((clock, take))
        refused += take > 1 and fit > clock
        states = [
            number
            for _, s in windows
            for number in (
                len(inside(s, clock)),
                inside(s, clock)[0] + s * MICROS - clock if inside(s, clock) else 0,
            )
        ]
        assert reply[3:] == states
        assert await store.call("STRLEN", key) <= HEADER + slots * SLOT
    assert min(returned, seams, refused) > 20


@pytest.mark.parametrize("slots", [2, 3, 5])
async def test_several_leave_any_place_of_any_ring(store: Store, prefix: str, slots: int) -> None:
    """Before, behind and across the seam; the log is then what it would be without them."""
    for total in range(2, 3 * slots + 2):
        kept = range(max(0, total - slots), total)
        for count in range(2, len(kept) + 1):
            for gone in kept[: len(kept) - count + 1]:
                key = f"{prefix}:{{x}}:{total}-{gone}-{count}"
                together = range(gone, gone + count)  # requests of one time
                times = [gone + 1 if n in together else n + 1 for n in range(total)]
                ring = [float("nan")] * slots
                for n in kept:
                    ring[n % slots] = times[n]
                raw = struct.pack(f">{3 + slots}d", total, total, slots, *ring)
                await store.call("SET", key, raw)
                # More than there are of it are somebody else's.
                more = prepare(GIVE_BACK, [key], [gone + 1, count + 1])
                assert await store.run(more) == 0
                assert await store.call("GET", key) == raw
                give_back = prepare(GIVE_BACK, [key], [gone + 1, count])
                assert await store.run(give_back) == 1
                left, last, size, *ring = struct.unpack(
                    f">{3 + slots}d", await store.call("GET", key)
                )
                assert (left, last, size) == (total - count, total, slots)
                rest = [times[n] for n in kept if n not in together]
                found = [ring[n % slots] for n in range(max(0, int(left) - slots), int(left))]
                assert found == [0.0] * (len(found) - len(rest)) + rest  # 0: no longer known
                assert await store.run(give_back) == 0
                admit = prepare(SCRIPT, [key], [slots, slots, 3600, slots, 60])
                assert (await store.run(admit))[:4:3] == [1, slots]


async def test_many_at_once_over_two_gateways(
    server: Server, store: Store, prefix: str, caller: Caller
) -> None:
    other = Store(server.url, 5)
    await other.start()
    try:
        key, limiters = caller((100, 3600)), (Limiter(store, prefix), Limiter(other, prefix))
        found = await asyncio.gather(*(limiters[n % 2].admit(key, None, 7) for n in range(40)))
        allowed = [admission for admission in found if admission.allowed]
        assert sorted(a.states[0].remaining for a in allowed) == list(range(2, 100, 7))
        assert not (await limiters[0].admit(key, None, 3)).allowed
        assert (await limiters[1].admit(key, None, 2)).states[0].remaining == 0
        assert (await limiters[1].give_back(key, allowed[3], None, 7)).states[0].remaining == 7
        assert (await limiters[0].admit(key, None, 7)).allowed
    finally:
        await other.stop()


async def test_without_the_store(own_server: Server, prefix: str, caller: Caller) -> None:
    """This process goes on where it was."""
    store, key = Store(own_server.url, 5), caller((10, 3600))
    await store.start()
    try:
        limiter = Limiter(store, prefix)
        stored = await limiter.admit(key, None, 4)
        assert not stored.degraded
        await store.stop()  # from now on it is away
        assert not (await limiter.admit(key, None, 7)).allowed
        local = await limiter.admit(key, None, 5)
        assert (local.degraded, local.states[0].remaining) == (True, 1)
        assert (await limiter.give_back(key, stored, None, 4)).states[0].remaining == 5
        assert (await limiter.give_back(key, local, None, 5)).states[0].remaining == 10
    finally:
        await store.stop()


async def test_seconds_of_audio(store: Store, prefix: str, caller: Caller) -> None:
    """They are counted apart from the requests, and the key's report tells of both."""
    tier = Tier(
        windows=(Window(limit=5, seconds=60),),
        audio_windows=({"audio_seconds": 36_000, "seconds": 3600},),
    )
    key = Principal(caller().key_id, "a", "gold", tier)
    decided: list[str] = []
    limiter = Limiter(store, prefix)
    audio = AudioWindows(limiter, lambda decision, degraded: decided.append(decision))

    async def call(seconds: float) -> Call:
        found = Call("1", Chat(), principal=key)
        found.request.audio_seconds = seconds
        if (waiting := audio.reserve(found)) is not None:
            await waiting
        return found

    async def state() -> tuple[int, int, bool]:
        report = await Ledger(store, limiter, prefix).usage(key)
        (window,) = report.audio_windows
        assert (window.limit, window.seconds) == (36_000, 3600)
        return window.remaining, report.remaining_requests, report.degraded

    def end(outcome: str) -> End:
        return End(200, outcome, 1.0, "gemma", Usage())

    await call(0)
    assert await state() == (36_000, 5, False)
    long, short = await call(20_000), await call(15_999.5)
    with pytest.raises(GatewayError) as refused:
        await call(0.5)
    assert refused.value.code is Code.RATE_LIMIT_EXCEEDED
    assert 3500 < refused.value.wait <= 3600
    with pytest.raises(GatewayError) as never:
        await call(36_000.5)
    assert never.value.code is Code.VALIDATION_ERROR
    assert decided == ["allowed", "allowed", "denied"]
    assert await state() == (0, 5, False)
    assert audio.settle(short, end("ok")) is None
    for _ in range(2):  # settled twice, given back once
        if (waiting := audio.settle(long, end(Code.ENGINE_UNAVAILABLE.name))) is not None:
            await waiting
        assert await state() == (20_000, 5, False)
