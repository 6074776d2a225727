"""What all gateways know about alerts together, in the store; and which of them evaluates.

The lease says who leads. Whatever an evaluation changes is written by one script that looks at the
lease first, so that of two processes that both believe they lead only one can write, or send.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from gemma_gateway.alerts.alert import Alert
from gemma_gateway.alerts.conditions import WELL, Condition
from gemma_gateway.storage import (
    Argument,
    Lease,
    Outbox,
    Script,
    Store,
    lease,
    lua,
    outbox,
    prepare,
)

MOST_HISTORY = 200  # alerts that are over
MOST_DEAD = 100  # dead letters
MARK_SECONDS = 7 * 86_400  # how long it is known that an outage was written down
_T = TypeVar("_T")
# Each of them is one script, or alerts could change without their notifications, or under a leader
# that leads no more.
BEAT = Script(lease.FUNCTIONS + lua("gemma_gateway.alerts", "beat"))
COMMIT = Script(lease.FUNCTIONS + outbox.FUNCTIONS + lua("gemma_gateway.alerts", "commit"))
REPORT = Script(outbox.FUNCTIONS + lua("gemma_gateway.alerts", "report"))


class Silence(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule that webhooks hear nothing of for a while.

    Args:
        id: of the silence.
        rule: name of the rule.
        comment: why, in the operator's words.
        by: name of the operator's key.
        created: seconds since the epoch.
        ends: the same.
    """

    id: str
    rule: str
    comment: str
    by: str
    created: float
    ends: float


class Delivery(msgspec.Struct, frozen=True, omit_defaults=True):
    """One notification on its way to one webhook.

    Args:
        id: the same however often it is sent: receivers tell repetitions by it.
        webhook: name of the webhook.
        alert: what it tells.
        attempts: how often it has failed.
    """

    id: str
    webhook: str
    alert: Alert
    attempts: int = 0

    @classmethod
    def of(cls, alert: Alert, webhook: str) -> Delivery:
        """The notification of an alert's present state."""
        return cls(f"{alert.id}-{alert.state}", webhook, alert)

    @property
    def slot(self) -> str:
        """Where it waits; a later state of the same alert takes this place."""
        return f"{self.alert.id} {self.webhook}"


class DeadLetter(msgspec.Struct, frozen=True):
    """A delivery that was given up.

    Args:
        delivery: what could not be delivered.
        error: why the last attempt failed.
        time: seconds since the epoch.
    """

    delivery: Delivery
    error: str
    time: float


@dataclass(frozen=True, slots=True)
class Look:
    """What is known.

    Args:
        leads: whether this process holds the lease.
        fresh: the store was empty: new, or it has lost everything.
        generation: changes with each outage of the store.
        alerts: pending and firing ones by key.
        silences: all that have not been removed.
        conditions: of all gateways; empty where this process doesn't lead.
    """

    leads: bool
    fresh: bool
    generation: str
    alerts: dict[str, Alert]
    silences: tuple[Silence, ...]
    conditions: tuple[Condition, ...] = ()


@dataclass(slots=True)
class Changes:
    """What an evaluation has changed.

    Args:
        alerts: new and changed ones by key.
        gone: keys of those that are no more.
        ended: ids of silences that are over.
        history: alerts that are over.
        deliveries: what is to be told.
    """

    alerts: dict[str, Alert] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    history: list[Alert] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.alerts or self.gone or self.ended or self.history or self.deliveries)

    def applied(self, alerts: dict[str, Alert]) -> dict[str, Alert]:
        """The alerts afterwards, by key."""
        return {about: a for about, a in alerts.items() if about not in self.gone} | self.alerts

    def packed(self) -> bytes:
        """JSON for ``commit.lua``."""
        return msgspec.json.encode(
            {
                "alerts": {about: text(alert) for about, alert in self.alerts.items()},
                "gone": self.gone,
                "ended": self.ended,
                "history": [text(alert) for alert in self.history],
                "deliveries": {d.slot: text(d) for d in self.deliveries},
            }
        )


def silenced_until(silences: Iterable[Silence], now: float) -> dict[str, float]:
    """Silenced rules, and until when.

    Args:
        silences: some of which may have ended.
        now: seconds since the epoch.
    """
    until: dict[str, float] = {}
    for silence in silences:
        if silence.ends > now:
            until[silence.rule] = max(until.get(silence.rule, 0.0), silence.ends)
    return until


def text(value: msgspec.Struct) -> str:
    """JSON."""
    return msgspec.json.encode(value).decode()


class AlertStore:
    """The alerts' part of the store. Every method may raise StoreError.

    Args:
        store: shared by all gateways.
        prefix: first part of the store's key names.
        lease_seconds: how long a leader may be silent.
    """

    def __init__(self, store: Store, prefix: str, lease_seconds: float) -> None:
        self._store = store
        self._prefix = prefix
        self._lease = Lease(store, self._name("lease"), lease_seconds)
        due, items, dead = map(self._name, ("outbox", "deliveries", "dead"))
        self._outbox = Outbox(store, due, items, dead, self._lease)

    @property
    def token(self) -> str:
        """What this process is known by."""
        return self._lease.token

    async def beat(self, condition: Condition = WELL) -> Look:
        """Take or keep the lease if possible, tell this gateway's condition, and look."""
        names = ("lease", "firing", "silences", "generation", "conditions")
        args = (self.token, self._lease.milliseconds, secrets.token_hex(8), text(condition))
        reply = await self._run(BEAT, names, *args)
        leads, fresh, generation, alerts, silences, conditions = reply
        return Look(
            leads == 1,
            fresh == 1,
            generation.decode(),
            {alert.key: alert for alert in _read(Alert, alerts[1::2])},
            tuple(_read(Silence, silences[1::2])),
            tuple(_read(Condition, conditions)),
        )

    async def commit(self, changes: Changes) -> bool:
        """Write an evaluation's changes; False: another process leads, and nothing was written."""
        if not changes:
            return True
        names = ("lease", "firing", "silences", "history", "outbox", "deliveries")
        args = (self.token, MOST_HISTORY, changes.packed())
        return bool(await self._run(COMMIT, names, *args))

    async def release(self) -> None:
        """Let another process lead at once."""
        await self._lease.release()

    async def report(self, alert: Alert, deliveries: Iterable[Delivery]) -> bool:
        """Write down an outage of the store that is over; False: another process has."""
        names = (f"outage:{alert.id}", "generation", "history", "outbox", "deliveries")
        pairs = [part for d in deliveries for part in (d.slot, text(d))]
        args: tuple[Argument, ...] = (
            MARK_SECONDS,
            secrets.token_hex(8),
            MOST_HISTORY,
            text(alert),
            *pairs,
        )
        return bool(await self._run(REPORT, names, *args))

    async def claim(self, seconds: float, most: int) -> list[Delivery]:
        """Deliveries that are due, for ``seconds`` ours alone; none where another process leads."""
        return _read(Delivery, (await self._outbox.claim(seconds, most)).values())

    async def settle(self, delivery: Delivery, *verdict: Argument) -> None:
        """Tell what became of a claimed delivery; see ``Outbox.settle``."""
        await self._outbox.settle(delivery.slot, delivery.id, *verdict)

    # ---- for people

    async def history(self, most: int) -> list[Alert]:
        """Alerts that are over, latest first."""
        return _read(Alert, await self._store.call("LRANGE", self._name("history"), 0, most - 1))

    async def dead(self) -> list[DeadLetter]:
        """Deliveries that were given up, latest first."""
        return _read(DeadLetter, await self._store.call("LRANGE", self._name("dead"), 0, -1))

    async def alerts(self) -> list[Alert]:
        """Pending and firing ones."""
        return _read(Alert, await self._store.call("HVALS", self._name("firing")))

    async def silences(self) -> list[Silence]:
        """All that have not been removed."""
        return _read(Silence, await self._store.call("HVALS", self._name("silences")))

    async def silence(self, silence: Silence) -> None:
        """Add a silence."""
        await self._store.call("HSET", self._name("silences"), silence.id, text(silence))

    async def unsilence(self, silence_id: str) -> bool:
        """Remove a silence; False: there is none with this id."""
        return bool(await self._store.call("HDEL", self._name("silences"), silence_id))

    async def _run(self, script: Script, names: Iterable[str], *args: Argument) -> Any:
        return await self._store.run(prepare(script, map(self._name, names), args))

    def _name(self, name: str) -> str:
        return f"{self._prefix}:{{alerts}}:{name}"


def _read(kind: type[_T], texts: Iterable[bytes]) -> list[_T]:
    """Decoded; what a newer version has written and this one can't read is left out."""
    found = []
    for raw in texts:
        try:
            found.append(msgspec.json.decode(raw, type=kind))
        except (msgspec.DecodeError, ValueError):
            continue
    return found
