"""Alerts, judged by promtool: syntax, behaviour, and names that the gateway really exports."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from gemma_gateway.alerts.rule_types import RULE_TYPES
from gemma_gateway.core.errors import Code
from gemma_gateway.main import DIALECTS
from gemma_gateway.settings.alerts import STATES, AlertSettings, Rule
from tests.conftest import absent
from tests.deploy.names import DEPLOY, assert_vllm_exports, gateway_names, used
from tests.process import AUTH, Gateway

RULES = DEPLOY / "prometheus" / "rules.yaml"
TESTS = DEPLOY / "prometheus" / "rules_test.yaml"
GROUPS = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
ALERTS = [rule for group in GROUPS for rule in group["rules"] if "alert" in rule]
OWN = [
    rule
    for group in GROUPS
    if group["name"] == "gemma-gateway-rules"
    for rule in group["rules"]
    if "alert" in rule
]
EXPRESSIONS = [rule["expr"] for group in GROUPS for rule in group["rules"]]


def promtool(*arguments: str | Path, text: bytes = b"") -> str:
    """Output of promtool, which must be satisfied."""
    program = shutil.which("promtool") or absent("promtool (Debian: apt-get install prometheus)")
    done = subprocess.run(
        [program, *map(str, arguments)], input=text, capture_output=True, check=False
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def test_promtool_accepts_the_rules() -> None:
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert f"{len(EXPRESSIONS)} rules found" in said


def test_rules_behave() -> None:
    promtool("test", "rules", TESTS)


def test_a_broken_rule_is_noticed(tmp_path: Path) -> None:
    """The behaviour above hangs on the rules: with one bound moved, promtool objects."""
    (tmp_path / TESTS.name).write_bytes(TESTS.read_bytes())
    (tmp_path / RULES.name).write_text(RULES.read_text("utf-8").replace("< 0.95", "< 0.5"))
    with pytest.raises(AssertionError, match="GatewaySuccessRate"):
        promtool("test", "rules", tmp_path / TESTS.name)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda a: a["alert"])
def test_each_alert_fires_in_a_test_and_is_explained(alert: dict[str, object]) -> None:
    name = str(alert["alert"])
    samples = [
        sample["labels"]
        for test in yaml.safe_load(TESTS.read_text("utf-8"))["tests"]
        for expression in test["promql_expr_test"]
        for sample in expression["exp_samples"]
    ]
    assert f'{{alertname="{name}"}}' in samples
    assert alert["labels"] in ({"severity": s} for s in ("critical", "warning", "info"))
    assert alert["annotations"]["runbook"] == f"deploy/README.md#{name.lower()}"
    headings = re.findall(r"^#+ (\w+)$", (DEPLOY / "README.md").read_text("utf-8"), re.M)
    assert name in headings


def test_names_are_exported(tmp_path: Path) -> None:
    names = used(EXPRESSIONS)
    ours = {name for name in names if name.startswith("gateway_")}
    assert ours
    assert ours <= gateway_names(tmp_path)


def test_vllm_names_are_exported() -> None:
    assert_vllm_exports(EXPRESSIONS)


def test_errors_are_the_outcomes_of_status_5xx() -> None:
    (failed,) = (
        rule["expr"]
        for group in GROUPS
        for rule in group["rules"]
        if rule.get("record") == "job:gateway_generations_failed:rate5m"
    )
    (listed,) = re.findall(r'outcome=~"([A-Z_|]+)"', failed)
    ours = {code for code in Code if code.value.status >= 500} - {Code.CLIENT_DEADLINE}
    assert set(listed.split("|")) == {code.name for code in ours}


def test_the_gateway_s_own_rules_are_these() -> None:
    assert disagreements(AlertSettings().rules, OWN) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"memory_share": {"threshold": 0.8}}, ["GatewayMemoryShare: bound"]),
        ({"memory": {"threshold": 4096}}, ["GatewayMemory: missing"]),
        ({"no_engine": {"threshold": 30}}, ["GatewayNoEngine: for"]),
        ({"success_rate": {"severity": "medium"}}, ["GatewaySuccessRate: severity"]),
        ({"limited": {"seconds": 600}}, ["GatewayLimited: window"]),
        ({"filtered": {"calls": 50}}, ["GatewayFiltered: number of calls"]),
        ({"token_rate": {"for_seconds": 60}}, ["GatewayTokenRate: for"]),
        ({"store_away": {"threshold": 30}}, ["GatewayStoreAway: for"]),
        ({"slow": {"kind": "response_time", "threshold": 3}}, ["GatewaySlow: missing"]),
    ],
)  # fmt: skip
def test_a_rule_that_drifts_is_noticed(change: dict[str, Any], said: list[str]) -> None:
    assert disagreements(AlertSettings(rules=change).rules, OWN) == said


def test_an_alert_that_drifts_is_noticed() -> None:
    upside_down = {a["alert"]: dict(a) for a in OWN}
    upside_down["GatewayTokenRate"]["expr"] = upside_down["GatewayTokenRate"]["expr"].replace(
        "< 5", "> 5"
    )
    said = disagreements(AlertSettings().rules, list(upside_down.values())[:-1])
    assert said == ["GatewayTokenRate: bound", "GatewayMemoryShare: missing"]
    more = [*OWN, {**OWN[0], "alert": "GatewayMoonPhase"}]
    assert disagreements(AlertSettings().rules, more) == ["GatewayMoonPhase: no rule"]


SEVERITY = {"high": "critical", "medium": "warning", "low": "info"}
SIGNS = {"above": ">", "below": "<"}


def disagreements(rules: dict[str, Rule], alerts: list[dict[str, Any]]) -> list[str]:
    """What the gateway's rules and Prometheus' alerts say differently."""
    found = {alert["alert"]: alert for alert in alerts}
    said = []
    for name, rule in rules.items():
        if not rule.enabled:
            continue
        alert_name = "Gateway" + "".join(part.title() for part in name.split("_"))
        alert = found.pop(alert_name, None)
        if alert is None:
            said.append(f"{alert_name}: missing")
            continue
        kind = RULE_TYPES[rule.kind]
        patience = rule.for_seconds
        if rule.kind in STATES and kind.unit == "s":  # its bound is the time
            patience += rule.threshold
        else:
            # The first comparison is the bound, the second, where there is one, the least number.
            signs = re.findall(r"([<>]=?) ([0-9.]+)", alert["expr"])
            if signs[0] != (SIGNS[kind.bad], f"{rule.threshold:g}"):
                said.append(f"{alert_name}: bound")
            if signs[1:] not in ([], [(">=", str(rule.calls))]):
                said.append(f"{alert_name}: number of calls")
            if rule.seconds is not None and f"* {rule.seconds:g} >=" not in alert["expr"]:
                said.append(f"{alert_name}: window")
        if alert["labels"]["severity"] != SEVERITY[rule.severity]:
            said.append(f"{alert_name}: severity")
        if alert.get("for", "0s") != f"{patience:g}s":
            said.append(f"{alert_name}: for")
    return said + [f"{name}: no rule" for name in found]


def test_the_routes_are_those_that_are_charged() -> None:
    (pattern,) = {p for text in EXPRESSIONS for p in re.findall(r'route=~"([^"]+)"', text)}
    assert {d.path for d in DIALECTS if re.fullmatch(pattern, d.path)} == {
        d.path for d in DIALECTS if d.charged
    }


def scraped(gateway: Gateway) -> bytes:
    with urllib.request.urlopen(gateway.url + "/metrics", timeout=60) as reply:
        return bytes(reply.read())


def blocked(page: bytes) -> float:
    """Calls that the filter has blocked, all directions and categories."""
    found = re.findall(rb'^gateway_filter_matches_total{action="block",.*} (\S+)$', page, re.M)
    return sum(map(float, found))


def test_a_running_gateways_metrics_are_clean(gateway: Gateway, tmp_path: Path) -> None:
    """``promtool check metrics`` on a real page after a stream, a filtered and a whole call; the
    page has every name that the rules use, in the live process as in the parts."""
    before = blocked(scraped(gateway))  # other tests use this gateway, too
    for content, stream in (("Hello", True), ("Hello", False), ("violence", False)):
        body = orjson.dumps({"stream": stream, "messages": [{"role": "user", "content": content}]})
        request = urllib.request.Request(
            gateway.url + "/v1/chat/completions", body, AUTH | {"content-type": "application/json"}
        )
        with contextlib.suppress(urllib.error.HTTPError):  # the filtered one
            urllib.request.urlopen(request, timeout=60).read()
    page = scraped(gateway)
    assert promtool("check", "metrics", text=page) == ""
    shown = set(re.findall(r"^(gateway_\w+)", page.decode(), re.M))
    ours = {name for name in used(EXPRESSIONS) if name.startswith("gateway_")}
    # Only an engine in process tells how long a call has waited; this gateway has servers.
    assert {name for name in ours if not name.startswith("gateway_queue_time_")} <= shown
    assert blocked(page) == before + 1
    assert {n for n in shown if not n.endswith("_created")} <= gateway_names(tmp_path)
