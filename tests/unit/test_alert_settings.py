"""The ``alerts`` section: the rules that were asked for, entries over them, faults by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemma_gateway.settings import config
from gemma_gateway.settings.alerts import STATES, AlertSettings
from gemma_gateway.settings.yamlfile import ConfigError

SOURCE = {  # system 8: over the last 10 requests
    "response_time": (10, "medium"),
    "memory": (8192, "medium"),
    "token_rate": (5, "low"),
    "success_rate": (0.95, "high"),
    "no_success": (1, "high"),
}


def load(folder: Path, text: str) -> AlertSettings:
    file = folder / "gateway.yaml"
    file.write_text(text)
    return config.load(file).alerts


def test_the_five_rules_are_the_defaults() -> None:
    rules = AlertSettings().rules
    for name, (threshold, severity) in SOURCE.items():
        rule = rules[name]
        assert (rule.kind, rule.threshold, rule.severity) == (name, threshold, severity)
        assert rule.enabled == (name not in {"response_time", "memory"})
        window = (20, 300) if name == "success_rate" else (10, None)
        assert (rule.calls, rule.seconds, rule.for_seconds) == (*window, 0)
    further = {"upstream_errors", "limited", "filtered", "queue_time", *STATES}
    assert set(rules) == set(SOURCE) | further


def test_an_entry_changes_what_it_names_and_no_more(tmp_path: Path) -> None:
    alerts = load(
        tmp_path,
        "alerts:\n  rules:\n    success_rate: {threshold: 0.9}\n    limited: {enabled: false}\n"
        "    slow_hour: {kind: response_time, threshold: 3, seconds: 3600, for_seconds: 60}\n",
    )
    plain = AlertSettings().rules
    assert alerts.rules["success_rate"] == plain["success_rate"].model_copy(
        update={"threshold": 0.9}
    )
    assert not alerts.rules["limited"].enabled
    assert alerts.rules["slow_hour"].severity == "medium"
    assert {n: r for n, r in alerts.rules.items() if n in SOURCE and n != "success_rate"} == {
        n: r for n, r in plain.items() if n in SOURCE and n != "success_rate"
    }


@pytest.mark.parametrize(
    ("entry", "enabled"),
    [("{}", True), ("{threshold: 30}", True), ("{severity: high}", True),
     ("{enabled: true}", True), ("{enabled: false}", False),
     ("{threshold: 30, enabled: false}", False)],
)  # fmt: skip
@pytest.mark.parametrize("rule", ["response_time", "memory", "limited"])
def test_an_entry_turns_a_rule_on(tmp_path: Path, rule: str, entry: str, enabled: bool) -> None:
    """Whoever sets a bound means it: it is not ignored because the rule is off by default."""
    alerts = load(tmp_path, f"alerts:\n  rules:\n    {rule}: {entry}\n")
    assert alerts.rules[rule].enabled is enabled


def test_the_environment_changes_single_fields(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So that a chart can keep rules in a file and webhooks, which are secret, elsewhere."""
    monkeypatch.setenv("GATEWAY_ALERTS__RULES__MEMORY__THRESHOLD", "4096")
    monkeypatch.setenv(
        "GATEWAY_ALERTS__WEBHOOKS", '[{"name": "oncall", "url": "https://x/y", "secret": "s3"}]'
    )
    alerts = load(tmp_path, "alerts:\n  attempts: 3\n  rules:\n    memory: {severity: high}\n")
    assert (alerts.rules["memory"].threshold, alerts.rules["memory"].severity) == (4096, "high")
    assert alerts.webhooks[0].secret.get_secret_value() == "s3"
    assert alerts.attempts == 3


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("rules: {memory: {threshold: high}}", "alerts.rules.memory.threshold: "),
        ("rules: {memory: {threshold: .nan}}", "alerts.rules.memory.threshold: "),
        ("rules: {mine: {threshold: 1}}", "alerts.rules.mine.kind: "),
        ("rules: {mine: {kind: moon, threshold: 1}}", "alerts.rules.mine.kind: "),
        ("rules: {Mine now: {kind: memory, threshold: 1}}", "alerts.rules.Mine now"),
        ("rules: {memory: 3}", "alerts.rules.memory: "),
        ("rules: []", "alerts.rules: "),
        ("rules: {store_away: {seconds: 5}}", "store_away looks at no calls"),
        ("rules: {no_engine: {calls: 5}}", "no_engine looks at no calls"),
        ("rules: {upstream_ejected: {seconds: 5}}", "upstream_ejected looks at no calls"),
        ("rules: {memory_share: {calls: 5}}", "memory_share looks at no calls"),
        ("lease_seconds: 2", "three times interval_seconds"),
        ("webhooks: [{name: a, url: 'http://h/'}, {name: a, url: 'http://i/'}]", "the same name"),
        ("webhooks: [{name: a, url: 'ftp://private/x'}]", "webhooks.0.url: not an http://"),
        ("webhooks: [{name: a, url: 'http://h:99999/private'}]", "webhooks.0.url: not an http://"),
        ("webhooks: [{name: a, url: 'http://h/a private'}]", "webhooks.0.url: not an http://"),
        ("webhooks: [{name: a, url: 'https://me:private@h/'}]", "user and password in the URL"),
        ("webhooks: [{name: a, url: 'http://h/', format: teams}]", "webhooks.0.format: "),
        ("webhook: []", "alerts.webhook: "),
    ],
)
def test_faults_are_named_and_show_no_url(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, f"alerts:\n  {text}\n")
    assert fault in str(error.value)
    assert "private" not in str(error.value)


def test_urls_and_secrets_are_not_shown(tmp_path: Path) -> None:
    alerts = load(tmp_path, "alerts: {webhooks: [{name: a, url: 'http://h/hid', secret: hid}]}")
    assert "hid" not in f"{alerts!r} {alerts.model_dump()} {alerts.model_dump_json()}"
