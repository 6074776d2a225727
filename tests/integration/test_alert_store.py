"""The alerts' part of the store, on real Redis and Valkey: one leader, fencing, slots, claims."""

from __future__ import annotations

import asyncio
import itertools

from gemma_gateway.alerts.alert import Alert
from gemma_gateway.alerts.conditions import WELL, Condition
from gemma_gateway.alerts.store import (
    MOST_DEAD,
    MOST_HISTORY,
    AlertStore,
    Changes,
    DeadLetter,
    Delivery,
    Silence,
    text,
)
from gemma_gateway.storage.redis import Store
from tests.waiting import until

MINUTE = 60_000  # milliseconds
NUMBERS = itertools.count()


def alert(state: str = "firing") -> Alert:
    return Alert(
        f"{next(NUMBERS):016x}", "memory", "memory", "medium", state, 1.0, 9.0, 8.0, "m", "", 2.0
    )


def changed(*alerts: Alert, webhook: str = "a") -> Changes:
    return Changes(
        alerts={a.key: a for a in alerts}, deliveries=[Delivery.of(a, webhook) for a in alerts]
    )


async def pass_time(store: Store, prefix: str, slot: str) -> None:
    """A minute goes by for what waits in a slot: the test doesn't depend on how fast it is."""
    await store.call("ZINCRBY", f"{prefix}:{{alerts}}:outbox", -MINUTE, slot)


async def test_one_leads_until_its_lease_is_over(store: Store, prefix: str) -> None:
    alert_stores = [AlertStore(store, prefix, 60) for _ in range(5)]
    looks = await asyncio.gather(*(alert_store.beat() for alert_store in alert_stores))
    assert [look.leads for look in looks] == [True, False, False, False, False]
    assert [look.fresh for look in looks] == [True, False, False, False, False]
    assert len({look.generation for look in looks}) == 1
    lease = f"{prefix}:{{alerts}}:lease"
    for _ in range(4):  # it keeps the lease as long as it looks, and only then
        await store.call("PEXPIRE", lease, MINUTE // 2)  # half of it is over
        assert not (await alert_stores[1].beat()).leads
        assert 0 < await store.call("PTTL", lease) <= MINUTE // 2
        assert (await alert_stores[0].beat()).leads
        assert MINUTE // 2 < await store.call("PTTL", lease) <= MINUTE
    await store.call("PEXPIRE", lease, 1)
    await until(lambda: gone(store, lease), "the lease is over")
    looks = await asyncio.gather(*(alert_store.beat() for alert_store in alert_stores[1:]))
    assert sum(look.leads for look in looks) == 1
    assert not (await alert_stores[0].beat()).leads


async def gone(store: Store, key: str) -> bool:
    return bool(await store.call("EXISTS", key) == 0)


async def test_who_gives_the_lease_up_is_followed_at_once(store: Store, prefix: str) -> None:
    first, second = AlertStore(store, prefix, 60), AlertStore(store, prefix, 60)
    assert (await first.beat()).leads
    await second.release()  # not its own: nothing happens
    assert not (await second.beat()).leads
    await first.release()
    assert (await second.beat()).leads


async def test_the_leader_hears_of_all_gateways(store: Store, prefix: str) -> None:
    leader, other = (AlertStore(store, prefix, 60) for _ in range(2))
    bad = Condition(12.0, {"a:1": (3.0, "refused, it said"), "b:1": (0.0, "")}, 0.5)
    assert (await leader.beat(bad)).conditions == (bad,)
    assert (await other.beat()).conditions == ()
    assert sorted((await leader.beat(bad)).conditions, key=str) == sorted((bad, WELL), key=str)
    await other.beat(Condition(13.0))
    assert {c.engineless for c in (await leader.beat(bad)).conditions} == {12.0, 13.0}


async def test_what_cannot_be_read_or_is_old_is_left_out(store: Store, prefix: str) -> None:
    """Of a newer version, of nobody, of a gateway that is gone."""
    alert_store = AlertStore(store, prefix, 60)
    name = f"{prefix}:{{alerts}}:conditions"
    told = ('99999999999999 {"engineless": []}', "no time at all", "1 {}")
    for token, text_ in zip(("newer", "broken", "gone"), told, strict=True):
        await store.call("HSET", name, token, text_)
    assert (await alert_store.beat()).conditions == (WELL,)
    assert set(await store.call("HKEYS", name)) == {alert_store.token.encode(), b"newer"}


async def test_who_leads_no_more_can_neither_write_nor_send(store: Store, prefix: str) -> None:
    old, new = AlertStore(store, prefix, 60), AlertStore(store, prefix, 60)
    assert (await old.beat()).leads
    assert await old.commit(changed(alert()))
    await store.call("DEL", f"{prefix}:{{alerts}}:lease")  # over, as if it had been stopped so long
    assert (await new.beat()).leads
    before = await new.alerts()
    assert not await old.commit(Changes(gone=["memory"], history=[alert("resolved")]))
    assert await new.alerts() == before
    assert await new.history(10) == []
    assert await old.claim(5, 10) == []
    assert len(await new.claim(5, 10)) == 1


async def test_a_successor_knows_everything(store: Store, prefix: str) -> None:
    first, second = AlertStore(store, prefix, 60), AlertStore(store, prefix, 60)
    await first.beat()
    fires = alert()
    assert await first.commit(changed(fires))
    await first.release()
    look = await second.beat()
    assert look.leads
    assert not look.fresh
    assert look.alerts == {"memory": fires}


async def test_a_claimed_delivery_is_nobody_else_s_until_the_claim_is_over(
    store: Store, prefix: str
) -> None:
    alert_store = AlertStore(store, prefix, 60)
    await alert_store.beat()
    await alert_store.commit(changed(alert()))
    (claimed,) = await alert_store.claim(60, 10)
    assert await alert_store.claim(60, 10) == []
    await pass_time(store, prefix, claimed.slot)  # whoever had it has died
    assert await alert_store.claim(60, 10) == [claimed]
    await alert_store.settle(claimed, "done")
    await alert_store.settle(claimed, "done")  # the answer got lost, and it was said again
    await asyncio.sleep(0.1)
    assert await alert_store.claim(0, 10) == []


async def test_a_failed_delivery_comes_again_after_its_pause(store: Store, prefix: str) -> None:
    alert_store = AlertStore(store, prefix, 60)
    await alert_store.beat()
    await alert_store.commit(changed(alert()))
    (claimed,) = await alert_store.claim(60, 10)
    tried = Delivery(claimed.id, claimed.webhook, claimed.alert, attempts=3)
    await alert_store.settle(claimed, "retry", text(tried), MINUTE)
    assert await alert_store.claim(60, 10) == []
    await pass_time(store, prefix, claimed.slot)
    assert await alert_store.claim(60, 10) == [tried]


async def test_the_next_state_waits_for_the_attempt_and_takes_its_place(
    store: Store, prefix: str
) -> None:
    """A receiver never hears "resolved" before "firing"."""
    alert_store = AlertStore(store, prefix, 60)
    await alert_store.beat()
    fires = alert()
    await alert_store.commit(changed(fires))
    (first,) = await alert_store.claim(60, 10)
    over = Alert(**{f: getattr(fires, f) for f in fires.__struct_fields__} | {"state": "resolved"})
    await alert_store.commit(changed(over))
    assert await alert_store.claim(60, 10) == []  # the first one is on its way
    await alert_store.settle(
        first, "retry", text(first), MINUTE
    )  # it failed; nobody needs it any more
    (second,) = await alert_store.claim(60, 10)
    assert second.id == f"{fires.id}-resolved"
    await alert_store.settle(second, "done")
    assert await alert_store.claim(0, 10) == []


async def test_dead_letters_and_history_are_bounded(store: Store, prefix: str) -> None:
    alert_store = AlertStore(store, prefix, 60)
    await alert_store.beat()
    for number in range(MOST_DEAD + 5):
        await alert_store.commit(changed(alert()))
        (claimed,) = await alert_store.claim(60, 10)
        dead = DeadLetter(claimed, "status 500", float(number))
        await alert_store.settle(claimed, "dead", text(dead), MOST_DEAD)
    found = await alert_store.dead()
    assert len(found) == MOST_DEAD
    assert found[0].time == MOST_DEAD + 4
    for _ in range(3):
        over = [alert("resolved") for _ in range(MOST_HISTORY // 2)]
        await alert_store.commit(Changes(history=over))
    assert len(await alert_store.history(10_000)) == MOST_HISTORY


async def test_an_outage_is_written_down_once(store: Store, prefix: str) -> None:
    alert_stores = [AlertStore(store, prefix, 60) for _ in range(3)]
    generation = (await alert_stores[0].beat()).generation
    over = alert("resolved")
    written = await asyncio.gather(
        *(b.report(over, [Delivery.of(over, "a")]) for b in alert_stores)
    )
    assert sum(written) == 1
    assert await alert_stores[0].history(10) == [over]
    assert len(await alert_stores[0].claim(60, 10)) == 1
    assert (await alert_stores[0].beat()).generation != generation


async def test_what_a_newer_version_wrote_is_left_alone(store: Store, prefix: str) -> None:
    alert_store = AlertStore(store, prefix, 60)
    await alert_store.beat()
    future = text(alert()).replace('"memory"', '"gravity"')
    for unreadable in (future, "{"):
        await store.call("HSET", f"{prefix}:{{alerts}}:firing", unreadable, unreadable)
        await store.call("LPUSH", f"{prefix}:{{alerts}}:history", unreadable)
    assert (await alert_store.beat()).alerts == {}
    assert await alert_store.history(10) == []


async def test_all_keys_share_a_hash_tag(store: Store, prefix: str) -> None:
    """One slot of a Redis Cluster."""
    alert_store = AlertStore(store, prefix, 60)
    await alert_store.beat()
    await alert_store.commit(changed(alert()))
    await alert_store.silence(Silence("0" * 16, "memory", "", "me", 1.0, 2.0))
    await alert_store.report(alert("resolved"), [])
    names = await store.call("KEYS", f"{prefix}:*")
    assert len(names) == 9
    assert all(name.startswith(f"{prefix}:{{alerts}}:".encode()) for name in names)
