"""Alerts as the API and the webhooks show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, Field

from gemma_gateway.alerts.alert import Alert
from gemma_gateway.alerts.rule_types import RULE_TYPES
from gemma_gateway.alerts.store import DeadLetter, Silence
from gemma_gateway.settings.alerts import KindName, Rule, Severity

RuleState = Literal["off", "inactive", "pending", "firing"]


def moment(seconds: float) -> str:
    """ISO 8601, UTC, of seconds since the epoch."""
    stamp = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return stamp.replace("+00:00", "Z")


def title(rule: str, kind: KindName) -> str:
    """Heading of a rule's alerts; a rule of the operator's own has its name in it."""
    text = RULE_TYPES[kind].title
    return text if rule == kind else f"{text} ({rule})"


class AlertView(BaseModel):
    """One alert."""

    id: str = Field(description="Unique to this alert; the rule's next one has another id")
    rule: str
    title: str = Field(description="What is wrong while it fires, in a few words")
    type: KindName = Field(description="What the rule measures")
    severity: Severity
    state: Literal["firing", "resolved"]
    message: str = Field(description="What is wrong; once it is resolved: what is right again")
    value: float = Field(description="Last value that was out of bounds; shares go from 0 to 1")
    threshold: float
    labels: dict[str, str] = Field(description="upstream: the server it is about")
    started_at: str
    resolved_at: str | None
    silenced_until: str | None

    @classmethod
    def of(cls, alert: Alert, silenced_until: float = 0.0) -> AlertView:
        """An alert that fires or has fired.

        Args:
            alert: the alert.
            silenced_until: seconds since the epoch; 0: it isn't silenced.
        """
        return cls(
            id=alert.id,
            rule=alert.rule,
            title=title(alert.rule, alert.kind),
            type=alert.kind,
            severity=alert.severity,
            state="resolved" if alert.state == "resolved" else "firing",
            message=alert.message,
            value=round(alert.value, 6),
            threshold=alert.threshold,
            labels={"upstream": alert.upstream} if alert.upstream else {},
            started_at=moment(alert.started),
            resolved_at=moment(alert.resolved) if alert.resolved else None,
            silenced_until=moment(silenced_until) if silenced_until else None,
        )


class RuleView(BaseModel):
    """One rule of the settings."""

    name: str
    title: str = Field(description="What is wrong while it fires, in a few words")
    severity: Severity
    expression: str = Field(description="When it is out of bounds, in words")
    state: RuleState


def rule_views(rules: Mapping[str, Rule], alerts: Iterable[Alert]) -> list[RuleView]:
    """The rules, each with its worst state.

    Args:
        rules: by name.
        alerts: pending and firing ones.
    """
    states = {(alert.rule, alert.state) for alert in alerts}
    views = []
    for name, rule in rules.items():
        state: RuleState = "inactive"
        if not rule.enabled:
            state = "off"
        elif (name, "firing") in states:
            state = "firing"
        elif (name, "pending") in states:
            state = "pending"
        views.append(
            RuleView(
                name=name,
                title=title(name, rule.kind),
                severity=rule.severity,
                expression=RULE_TYPES[rule.kind].expression(rule),
                state=state,
            )
        )
    return views


class AlertsReport(BaseModel):
    """All alerts and rules."""

    data: list[AlertView] = Field(
        description="Firing alerts, then those that have ended, latest first"
    )
    rules: list[RuleView]
    degraded: bool = Field(
        description="Redis is unavailable: what this gateway saw last, without ended alerts"
    )


class SilenceView(BaseModel):
    """A silence."""

    id: str
    rule: str
    comment: str
    created_by: str = Field(description="Name of the operator's key")
    created_at: str
    ends_at: str

    @classmethod
    def of(cls, silence: Silence) -> SilenceView:
        """The view of a silence."""
        return cls(
            id=silence.id,
            rule=silence.rule,
            comment=silence.comment,
            created_by=silence.by,
            created_at=moment(silence.created),
            ends_at=moment(silence.ends),
        )


class DeadLetterView(BaseModel):
    """A notification that was given up."""

    id: str = Field(description="The notification's id; the receiver gets it as x-gateway-delivery")
    webhook: str = Field(description="Name of the webhook")
    attempts: int
    error: str = Field(description="Why the last attempt failed")
    time: str
    alert: AlertView

    @classmethod
    def of(cls, dead: DeadLetter) -> DeadLetterView:
        """The view of a dead letter."""
        delivery = dead.delivery
        return cls(
            id=delivery.id,
            webhook=delivery.webhook,
            attempts=delivery.attempts,
            error=dead.error,
            time=moment(dead.time),
            alert=AlertView.of(delivery.alert),
        )
