"""A lease and an outbox of their own, on real Redis and Valkey."""

from __future__ import annotations

import asyncio
import json

from gemma_gateway.storage import Lease, Outbox, Store


def outbox(store: Store, prefix: str, lease: Lease | None = None) -> Outbox:
    return Outbox(store, *(f"{prefix}:{{jobs}}:{name}" for name in ("due", "items", "dead")), lease)


def item(name: str, **more: object) -> str:
    return json.dumps({"id": name, **more})


async def test_one_of_many_has_a_lease_and_keeps_it(store: Store, prefix: str) -> None:
    leases = [Lease(store, f"{prefix}:lease", 60) for _ in range(5)]
    assert sorted(await asyncio.gather(*(lease.take() for lease in leases)))[-2:] == [False, True]
    (holder,) = [lease for lease in leases if await lease.take()]
    assert await store.call("GET", holder.key) == holder.token.encode()
    assert 0 < await store.call("PTTL", holder.key) <= holder.milliseconds
    other = next(lease for lease in leases if lease is not holder)
    assert not await other.release()  # not its own: nothing happens
    assert await holder.take()
    assert await holder.release()
    assert await other.take()
    assert not await holder.take()


async def test_who_is_silent_loses_a_lease(store: Store, prefix: str) -> None:
    first, second = Lease(store, f"{prefix}:lease", 0.2), Lease(store, f"{prefix}:lease", 60)
    assert await first.take()
    async with asyncio.timeout(30):
        while not await second.take():
            await asyncio.sleep(0.02)
    assert not await first.take()


async def test_an_item_is_claimed_once_until_it_is_settled(store: Store, prefix: str) -> None:
    boxes = [outbox(store, prefix) for _ in range(3)]
    await boxes[0].put("a", item("1"))
    claims = await asyncio.gather(*(box.claim(60, 10) for box in boxes))
    assert [claim for claim in claims if claim] == [{"a": item("1").encode()}]
    assert await boxes[1].settle("a", "1", "retry", item("1", tried=1), 0)
    assert await boxes[2].claim(0, 10) == {"a": item("1", tried=1).encode()}
    await asyncio.sleep(0.01)  # the claim was over at once
    assert await boxes[0].claim(60, 10) == {"a": item("1", tried=1).encode()}
    assert await boxes[0].settle("a", "1", "done")
    assert not await boxes[0].settle("a", "1", "done")
    assert await boxes[0].claim(60, 10) == {}


async def test_a_later_item_waits_for_the_one_in_its_slot(store: Store, prefix: str) -> None:
    box = outbox(store, prefix)
    await box.put("a", item("1"))
    assert await box.claim(60, 10)
    await box.put("a", item("2"))
    assert await box.claim(60, 10) == {}
    assert not await box.settle("a", "1", "dead", "never kept", 10)
    assert await box.claim(60, 10) == {"a": item("2").encode()}
    assert await box.settle("a", "2", "dead", "kept", 10)
    assert await store.call("LRANGE", f"{prefix}:{{jobs}}:dead", 0, -1) == [b"kept"]


async def test_no_more_are_claimed_than_asked_for(store: Store, prefix: str) -> None:
    box = outbox(store, prefix)
    for n in range(5):
        await box.put(f"slot {n}", item(f"{n}"))
    assert [len(await box.claim(60, 2)) for _ in range(4)] == [2, 2, 1, 0]


async def test_under_a_lease_only_its_holder_gets_anything(store: Store, prefix: str) -> None:
    mine, other = (Lease(store, f"{prefix}:{{jobs}}:lease", 60) for _ in range(2))
    assert await mine.take()
    await outbox(store, prefix).put("a", item("1"))
    assert await outbox(store, prefix, other).claim(60, 10) == {}
    assert list(await outbox(store, prefix, mine).claim(60, 10)) == ["a"]
