"""The ``alerts`` section of the settings: rules, webhooks, and how often and how long.

The first five rules with their thresholds and severities are those that the service was specified
with: system 8, "alerts over the last 10 requests". Two of them are off, since a healthy gateway
meets them: any long answer takes over 10 s, and any 4B model over 8,192 MB. ``success_rate`` looks
at more calls, or one failure would be too many.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)

from gemma_gateway.settings.fields import Strict

Severity = Literal["low", "medium", "high"]
SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high")  # rising
KindName = Literal[
    "response_time",
    "memory",
    "token_rate",
    "success_rate",
    "no_success",
    "upstream_errors",
    "limited",
    "filtered",
    "queue_time",
    "store_away",
    "no_engine",
    "upstream_ejected",
    "memory_share",
]
# Those that look at the state of the gateways, not at calls.
STATES: frozenset[KindName] = frozenset(
    {"store_away", "no_engine", "upstream_ejected", "memory_share"}
)
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]

DEFAULT_RULES: dict[str, dict[str, Any]] = {
    "response_time": {"threshold": 10, "severity": "medium", "enabled": False},
    "memory": {"threshold": 8192, "severity": "medium", "enabled": False},
    "token_rate": {"threshold": 5, "severity": "low"},
    "success_rate": {"threshold": 0.95, "severity": "high", "seconds": 300, "calls": 20},
    "no_success": {"threshold": 1, "severity": "high"},
    "upstream_errors": {"threshold": 0.2, "severity": "medium", "seconds": 300},
    "limited": {"threshold": 0.25, "severity": "low", "seconds": 300, "calls": 20},
    "filtered": {"threshold": 0.2, "severity": "medium", "seconds": 300, "calls": 20},
    "queue_time": {"threshold": 5, "severity": "medium", "seconds": 300},
    "store_away": {"threshold": 60, "severity": "high"},
    "no_engine": {"threshold": 60, "severity": "high"},
    "upstream_ejected": {"threshold": 120, "severity": "medium"},
    "memory_share": {"threshold": 0.9, "severity": "medium", "for_seconds": 60},
}


class Rule(Strict):
    """One alert rule; see ``alerts.rule_types`` for what each kind measures."""

    kind: KindName = Field(description="What is measured; a default rule's name is its kind")
    threshold: float = Field(ge=0, description="Bound of the value, in the unit of the kind")
    severity: Severity = "medium"
    calls: int = Field(
        10,
        ge=1,
        le=1000,
        description="How many of the last calls are considered; with seconds: how many at least",
    )
    seconds: float | None = Field(
        None, ge=1, le=3600, description="Look at the calls of the last seconds instead"
    )
    for_seconds: float = Field(
        0, ge=0, le=86_400, description="How long it must be out of bounds before it fires"
    )
    enabled: bool = True

    @model_validator(mode="after")
    def _window(self) -> Rule:
        if self.kind in STATES and self.model_fields_set & {"calls", "seconds"}:
            raise ValueError(f"{self.kind} looks at no calls: it takes neither calls nor seconds")
        return self


def _over_defaults(given: Any) -> Any:
    """Each entry over the default rule of the same name, which is on then unless the entry says
    otherwise; other names are further rules."""
    if not isinstance(given, dict):
        return given
    rules = {name: {"kind": name} | fields for name, fields in DEFAULT_RULES.items()}
    for name, fields in given.items():
        known = rules.get(name, {}) | {"enabled": True}
        rules[name] = known | fields if isinstance(fields, dict) else fields
    return rules


def _webhook_url(url: SecretStr) -> SecretStr:
    """The text of a fault must not show the URL: a chat's webhook URL is a secret in itself."""
    text = url.get_secret_value()
    try:
        parts = urlsplit(text)
        bad = parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0
    except ValueError:  # not a port, not an IPv6 address
        bad = True
    if bad or not text.isascii() or any(c <= " " or c == "\x7f" for c in text):
        raise ValueError("not an http:// or https:// URL")
    if "@" in parts.netloc:
        raise ValueError("user and password in the URL are not sent: use secret instead")
    return url


class Webhook(Strict):
    """Where notifications go."""

    name: Name = Field(description="What the API, metrics and logs call it")
    url: Annotated[SecretStr, AfterValidator(_webhook_url)] = Field(
        description="http:// or https:// URL; it is shown nowhere"
    )
    secret: SecretStr = Field(
        SecretStr(""), description="Signs the body (HMAC-SHA256); empty: no signature"
    )
    format: Literal["json", "slack"] = Field(
        "json", description="slack: a body that Slack, Mattermost and Rocket.Chat show"
    )
    min_severity: Severity = Field("low", description="Lowest severity that is sent")


class AlertSettings(Strict):
    """When the gateway tells its operator that something is wrong, and how."""

    rules: Annotated[dict[Name, Rule], BeforeValidator(_over_defaults)] = Field(
        default_factory=dict,
        validate_default=True,
        max_length=50,
        description="By name; an entry changes the default rule of that name, or adds a rule",
    )
    webhooks: tuple[Webhook, ...] = Field((), max_length=10, description="Where to send them")
    interval_seconds: float = Field(
        1.0, ge=0.05, le=60, description="Time between two evaluations, seconds"
    )
    lease_seconds: float = Field(
        5.0,
        ge=0.5,
        le=300,
        description="A leader that is silent for this long is replaced; at least three intervals",
    )
    resolve_seconds: float = Field(
        30.0, ge=0, le=86_400, description="How long it must be within bounds before it resolves"
    )
    timeout_seconds: float = Field(
        5.0, gt=0, le=60, description="Longest wait for a webhook's answer, seconds"
    )
    attempts: int = Field(
        8, ge=1, le=20, description="Deliveries that are tried before it is a dead letter"
    )
    retry_seconds: float = Field(
        1.0, gt=0, le=60, description="Pause after the first failed delivery; it doubles each time"
    )
    holdback_seconds: float = Field(
        300.0,
        ge=0,
        le=86_400,
        description=(
            "Store unavailable: how much later than the leader the other gateways report it, in "
            "case the leader is gone, too"
        ),
    )

    @model_validator(mode="after")
    def _consistent(self) -> AlertSettings:
        if self.lease_seconds < 3 * self.interval_seconds:
            raise ValueError("lease_seconds must be at least three times interval_seconds")
        if len({w.name for w in self.webhooks}) < len(self.webhooks):
            raise ValueError("two webhooks have the same name")
        return self
