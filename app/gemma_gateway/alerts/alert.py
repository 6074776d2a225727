"""An alert: one thing that is wrong, from its first sign until it is over."""

from __future__ import annotations

from hashlib import sha256
from typing import Literal

import msgspec

from gemma_gateway.alerts.rule_types import RULE_TYPES
from gemma_gateway.settings.alerts import KindName, Rule, Severity

State = Literal["pending", "firing", "resolved"]


class Alert(msgspec.Struct, frozen=True, omit_defaults=True):
    """Kept in the store as JSON: new fields get a default, so that gateways of two versions read
    each other's during a rollout.

    Args:
        id: of this alert alone; when the same rule fires again, that is another one.
        rule: name of the rule.
        kind: of the rule.
        severity: of the rule.
        state: ``pending``: out of bounds, but not for long enough yet.
        since: when it was first seen out of bounds, seconds since the epoch.
        value: last one that was out of bounds, in the kind's unit.
        threshold: of the rule.
        message: what is wrong, as a sentence; resolved: what is right again.
        upstream: the server it is about; empty: none.
        started: when it fired, seconds since the epoch; 0: not yet.
        good_since: since when it is within bounds again, seconds since the epoch; 0: it isn't.
        resolved: when it was over, seconds since the epoch; 0: not yet.
        told: whether the webhooks were told that it fires.
    """

    id: str
    rule: str
    kind: KindName
    severity: Severity
    state: State
    since: float
    value: float
    threshold: float
    message: str
    upstream: str = ""
    started: float = 0.0
    good_since: float = 0.0
    resolved: float = 0.0
    told: bool = False

    @property
    def key(self) -> str:
        """What the alert is about: at any time there is one alert at most with this key."""
        return key(self.rule, self.upstream)


def key(rule: str, upstream: str) -> str:
    """See ``Alert.key``."""
    return f"{rule} {upstream}".strip()


def alert_id(about: str, nonce: str) -> str:
    """An id that everybody makes alike from what an alert is about and which one of these it is."""
    return sha256(f"{about}\n{nonce}".encode()).hexdigest()[:16]


def advance(
    alert: Alert | None,
    name: str,
    rule: Rule,
    upstream: str,
    value: float | None,
    now: float,
    resolve_seconds: float,
    why: str = "",
) -> Alert | None:
    """The alert after one more look at its value.

    It fires once the value has been out of bounds for the rule's ``for_seconds``, and resolves once
    it has been within for ``resolve_seconds``: one good second between bad ones neither ends an
    alert nor sends two notifications.

    Args:
        alert: as it was; None: nothing was wrong.
        name: of the rule.
        rule: the rule.
        upstream: the server that the value is of; empty: none.
        value: None: nothing is known, which is no sign of anything wrong.
        now: seconds since the epoch.
        resolve_seconds: see above.
        why: what is behind a value that is out of bounds, where that is known.
    """
    kind = RULE_TYPES[rule.kind]
    if value is None or not kind.breached(value, rule.threshold):
        if alert is None:
            return None
        return better(alert, now, resolve_seconds, kind.recovery(rule, upstream, value))
    about = key(name, upstream)
    if alert is None:
        alert = Alert(
            alert_id(about, f"{now:.6f}"), name, rule.kind, rule.severity, "pending", now, value,
            rule.threshold, "", upstream,
        )  # fmt: skip
    fires = alert.state == "firing" or now - alert.since >= rule.for_seconds
    return msgspec.structs.replace(
        alert,
        severity=rule.severity,
        state="firing" if fires else "pending",
        value=value,
        threshold=rule.threshold,
        message=kind.message(rule, upstream, value, why),
        started=alert.started or (now if fires else 0.0),
        good_since=0.0,
    )


def better(alert: Alert, now: float, resolve_seconds: float, recovery: str) -> Alert | None:
    """The alert after a look that found nothing wrong; None: it had not fired yet. ``recovery`` is
    its message once it is over."""
    if alert.state == "pending":
        return None
    good_since = alert.good_since or now
    over = now - good_since >= resolve_seconds
    return msgspec.structs.replace(
        alert,
        state="resolved" if over else "firing",
        good_since=good_since,
        resolved=now if over else 0.0,
        message=recovery if over else alert.message,
    )
