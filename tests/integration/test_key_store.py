"""Run-time keys over a real store: lookups, changes that reach other processes, outages."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gemma_gateway.access import managed as managed_module
from gemma_gateway.access import service as service_module
from gemma_gateway.access.keys import KeyRing, UnknownKey, generate_key
from gemma_gateway.access.managed import ManagedKeys
from gemma_gateway.access.names import Names
from gemma_gateway.access.repository import KeyRepository
from gemma_gateway.access.service import MAX_EARLIER, KeyService
from gemma_gateway.access.throttle import BURST, Throttle
from gemma_gateway.core.call import Principal
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.settings import Settings, Tier, Window
from gemma_gateway.storage.redis import Store
from tests.integration.conftest import Server, server_binary
from tests.integration.redis_groups import Cluster
from tests.waiting import until

OPERATOR = Principal("f" * 64, "op", "default", Tier(), scopes=frozenset({"operator"}))
GOLD = Tier(windows=(Window(limit=7, seconds=60),), max_tokens_cap=777)


class Clock:
    """Seconds since the epoch, that a test moves."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@dataclass
class Process:
    """What one gateway process has of keys."""

    store: Store
    prefix: str
    clock: Clock = field(default_factory=Clock)
    settings: Settings = field(default_factory=lambda: Settings(tiers={"gold": GOLD}))

    def __post_init__(self) -> None:
        self.repository = KeyRepository(self.store, self.prefix)
        self.managed = ManagedKeys(
            self.repository,
            self.settings.limits,
            self.settings.access.key_stale_seconds,
            self.clock,
        )
        self.service = KeyService(self.repository, self.managed, self.settings.limits, self.clock)
        self.ring = KeyRing.from_settings(self.settings, (), self.managed)

    async def who(self, secret: str, address: str = "") -> Principal:
        return await self.ring.identify(None, secret, address)

    async def refusal(self, secret: str, address: str = "") -> Code:
        with pytest.raises(GatewayError) as refused:
            await self.who(secret, address)
        return refused.value.code

    async def make(self, **fields: Any) -> tuple[str, str]:
        """A new key's id and secret."""
        key, secret = await self.service.create(
            OPERATOR, {"name": "team", "tier": "default", **fields}
        )
        return key.id, secret


@pytest.fixture
async def one(store: Store, prefix: str) -> Process:
    return Process(store, prefix)


@pytest.fixture
async def other(server: Server, prefix: str) -> AsyncIterator[Process]:
    """Another process, with a connection of its own."""
    store = Store(server.url, 5)
    await store.start()
    yield Process(store, prefix)
    await store.stop()


async def test_a_key_made_here_works_there_at_once(one: Process, other: Process) -> None:
    key_id, secret = await one.make(
        name="blue", tier="gold", models=("gemma",), scopes=("operator",)
    )
    found = await other.who(secret)
    assert (found.key_id, found.name, found.tier_name) == (key_id, "blue", "gold")
    assert (found.models, found.scopes) == ({"gemma"}, {"operator"})
    assert found.tier == GOLD
    assert key_id != hashlib.sha256(secret.encode()).hexdigest()


async def test_a_known_key_costs_no_round_trip(one: Process) -> None:
    _, secret = await one.make(windows=((3, 60),))
    with pytest.raises(UnknownKey):
        one.ring.authenticate(None, secret)
    first = await one.who(secret)
    await one.store.stop()
    again = one.ring.authenticate(f"Bearer {secret}", None)  # without waiting for anything
    assert again is first
    assert again.tier.windows == (Window(limit=3, seconds=60),)
    assert again.tier.max_tokens_cap == Tier().max_tokens_cap  # the rest is its tier's
    assert one.managed.lookups == 1


async def test_the_tier_stays_the_same_object(one: Process) -> None:
    """The limiter packs its script call anew for another one."""
    key_id, secret = await one.make(windows=((3, 60),))
    first = await one.who(secret)
    rotated = (await one.service.rotate(OPERATOR, key_id, 60))[1]
    old, new = await one.who(secret), await one.who(rotated)
    assert old is new
    assert old.tier.windows == first.tier.windows
    plain = [(await one.who((await one.make())[1])).tier for _ in range(2)]
    assert plain[0] is plain[1]


async def test_changes_reach_other_processes(one: Process, other: Process) -> None:
    key_id, secret = await one.make()
    _, bystander = await one.make()
    for process in (one, other):
        await process.managed.follow()
        await process.who(secret)
        await process.who(bystander)
    await one.service.change(OPERATOR, key_id, {"tier": "gold", "windows": ((1, 2),)})
    assert (await one.who(secret)).tier_name == "gold"  # where it was changed, at once
    assert (await other.who(secret)).tier_name == "default"
    before = other.managed.lookups
    await other.managed.follow()
    found = await other.who(secret)
    assert (found.tier_name, found.tier.windows) == ("gold", (Window(limit=1, seconds=2),))
    await other.who(bystander)
    assert other.managed.lookups == before + 1  # only what has changed is asked for again


async def test_changes_are_followed_in_the_background(one: Process, other: Process) -> None:
    key_id, secret = await one.make()
    await other.managed.start()
    try:
        await other.who(secret)
        await one.service.revoke(OPERATOR, key_id)
        await until(lambda: other.managed.key(key_id) is None, "the key is forgotten")
        assert await other.refusal(secret) is Code.API_KEY_REVOKED
    finally:
        await other.managed.stop()


async def test_expiry_is_checked_on_every_call(one: Process) -> None:
    key_id, secret = await one.make(expires=one.clock.now + 10)
    await one.who(secret)
    one.clock.now += 9.99
    await one.who(secret)
    one.clock.now += 0.02
    assert await one.refusal(secret) is Code.API_KEY_EXPIRED
    await one.service.change(OPERATOR, key_id, {"expires": one.clock.now + 10})
    await one.service.rotate(OPERATOR, key_id, 1000)
    await one.who(secret)
    one.clock.now += 11  # a grace doesn't make a key live longer
    assert await one.refusal(secret) is Code.API_KEY_EXPIRED
    await one.service.change(OPERATOR, key_id, {"expires": None})
    await one.who(secret)


async def test_rotation_with_grace(one: Process) -> None:
    key_id, first = await one.make()
    second = (await one.service.rotate(OPERATOR, key_id, 100))[1]
    assert {(await one.who(s)).key_id for s in (first, second)} == {key_id}
    one.clock.now += 50
    third = (await one.service.rotate(OPERATOR, key_id, 1000))[1]
    one.clock.now += 49
    for secret in (first, second, third):
        await one.who(secret)
    one.clock.now += 2  # the first one's grace doesn't grow with the next rotation
    assert await one.refusal(first) is Code.API_KEY_EXPIRED
    for secret in (second, third):
        await one.who(secret)
    last = (await one.service.rotate(OPERATOR, key_id, 0))[1]  # as after a leak: all at once
    for secret in (first, second, third):
        assert await one.refusal(secret) is Code.API_KEY_EXPIRED
    await one.who(last)


async def test_secrets_of_many_rotations_are_bounded(one: Process) -> None:
    key_id, secret = await one.make()
    made = [secret]
    while len(made) < MAX_EARLIER + 4:
        made += [(await one.service.rotate(OPERATOR, key_id, 1000))[1]]
    for old in made[:3]:
        assert await one.refusal(old) is Code.API_KEY_EXPIRED
    for kept in made[3:]:
        await one.who(kept)


async def test_a_revoked_key_is_over(one: Process) -> None:
    key_id, first = await one.make()
    second = (await one.service.rotate(OPERATOR, key_id, 100))[1]
    await one.service.revoke(OPERATOR, key_id)
    again = await one.service.revoke(OPERATOR, key_id)
    assert again.state(one.clock.now) == "revoked"
    for secret in (first, second):
        assert await one.refusal(secret) is Code.API_KEY_REVOKED
    for change in (
        one.service.change(OPERATOR, key_id, {"name": "x"}),
        one.service.rotate(OPERATOR, key_id, 0),
    ):
        with pytest.raises(GatewayError) as refused:
            await change
        assert refused.value.code is Code.KEY_CONFLICT


@pytest.mark.parametrize("act", ["change", "rotate", "revoke"])
async def test_there_is_no_such_key(one: Process, act: str) -> None:
    call = {
        "change": lambda: one.service.change(OPERATOR, "a" * 64, {"name": "x"}),
        "rotate": lambda: one.service.rotate(OPERATOR, "a" * 64, 0),
        "revoke": lambda: one.service.revoke(OPERATOR, "a" * 64),
    }[act]
    with pytest.raises(GatewayError) as refused:
        await call()
    assert refused.value.code is Code.KEY_NOT_FOUND


async def test_operators_at_the_same_time_lose_nothing(one: Process, other: Process) -> None:
    """Each change is one field; all must be there in the end."""
    key_id, _ = await one.make()
    changes: list[Any] = [{"name": "new"}, {"tier": "gold"}, {"models": ("m",)}]
    for _ in range(10):
        await one.service.change(OPERATOR, key_id, {"name": "old", "tier": "default", "models": ()})
        await asyncio.gather(
            *(
                process.service.change(OPERATOR, key_id, change)
                for process, change in zip((one, other, one), changes, strict=True)
            )
        )
        row = (await one.repository.get([key_id]))[0]
        assert row is not None
        assert (row.key.name, row.key.tier, row.key.models) == ("new", "gold", ("m",))


async def test_the_list_goes_page_by_page(one: Process) -> None:
    ids = [(await one.make())[0] for _ in range(7)]
    found: list[str] = []
    while page := await one.repository.page(found[-1] if found else "", 3):
        found += [key.id for key in page]
    assert found == ids[::-1]
    assert await one.repository.page("b" * 64, 3) is None


async def test_what_is_over_is_forgotten_in_time(
    one: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Revoked keys and replaced secrets leave the store; so it holds what is in use."""
    kept_id, kept = await one.make()
    revoked_id, revoked = await one.make()
    monkeypatch.setattr(service_module, "TELL_SECONDS", -2)
    monkeypatch.setattr(service_module, "REVOKED_SECONDS", -2)
    fresh = (await one.service.rotate(OPERATOR, kept_id, 0))[1]
    await one.service.revoke(OPERATOR, revoked_id)
    await one.make()  # a write sweeps
    assert await one.refusal(kept) is Code.INVALID_API_KEY
    assert await one.refusal(revoked) is Code.INVALID_API_KEY
    await one.who(fresh)
    listed = await one.repository.page("", 10)
    assert listed is not None
    assert revoked_id not in {key.id for key in listed}
    name = f"{one.prefix}:{{keys}}"
    counts = [await one.store.call("HLEN", f"{name}:{part}") for part in ("records", "digests")]
    counts += [await one.store.call("ZCARD", f"{name}:{part}") for part in ("index", "ends")]
    assert counts == [2, 2, 2, 0]


async def test_nothing_secret_is_stored_or_logged(
    one: Process, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway.audit")
    key_id, first = await one.make(scopes=("operator",))
    await one.service.change(OPERATOR, key_id, {"name": "x"})
    second = (await one.service.rotate(OPERATOR, key_id, 5))[1]
    await one.service.revoke(OPERATOR, key_id)
    lines = [(r.getMessage(), r.fields) for r in caplog.records if r.name == "gateway.audit"]  # type: ignore[attr-defined]
    assert [what for what, _ in lines] == [
        "key created", "key changed", "key rotated", "key revoked",
    ]  # fmt: skip
    assert all(line["by"] == "ffffffff" and line["key"] == key_id[:8] for _, line in lines)
    assert lines[0][1]["operator"] is True
    assert lines[1][1]["fields"] == ["name"]
    told = json.dumps([line for _, line in lines]) + caplog.text
    for name in await one.store.call("KEYS", f"{one.prefix}:*"):
        told += str(await one.store.call("DUMP", name))
    told += repr(vars(one.managed)) + repr(vars(one.ring))
    assert first[3:] not in told
    assert second[3:] not in told


async def test_a_tier_that_left_the_settings(one: Process, prefix: str) -> None:
    """The key gets the built-in bounds: neither another tier's limits, nor its name."""
    _, secret = await one.make(tier="gold")
    generous = Tier(windows=(Window(limit=10_000, seconds=60),), quality_sample=1)
    settings = Settings(tiers={"default": generous}, requests_per_hour=9)
    found = await Process(one.store, prefix, settings=settings).who(secret)
    assert found.tier_name == "other"
    assert found.tier.windows == (Window(limit=9, seconds=3600),)
    assert found.tier.quality_sample == 0


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"tier": "platinum"}, "tier"), ({"expires": 1.0}, "expires")],
)
async def test_what_only_the_settings_or_the_clock_know(
    one: Process, fields: Any, param: str
) -> None:
    key_id, _ = await one.make()
    for call in (one.make(**fields), one.service.change(OPERATOR, key_id, fields)):
        with pytest.raises(GatewayError) as refused:
            await call
        assert (refused.value.code, refused.value.param) == (Code.VALIDATION_ERROR, param)


async def test_names_of_keys(one: Process) -> None:
    key_id, _ = await one.make(name="blue")
    assert await Names(one.ring, one.repository).of([key_id, "c" * 64]) == {key_id: "blue"}


async def test_in_a_redis_cluster(tmp_path: Path, prefix: str) -> None:
    """Each command and script finds the one node that has the keys."""
    with Cluster(server_binary("valkey"), tmp_path, None) as cluster:
        store = Store(cluster.url, 5)
        await store.start()
        one, other = Process(store, prefix), Process(store, prefix)
        key_id, first = await one.make()
        await other.managed.follow()
        assert (await other.who(first)).key_id == key_id
        second = (await one.service.rotate(OPERATOR, key_id, 0))[1]
        await other.managed.follow()
        assert await other.refusal(first) is Code.API_KEY_EXPIRED
        assert (await other.who(second)).key_id == key_id
        listed = await one.repository.page("", 10)
        assert listed is not None
        assert [key.id for key in listed] == [key_id]
        assert store.failures == 0
        await store.stop()


# ---- strangers


async def test_a_flood_of_random_keys_stays_bounded(
    one: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They push out neither each other's memory bound, nor the keys that work."""
    monkeypatch.setattr(managed_module, "MAX_UNKNOWN", 100)
    _, secret = await one.make()
    await one.who(secret)
    for _ in range(5):
        wrong = [generate_key() for _ in range(100)]
        codes = await asyncio.gather(*(one.refusal(key) for key in wrong))
        assert set(codes) == {Code.INVALID_API_KEY}
    assert len(one.managed._unknown) == 100
    assert len(one.managed) == 1
    before = one.managed.lookups
    for key in wrong:  # of these it is still known that they are nobody's
        assert await one.refusal(key) is Code.INVALID_API_KEY
    assert one.managed.lookups == before
    one.clock.now += 6
    assert await one.refusal(wrong[0]) is Code.INVALID_API_KEY
    assert one.managed.lookups == before + 1


async def test_known_keys_are_bounded(one: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(managed_module, "MAX_SECRETS", 5)
    made = [await one.make() for _ in range(6)]
    for n in (0, 1, 2, 3, 4, 0, 5):
        await one.who(made[n][1])
    assert len(one.managed) == 5
    assert one.managed.key(made[1][0]) is None  # the one not seen for longest
    assert one.managed.key(made[0][0]) is not None
    assert (await one.who(made[1][1])).key_id == made[1][0]


@pytest.mark.parametrize("at_once", [True, False])
async def test_guesses_from_one_address_cost_the_store_little(
    one: Process, other: Process, at_once: bool
) -> None:
    """Good keys work on from there: those in use, those that have to be read anew, and those made
    by this gateway. One made elsewhere shares what look-ups the address has left."""
    address, clock = "203.0.113.9", Clock()
    one.ring.throttle = Throttle(clock)
    (used_id, used), (_, fresh), (_, elsewhere) = await one.make(), await one.make(), (
        await other.make()
    )  # fmt: skip
    await one.who(used, address)
    guesses = [generate_key() for _ in range(300)]
    if at_once:
        codes = await asyncio.gather(*(one.refusal(guess, address) for guess in guesses))
    else:
        codes = [await one.refusal(guess, address) for guess in guesses]
    assert Counter(codes) == {
        Code.INVALID_API_KEY: BURST,
        Code.RATE_LIMIT_EXCEEDED: len(guesses) - BURST,
    }
    # At once: as many are under way as fail before the address has to wait.
    assert one.managed.lookups <= 1 + BURST * (2 if at_once else 1) + 1
    before = one.managed.lookups
    assert (await one.who(used, address)).key_id == used_id
    assert one.managed.lookups == before
    one.managed.forget(used_id)
    assert (await one.who(used, address)).key_id == used_id
    assert (await one.who(fresh, address)).name == "team"
    assert await one.refusal(elsewhere, address) is Code.RATE_LIMIT_EXCEEDED
    assert (await one.who(elsewhere, "203.0.113.10")).name == "team"
    clock.now += 1  # the ration of such an address
    _, another = await other.make()
    assert (await one.who(another, address)).name == "team"
    assert await one.refusal(generate_key(), address) is Code.RATE_LIMIT_EXCEEDED


async def test_many_new_keys_behind_one_address_are_all_let_in(
    one: Process, other: Process
) -> None:
    made = [(await other.make())[1] for _ in range(5 * BURST)]
    found = await asyncio.gather(*(one.who(secret, "203.0.113.9") for secret in made))
    assert len({principal.key_id for principal in found}) == len(made)


@pytest.mark.parametrize("text", ["", "sk-123", "gg-short", "gg-" + "x" * 44, "gg-" + "é" * 43])
async def test_what_can_be_no_key_is_not_asked_for(one: Process, text: str) -> None:
    assert await one.refusal(text) is Code.INVALID_API_KEY
    assert one.managed.lookups == 0


async def test_anonymous_callers_and_run_time_keys(store: Store, prefix: str) -> None:
    process = Process(store, prefix, settings=Settings(allow_anonymous=True))
    key_id, secret = await process.make()
    assert (await process.who(secret)).key_id == key_id
    assert (await process.who(generate_key())).name == "anonymous"


# ---- a store that goes away, forgets, or holds what is wrong


@pytest.fixture
async def fragile(own_server: Server, prefix: str) -> AsyncIterator[Process]:
    store = Store(own_server.url, 2)  # the machine is busy
    await store.start()
    yield Process(store, prefix)
    await store.stop()


async def until_back(process: Process) -> None:
    await until(lambda: process.store.available, "the store is back")


async def followed(process: Process) -> None:
    """Wait for the first look at the changes: what was known before it goes."""
    await until(lambda: process.managed._seen is not None, "the first look at the changes")


async def test_the_store_goes_away(own_server: Server, fragile: Process) -> None:
    key_id, known = await fragile.make()
    _, unknown = await fragile.make()
    await fragile.managed.follow()
    await fragile.who(known)
    own_server.signal(signal.SIGSTOP)
    for _ in range(3):
        assert (await fragile.who(known)).key_id == key_id
        with pytest.raises(GatewayError) as refused:
            await fragile.who(unknown)
        assert refused.value.code is Code.KEY_STORE_UNAVAILABLE
        assert refused.value.status == 503
        assert refused.value.headers["retry-after"] == "1"
    with pytest.raises(GatewayError) as refused:
        await fragile.service.revoke(OPERATOR, key_id)
    assert refused.value.code is Code.KEY_STORE_UNAVAILABLE
    own_server.signal(signal.SIGCONT)
    await until_back(fragile)
    await fragile.who(unknown)


async def test_a_change_made_during_an_outage_is_heard_of(
    own_server: Server, fragile: Process
) -> None:
    """This process loses its connection; another one revokes the key meanwhile."""
    key_id, secret = await fragile.make()
    await fragile.managed.follow()
    await fragile.who(secret)
    await fragile.store.stop()
    store = Store(own_server.url, 5)
    await store.start()
    await Process(store, fragile.prefix).service.revoke(OPERATOR, key_id)
    await store.stop()
    await fragile.who(secret)
    await fragile.store.start()
    await fragile.managed.follow()
    assert await fragile.refusal(secret) is Code.API_KEY_REVOKED


async def test_known_keys_go_when_nothing_confirms_them_for_too_long(
    own_server: Server, prefix: str
) -> None:
    store = Store(own_server.url, 2)
    await store.start()
    process = Process(store, prefix, settings=Settings(key_stale_seconds=1.5))
    _, secret = await process.make()
    await process.managed.start()
    try:
        await followed(process)
        await process.who(secret)
        own_server.signal(signal.SIGSTOP)
        await process.who(secret)
        await until(lambda: not len(process.managed), "the key is forgotten")
        assert await process.refusal(secret) is Code.KEY_STORE_UNAVAILABLE
        own_server.signal(signal.SIGCONT)
        await until_back(process)
        await process.who(secret)
    finally:
        await process.managed.stop()
        await store.stop()


async def test_a_store_that_lost_everything(own_server: Server, fragile: Process) -> None:
    """Keys that the store no longer has end here, too."""
    key_id, secret = await fragile.make()
    await fragile.service.change(OPERATOR, key_id, {"name": "x"})
    await fragile.managed.follow()
    await fragile.who(secret)
    await fragile.store.call("FLUSHALL")
    await fragile.managed.follow()
    assert await fragile.refusal(secret) is Code.INVALID_API_KEY


async def test_a_key_changed_by_hand_is_noticed(one: Process) -> None:
    """Past us, so that no change was told: it is read anew after a while."""
    key_id, secret = await one.make()
    await one.managed.start()
    try:
        await followed(one)
        await one.who(secret)
        await one.store.call("HDEL", f"{one.prefix}:{{keys}}:records", key_id)
        await one.who(secret)
        one.clock.now += managed_module.REREAD_SECONDS + 1
        await one.who(secret)  # still, and it is due now
        await until(lambda: not len(one.managed), "the key is forgotten")
        assert await one.refusal(secret) is Code.INVALID_API_KEY
    finally:
        await one.managed.stop()


@pytest.mark.parametrize("record", [b"", b"{}", b'{"id": 1}', b"\xff"])
async def test_a_record_that_is_none(one: Process, record: bytes) -> None:
    key_id, secret = await one.make()
    await one.store.call("HSET", f"{one.prefix}:{{keys}}:records", key_id, record)
    assert await one.refusal(secret) is Code.KEY_STORE_UNAVAILABLE


async def test_a_record_of_a_newer_version_is_read(one: Process) -> None:
    key_id, secret = await one.make()
    name = f"{one.prefix}:{{keys}}:records"
    record = json.loads(await one.store.call("HGET", name, key_id))
    await one.store.call("HSET", name, key_id, json.dumps({**record, "colour": "red"}))
    assert (await one.who(secret)).key_id == key_id


async def test_an_answer_that_got_lost_is_written_once(one: Process) -> None:
    key_id, _ = await one.make()
    (row,) = await one.repository.get([key_id])
    assert row is not None
    changed = row.key.__class__(**{**json.loads(row.raw), "name": "b"})
    assert await one.repository.write(changed, row, {})
    first = await one.repository.changes(0)
    assert await one.repository.write(changed, row, {})  # the same again
    assert await one.repository.changes(0) == first
    assert not await one.repository.write(row.key, row, {})  # somebody was faster


async def test_more_changes_than_are_told_at_once(
    one: Process, other: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemma_gateway.access.repository.MAX_CHANGES", 3)
    monkeypatch.setattr(managed_module, "MAX_CHANGES", 3)
    made = [await one.make() for _ in range(8)]
    await other.managed.follow()
    for _, secret in made:
        await other.who(secret)
    for key_id, _ in made:
        await one.service.revoke(OPERATOR, key_id)
    await other.managed.follow()
    assert {await other.refusal(secret) for _, secret in made} == {Code.API_KEY_REVOKED}
