"""The window script on real servers and their real clocks."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date

import pytest

from gemma_gateway.core.call import Principal
from gemma_gateway.limits import callers as callers_module
from gemma_gateway.limits import limiter as limiter_module
from gemma_gateway.limits.callers import Callers
from gemma_gateway.limits.limiter import Limiter
from gemma_gateway.limits.script import MAX_ENTRIES, SCRIPT, entries, key_name
from gemma_gateway.storage.connection import prepare
from gemma_gateway.storage.redis import Store
from tests.integration.conftest import Server
from tests.stores import MICROS, RIGGED, median_cost, rigged

Caller = Callable[..., Principal]
HEADER, SLOT = 24, 8

HAMMER = """
import asyncio, json, sys
from gemma_gateway.limits.script import SCRIPT
from gemma_gateway.storage.connection import Script, prepare
from gemma_gateway.storage.redis import Store

async def main(url, key, tries, shape):
    store = Store(url, 10)
    await store.start()
    call = prepare(SCRIPT, [key], [1, *shape])
    async def one():
        return await store.run(call)
    print("ready", flush=True)
    sys.stdin.readline()
    replies = []
    for _ in range(tries // 20):
        replies += await asyncio.gather(*(one() for _ in range(20)))
        await asyncio.sleep(0.001)
    await store.stop()
    print(json.dumps([[allowed, now] for allowed, _, now, *_ in replies]))

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])))
"""


def hammer(url: str, key: str, tries: int, shape: list[int]) -> list[list[int]]:
    """Whether and when, for four processes that call the script at once, ``tries`` times each."""
    command = [sys.executable, "-c", HAMMER, url, key, str(tries), json.dumps(shape)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:  # all are connected: now they start together
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    replies: list[list[int]] = []
    for worker in workers:
        replies += json.loads(worker.communicate(timeout=60)[0])
    return replies


async def test_what_is_remembered_of_callers_is_bounded(
    store: Store, prefix: str, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiter_module, "MAX_KEYS", 10)
    monkeypatch.setattr(callers_module, "MOST_KNOWN", 10)
    limiter, callers = Limiter(store, prefix), Callers(store, prefix, 40)
    keys = [caller((1, 3600), name=str(n)) for n in range(35)]
    for key in keys:
        assert (await limiter.admit(key)).allowed
        callers.note(key.key_id, "2026-01-01")
        assert len(limiter._calls) <= 10
        assert len(callers._known) <= 10
    for key in keys:  # what is forgotten is made anew
        assert not (await limiter.admit(key)).allowed
    await callers.flush()
    found = [key_id async for page in callers.since(date(2026, 1, 1)) for key_id in page]
    assert sorted(found) == sorted(key.key_id for key in keys)


async def test_decisions_counts_and_resets_equal_a_brute_force_reference(
    store: Store, prefix: str
) -> None:
    windows = [(4, 1), (7, 2), (9, 3)]
    flat = [n for window in windows for n in window]
    # The smallest ring that these limits allow: it wraps around many times.
    call = prepare(SCRIPT, [f"{prefix}:{{x}}:log"], [1, 9, 3600, *flat])
    chance = random.Random(7)
    admitted: list[int] = []
    decisions = set()
    decisive = {(0, True, False, False), (0, False, True, False)}
    least, most = time.monotonic() + 7, time.monotonic() + 60
    while time.monotonic() < (most if decisive - decisions else least):
        replies = await asyncio.gather(*(store.run(call) for _ in range(chance.choice([1, 1, 3]))))
        for allowed, retry, now, *rest in replies:
            counts = [sum(t > now - s * 10**6 for t in admitted) for _, s in windows]
            room = all(count < limit for count, (limit, _) in zip(counts, windows, strict=True))
            assert allowed == int(room)
            waits = [
                admitted[-limit] + seconds * 10**6 - now
                for count, (limit, seconds) in zip(counts, windows, strict=True)
                if count >= limit
            ]
            assert retry == max(waits, default=0)
            if room:
                admitted.append(now)
            for n, (_, seconds) in enumerate(windows):
                inside = [t for t in admitted if t > now - seconds * 10**6]
                assert rest[2 * n] == len(inside)
                wait = inside[0] + seconds * 10**6 - now if inside else 0
                assert rest[2 * n + 1] == wait
            decisions.add((allowed, *(count >= limit for count, (limit, _) in
                                      zip(counts, windows, strict=True))))  # fmt: skip
        await asyncio.sleep(chance.choice([0, 0.01, 0.05, 0.2]))
    assert len(admitted) > 18  # the ring of 9 did wrap
    assert decisive <= decisions  # the one, and the other, has been the one that refused
    assert any(not d[0] and d[3] for d in decisions)


# The same script with a clock of the test's own: edges to the microsecond, jumps, long times.


@pytest.mark.parametrize("seed", range(6))
async def test_random_timelines_with_a_rigged_clock(store: Store, prefix: str, seed: int) -> None:
    """Exact edges, clocks put back a little, limits raised and lowered: as the reference says."""
    assert RIGGED.text != SCRIPT.text
    chance = random.Random(seed)
    key = f"{prefix}:{{x}}:log"
    admitted: list[int] = []
    clock, slots, held = 1_800_000_000 * MICROS, 0, 15
    windows: list[tuple[int, int]] = []
    refused = edges = 0
    for step in range(600):
        if step % 100 == 0:  # other limits: the ring grows, or stays larger than needed
            windows = [(chance.randint(1, 15), chance.choice([1, 2, 5, 60])) for _ in range(3)]
            slots = max(slots, *(limit for limit, _ in windows))
        clock += chance.choice([0, 1, 250_000, 500_000, MICROS, MICROS, 3 * MICROS])
        told = clock - chance.choice([0, 0, 0, 0, 700_000])
        take = chance.choice([1, 1, 1, 0])
        flat = [n for window in windows for n in window]
        reply = await store.run(rigged(key, told, [take, slots, 60, *flat]))

        now = max([told, *admitted[-1:]])  # time never goes back behind the last request
        kept = admitted[-held:]
        if take:
            held, admitted = slots, kept  # what a small ring forgot, a larger one can't know
        inside = [[t for t in kept if t > now - s * MICROS] for _, s in windows]
        edges += sum(t == now - s * MICROS for _, s in windows for t in kept)
        waits = [
            times[-limit] + seconds * MICROS - now
            for times, (limit, seconds) in zip(inside, windows, strict=True)
            if len(times) >= limit
        ]
        if take and not waits:
            admitted = [*admitted, now]
            inside = [[*times, now] for times in inside]
        refused += bool(waits)
        states = [
            number
            for times, (_, seconds) in zip(inside, windows, strict=True)
            for number in (len(times), times[0] + seconds * MICROS - now if times else 0)
        ]
        assert reply == [int(not waits), max(waits, default=0), now, *states]
        assert await store.call("STRLEN", key) <= HEADER + slots * SLOT
    assert refused > 20
    assert edges > 20


def test_four_processes_let_exactly_the_limit_through(server: Server, prefix: str) -> None:
    key = key_name(prefix, secrets.token_hex(32), "log")
    replies = hammer(server.url, key, 200, [100, 3600, 100, 3600])
    assert len(replies) == 800
    assert sum(allowed for allowed, _ in replies) == 100


def test_four_processes_over_moving_windows(server: Server, prefix: str) -> None:
    """At no moment more than the limit; never a refusal while there is room."""
    key = key_name(prefix, secrets.token_hex(32), "log")
    limit = 50
    replies = hammer(server.url, key, 2500, [limit, 3600, limit, 1])
    admitted = sorted(now for allowed, now in replies if allowed)
    refused = [now for allowed, now in replies if not allowed]
    assert len(refused) > 0
    for n in range(limit, len(admitted)):
        assert admitted[n] - admitted[n - limit] >= 10**6
    for now in refused:
        assert sum(now - 10**6 < t <= now for t in admitted) >= limit


async def test_no_double_burst_at_a_window_edge(store: Store, prefix: str) -> None:
    """A fixed window would let 2 x limit through around its edge."""
    key, edge = f"{prefix}:{{x}}:log", 1_800_000_000 * MICROS
    shape = [1, 10, 60, 10, 1]
    around = [edge - 150_000 + n for n in range(10)] + [edge + 150_000 + n for n in range(10)]
    replies = [await store.run(rigged(key, clock, shape)) for clock in around]
    assert [reply[0] for reply in replies] == [1] * 10 + [0] * 10


async def test_room_comes_back_when_the_oldest_leaves(
    store: Store, prefix: str, caller: Caller
) -> None:
    limiter = Limiter(store, prefix)
    key = caller((2, 4), (100, 3600))
    await limiter.admit(key)
    await asyncio.sleep(2)
    await limiter.admit(key)
    refused = await limiter.admit(key)
    assert not refused.allowed
    assert 0 < refused.retry_after <= 2
    assert [state.remaining for state in refused.states] == [0, 98]
    await asyncio.sleep(refused.retry_after + 0.002)
    assert (await limiter.admit(key)).allowed
    assert not (await limiter.admit(key)).allowed  # the second one is still inside


async def test_a_refused_request_counts_in_no_window(
    store: Store, prefix: str, caller: Caller
) -> None:
    limiter = Limiter(store, prefix)
    key = caller((3, 3600), (1000, 86_400))
    for _ in range(50):
        last = await limiter.admit(key)
    assert not last.allowed
    assert [state.remaining for state in last.states] == [0, 997]
    look = await limiter.look(key)
    assert look.last_hour == 3


async def test_looking_counts_nothing(store: Store, prefix: str, caller: Caller) -> None:
    limiter = Limiter(store, prefix)
    key = caller((5, 3600))
    fresh = await limiter.look(key)
    assert fresh.last_hour == 0
    assert fresh.admission.states[0].remaining == 5
    assert fresh.admission.states[0].reset_seconds == 0
    await limiter.admit(key)
    for _ in range(20):
        look = await limiter.look(key)
    assert (look.last_hour, look.admission.states[0].remaining) == (1, 4)


async def test_the_last_hour_is_exact_with_short_windows_only(
    store: Store, prefix: str, caller: Caller
) -> None:
    limiter = Limiter(store, prefix)
    key = caller((5, 1))
    answers: list[bool] = []
    while sum(answers) < 15:
        answers += [(await limiter.admit(key)).allowed for _ in range(8)]
        await asyncio.sleep(0.3)
    assert (await limiter.look(key)).last_hour == sum(answers)


async def test_callers_do_not_touch_each_other(store: Store, prefix: str, caller: Caller) -> None:
    limiter = Limiter(store, prefix)
    one, two = caller((1, 60), name="one"), caller((1, 60), name="two")
    assert (await limiter.admit(one)).allowed
    assert (await limiter.admit(two)).allowed
    assert not (await limiter.admit(one)).allowed


async def test_memory_is_bounded_and_the_log_expires(
    store: Store, prefix: str, caller: Caller
) -> None:
    limiter = Limiter(store, prefix)
    key = caller((500, 3600))
    await asyncio.gather(*(limiter.admit(key) for _ in range(3000)))
    name = key_name(prefix, key.key_id, "log")
    assert await store.call("STRLEN", name) == HEADER + 500 * SLOT
    assert await store.call("MEMORY", "USAGE", name) <= 2 * 500 * SLOT + 512
    assert 3590 <= await store.call("TTL", name) <= 3600
    assert [name.encode()] == await store.call("KEYS", f"{prefix}:{{{key.key_id}}}:*")


async def test_a_ring_that_wraps_never_grows(store: Store, prefix: str) -> None:
    key = f"{prefix}:{{x}}:log"
    call = prepare(SCRIPT, [key], [1, 5, 3600, 5, 1])
    total = 0
    while total < 12:
        total += (await store.run(call))[0]
        await asyncio.sleep(0.01)
    assert await store.call("STRLEN", key) == HEADER + 5 * SLOT
    assert struct.unpack(">d", (await store.call("GETRANGE", key, 0, 7)))[0] == total


async def test_a_larger_limit_keeps_what_was_counted(store: Store, prefix: str) -> None:
    key, clock = f"{prefix}:{{x}}:log", 1_800_000_000 * MICROS
    small, large = [1, 4, 3600, 4, 1], [1, 10, 3600, 10, 3600]
    for _ in range(4):  # wraps: 4 a second
        clock += 2 * MICROS
        replies = [await store.run(rigged(key, clock + n, small)) for n in range(6)]
        assert [reply[0] for reply in replies] == [1, 1, 1, 1, 0, 0]
    counts = []
    while (reply := await store.run(rigged(key, clock + 10 + len(counts), large)))[0]:
        counts.append(reply[3])
    assert counts == [5, 6, 7, 8, 9, 10]
    last = await store.run(rigged(key, clock + 30, small))
    assert last[0] == 0  # a process with the old settings shrinks nothing
    assert await store.call("STRLEN", key) == HEADER + 10 * SLOT


@pytest.mark.parametrize(("ahead", "allowed"), [(30, 0), (100_000, 1)])
async def test_a_clock_that_was_put_back(
    store: Store, prefix: str, ahead: int, allowed: int
) -> None:
    """A little: time stands still and nothing is forgotten. More than the log lives: begin anew."""
    key = f"{prefix}:{{x}}:log"
    seconds, micros = map(int, await store.call("TIME"))
    future = (seconds + ahead) * 10**6 + micros
    await store.call("SET", key, struct.pack(">5d", 2, future, 2, future, future))
    reply = await store.run(prepare(SCRIPT, [key], [1, 2, 3600, 2, 3600]))
    assert reply[0] == allowed
    if allowed:
        assert reply[3] == 1


async def test_cost_does_not_grow_with_the_limit(store: Store, prefix: str, caller: Caller) -> None:
    """A full log of a million requests, through admit and look; the server's own clock."""
    key = caller((MAX_ENTRIES, 86_400), (MAX_ENTRIES, 3600), name="many")
    name = key_name(prefix, key.key_id, "log")
    seconds = int((await store.call("TIME"))[0]) - 5000
    times = [seconds * 10**6 + n * 5000 for n in range(MAX_ENTRIES)]  # the last 5,000 seconds
    head = struct.pack(">3d", MAX_ENTRIES, times[-1], MAX_ENTRIES)
    await store.call("SET", name, head + struct.pack(f">{MAX_ENTRIES}d", *times))
    limiter = Limiter(store, prefix)
    look = await limiter.look(key)
    assert look.admission.states[0].remaining == 0
    assert abs(look.last_hour - 3600 * 200) < 3000
    costs = []
    for one in (caller((10, 86_400), (10, 3600), name="few"), key):
        await store.call("CONFIG", "RESETSTAT")
        for _ in range(50):
            await asyncio.gather(*(limiter.admit(one) for _ in range(20)))
        costs.append(await median_cost(store))
    assert costs[1] < 20 * costs[0]  # a scan of the log would be a thousand times as much
    assert await store.call("STRLEN", name) == HEADER + MAX_ENTRIES * SLOT
    await store.call("DEL", name)


async def test_the_script_comes_back_after_a_flush(
    store: Store, prefix: str, caller: Caller
) -> None:
    limiter = Limiter(store, prefix)
    key = caller((100, 60))
    await limiter.admit(key)
    await store.call("SCRIPT", "FLUSH")
    answers = await asyncio.gather(*(limiter.admit(key) for _ in range(20)))
    assert all(a.allowed and not a.degraded for a in answers)
    assert answers[-1].states[0].remaining == 79
    assert limiter.degraded_calls == store.failures == 0


async def test_all_keys_of_a_caller_share_one_cluster_slot(store: Store, caller: Caller) -> None:
    key = caller((1, 1)).key_id
    names = [key_name("gemma", key, part) for part in ("log", "usage", "usage:2026-01-01")]
    assert all(name.startswith(f"gemma:{{{key}}}:") for name in names)


@pytest.mark.parametrize("hostile", ["", "a:b", "}{", "x" * 64, "A" * 64, "0" * 63 + "\n"])
def test_nothing_but_a_digest_becomes_a_key_name(hostile: str) -> None:
    with pytest.raises(ValueError, match="digest"):
        key_name("gemma", hostile, "log")


def test_the_log_holds_the_largest_limit_and_an_hour(caller: Caller) -> None:
    def size(*windows: tuple[int, int]) -> int:
        return entries(caller(*windows).tier.windows)

    assert size((100, 3600)) == 100
    assert size((10, 60), (100, 3600), (500, 86_400)) == 500
    assert size((10, 60)) == 600  # what an hour of it lets through
    assert size((7, 3599)) == 14
    assert size((1000, 1)) == MAX_ENTRIES
