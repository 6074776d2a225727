"""Requests that are given back to their windows: on real servers, against a reference."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable

import pytest

from gemma_gateway.core.call import Principal
from gemma_gateway.limits.limiter import Group, Limiter
from gemma_gateway.limits.script import GIVE_BACK, MAX_ENTRIES, SCRIPT, key_name
from gemma_gateway.storage.connection import prepare
from gemma_gateway.storage.redis import Store
from tests.integration.conftest import Server
from tests.stores import MICROS, median_cost, rigged

Caller = Callable[..., Principal]


@pytest.mark.parametrize("seed", range(8))
async def test_every_decision_is_as_if_it_had_never_come(
    store: Store, prefix: str, seed: int
) -> None:
    """Random requests, looks and returns, also twice and long after, on rings that wrap around."""
    chance = random.Random(seed)
    key = f"{prefix}:{{x}}:log"
    windows = [(chance.randint(1, 9), chance.choice([1, 2, 5, 20])) for _ in range(3)]
    slots = max(limit for limit, _ in windows) + chance.choice([0, 0, 3])
    flat = [n for window in windows for n in window]
    clock, counted, told, returned = 1_800_000_000 * MICROS, list[int](), list[int](), 0
    for _ in range(800):
        clock += chance.choice([0, 1, 1000, 250_000, MICROS])
        if told and chance.random() < 0.35:
            time = chance.choice([told[-1], chance.choice(told[-12:]), chance.choice(told)])
            reply = await store.run(prepare(GIVE_BACK, [key], [time]))
            if reply:
                counted.remove(time)
                returned += 1
            else:  # it had gone: given back before, or written over long after it mattered
                assert all(time <= clock - s * MICROS for _, s in windows) or time not in counted
            continue
        take = chance.choice([1, 1, 0])
        shown = clock - chance.choice([0, 0, 0, 700_000])
        reply = await store.run(rigged(key, shown, [take, slots, 60, *flat]))
        now = reply[2]
        assert now == max([shown, *told[-1:]])  # no clock goes back
        inside = [[t for t in counted if t > now - s * MICROS] for _, s in windows]
        room = all(len(ts) < limit for ts, (limit, _) in zip(inside, windows, strict=True))
        waits = [
            ts[-limit] + seconds * MICROS - now
            for ts, (limit, seconds) in zip(inside, windows, strict=True)
            if len(ts) >= limit
        ]
        assert reply[:2] == [int(room), max(waits, default=0)]
        if take and room:
            counted.append(now)
            told.append(now)
            inside = [[*ts, now] for ts in inside]
        states = [
            number
            for ts, (_, seconds) in zip(inside, windows, strict=True)
            for number in (len(ts), ts[0] + seconds * MICROS - now if ts else 0)
        ]
        assert reply[3:] == states
    assert returned > 50


@pytest.mark.parametrize("slots", [1, 2, 3, 5])
async def test_any_place_of_any_ring(store: Store, prefix: str, slots: int) -> None:
    """Before, behind and across the seam; the log is then what it would be without that one."""
    admit = [1, slots, 3600, slots, 60]
    for total in range(1, 3 * slots + 2):
        kept = range(max(0, total - slots), total)
        for gone in kept:
            key = f"{prefix}:{{x}}:{total}-{gone}"
            ring = [float("nan")] * slots
            for n in range(total):
                ring[n % slots] = n + 1
            await store.call("SET", key, struct.pack(f">{3 + slots}d", total, total, slots, *ring))
            await store.call("EXPIRE", key, 1000)
            assert await store.run(prepare(GIVE_BACK, [key], [gone + 1])) == 1
            raw = await store.call("GET", key)
            left, last, size, *ring = struct.unpack(f">{3 + slots}d", raw)
            assert (left, size) == (total - 1, slots)
            rest = [n + 1 for n in kept if n != gone]
            forgotten = [0] if total > slots else []  # whose time is no longer known
            expected = [*forgotten, *rest]
            assert [
                ring[n % slots] for n in range(max(0, total - 1 - slots), total - 1)
            ] == expected
            assert last == total  # no clock goes back behind what was
            assert await store.call("TTL", key) > 900
            # A second copy finds nothing, and the log still works.
            assert await store.run(prepare(GIVE_BACK, [key], [gone + 1])) == 0
            assert await store.call("GET", key) == raw
            assert (await store.run(prepare(SCRIPT, [key], admit)))[:4:3] == [1, 1]


async def test_what_is_not_there_makes_nothing(store: Store, prefix: str) -> None:
    key = f"{prefix}:{{x}}:log"
    assert await store.run(prepare(GIVE_BACK, [key], [1_800_000_000 * MICROS])) == 0
    assert await store.call("EXISTS", key) == 0
    await store.run(prepare(SCRIPT, [key], [1, 3, 60, 3, 60]))
    raw = await store.call("GET", key)
    for time in (0, 1, 2 * 1_800_000_000 * MICROS):
        assert await store.run(prepare(GIVE_BACK, [key], [time])) == 0
    assert await store.call("GET", key) == raw


async def test_many_at_once_over_two_gateways(
    server: Server, store: Store, prefix: str, caller: Caller
) -> None:
    """Exactly those places come back, however requests and returns are interleaved."""
    other = Store(server.url, 5)
    await other.start()
    try:
        limit, key = 100, caller((100, 3600))
        limiters = [Limiter(store, prefix), Limiter(other, prefix)]
        chance = random.Random(5)

        async def call(number: int) -> int:
            limiter = limiters[number % 2]
            admission = await limiter.admit(key)
            assert admission.states[0].remaining >= 0
            if not admission.allowed:
                return 0
            await asyncio.sleep(chance.random() / 50)
            if chance.random() < 0.5:
                return 1
            left = await limiter.give_back(key, admission)
            assert 0 <= left.states[0].remaining <= limit
            return 0

        kept = sum(await asyncio.gather(*(call(number) for number in range(limit))))
        look = await limiters[0].look(key)
        assert (look.last_hour, look.admission.states[0].remaining) == (kept, limit - kept)
        answers = [(await limiters[n % 2].admit(key)).allowed for n in range(limit - kept + 5)]
        assert answers == [True] * (limit - kept) + [False] * 5
    finally:
        await other.stop()


async def test_a_full_window_has_room_again(store: Store, prefix: str, caller: Caller) -> None:
    limiter, key = Limiter(store, prefix), caller((2, 3600), (5, 86_400))
    first = await limiter.admit(key)
    await limiter.admit(key)
    assert not (await limiter.admit(key)).allowed
    state = await limiter.give_back(key, first)
    assert [s.remaining for s in state.states] == [1, 4]
    assert (await limiter.give_back(key, first)).states[0].remaining == 1  # once is all
    assert (await limiter.admit(key)).allowed
    assert not (await limiter.admit(key)).allowed


async def test_a_refusal_has_nothing_to_give(store: Store, prefix: str, caller: Caller) -> None:
    limiter, key = Limiter(store, prefix), caller((1, 3600))
    await limiter.admit(key)
    refused = await limiter.admit(key)
    assert await limiter.give_back(key, refused) == refused
    assert (await limiter.look(key)).last_hour == 1


async def test_without_the_store(own_server: Server, prefix: str, caller: Caller) -> None:
    """What this process counted by itself comes back; what the store counted stays there, and in
    this process's own count it is given back all the same."""
    store, key = Store(own_server.url, 5), caller((3, 3600))
    await store.start()
    try:
        limiter = Limiter(store, prefix)
        stored = await limiter.admit(key)
        assert not stored.degraded
        await store.stop()  # from now on it is away
        local = [await limiter.admit(key) for _ in range(3)]
        assert [a.allowed for a in local] == [True, True, False]
        assert local[0].degraded
        assert (await limiter.give_back(key, local[0])).states[0].remaining == 1
        assert (await limiter.give_back(key, stored)).states[0].remaining == 2
        assert (await limiter.give_back(key, local[1])).states[0].remaining == 3
    finally:
        await store.stop()


async def test_it_costs_little_in_the_largest_log(
    store: Store, prefix: str, caller: Caller
) -> None:
    """A million requests, of which the latest go, and as many of a thousand."""
    key = caller((MAX_ENTRIES, 86_400), name="many")
    name = key_name(prefix, key.key_id, "log")
    newest = int((await store.call("TIME"))[0]) * 10**6
    took = []
    for size in (1000, MAX_ENTRIES):
        times = [newest - (size - n) * 5000 for n in range(size)]
        head = struct.pack(">3d", size, times[-1], size)
        await store.call("SET", name, head + struct.pack(f">{size}d", *times))
        await store.call("CONFIG", "RESETSTAT")
        for time in times[-1:-400:-4]:
            assert await store.run(prepare(GIVE_BACK, [name], [time])) == 1
        took.append(await median_cost(store))
    assert took[1] < 20 * took[0]  # about the same here; all of the log is a thousand times as much
    await store.call("DEL", name)


async def test_a_larger_limit_after_all_was_given_back(store: Store, prefix: str) -> None:
    key = f"{prefix}:{{x}}:log"
    time = (await store.run(prepare(SCRIPT, [key], [1, 1, 60, 1, 60])))[2]
    assert await store.run(prepare(GIVE_BACK, [key], [time])) == 1
    large = prepare(SCRIPT, [key], [1, 4, 60, 4, 60])
    assert [(await store.run(large))[0] for _ in range(5)] == [1, 1, 1, 1, 0]


async def test_what_counts_apart_comes_back_there(
    store: Store, prefix: str, caller: Caller
) -> None:
    limiter, key = Limiter(store, prefix), caller((2, 3600))
    apart = Group("token counts", key.tier.windows)
    await limiter.admit(key)
    first = await limiter.admit(key, apart)
    assert (await limiter.admit(key, apart)).allowed
    assert not (await limiter.admit(key, apart)).allowed
    assert (await limiter.give_back(key, first, apart)).states[0].remaining == 1
    assert (await limiter.look(key)).admission.states[0].remaining == 1
    assert (await limiter.admit(key)).allowed
