"""docs/alerts.md says what the gateway does: its tables, its settings, and its receiver's code."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from typing import Any

import yaml

from gemma_gateway.alerts.rule_types import RULE_TYPES
from gemma_gateway.alerts.webhook import signature
from gemma_gateway.settings.alerts import AlertSettings
from tests.deploy.names import ROOT

TEXT = (ROOT / "docs" / "alerts.md").read_text("utf-8")


def part(name: str) -> list[str]:
    """The rows of a table between two marks."""
    (found,) = re.findall(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", TEXT, re.S)
    return str(found).splitlines()[2:]


def code(language: str) -> str:
    return codes(language)[-1]


def codes(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.S)


def test_the_rules_are_the_defaults() -> None:
    wanted = [
        f"| `{name}` | {RULE_TYPES[rule.kind].expression(rule)} | {rule.severity}"
        + (" |" if rule.enabled else "; off |")
        for name, rule in AlertSettings().rules.items()
    ]
    assert part("rules") == wanted


def test_the_fields_and_defaults_are_those_of_the_settings() -> None:
    rows = [re.split(r" *\| *", row)[1:3] for row in part("fields")]
    defaults = {name.strip("`"): default for name, default in rows}
    assert defaults.keys() == AlertSettings.model_fields.keys()
    for name, field in AlertSettings.model_fields.items():
        if name not in {"rules", "webhooks"}:
            assert defaults[name] == f"{field.default:g}", name


def test_the_example_can_be_used() -> None:
    alerts = AlertSettings(**yaml.safe_load(code("yaml"))["alerts"])
    assert alerts.rules["response_time"].threshold == 30
    assert not alerts.rules["limited"].enabled
    assert alerts.rules["slow_hour"].calls == 50
    assert [w.format for w in alerts.webhooks] == ["json", "slack"]


def test_the_specified_bounds_can_be_had() -> None:
    rules = AlertSettings(**yaml.safe_load(codes("yaml")[0])["alerts"]).rules
    for name in ("response_time", "memory", "token_rate", "success_rate", "no_success"):
        rule = rules[name]
        assert (rule.enabled, rule.calls, rule.seconds, rule.for_seconds) == (True, 10, None, 0)


def test_the_receiver_s_code_tells_ours_from_others() -> None:
    space: dict[str, Any] = {"hmac": hmac, "hashlib": hashlib, "time": time}
    exec(code("python"), space)  # the documentation's own
    is_ours, now = space["is_ours"], int(time.time())
    assert is_ours("s", signature("s", now, b"{}"), b"{}")
    assert not is_ours("s", signature("s", now, b"{}"), b"{ }")
    assert not is_ours("s", signature("other", now, b"{}"), b"{}")
    assert not is_ours("s", signature("s", now - 1000, b"{}"), b"{}")
    assert not is_ours("s", signature("s", now, b"{}").replace(str(now), str(now + 1)), b"{}")
    assert not is_ours("s", "", b"{}")
