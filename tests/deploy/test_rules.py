"""Alerts, judged by promtool: syntax, behaviour, and names that the gateway really exports."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import orjson
import pytest
import yaml

from app.errors import Code
from tests.conftest import absent
from tests.deploy.names import DEPLOY, assert_vllm_exports, gateway_names, used
from tests.process import AUTH, Gateway

RULES = DEPLOY / "prometheus" / "rules.yaml"
TESTS = DEPLOY / "prometheus" / "rules_test.yaml"
GROUPS = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
ALERTS = [rule for group in GROUPS for rule in group["rules"] if "alert" in rule]
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
    (tmp_path / RULES.name).write_text(RULES.read_text("utf-8").replace("> 0.05", "> 0.5"))
    with pytest.raises(AssertionError, match="GatewayErrorsHigh"):
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
    assert alert["labels"] in ({"severity": "critical"}, {"severity": "warning"})
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
        if rule.get("record") == "job:gateway_requests_failed:rate5m"
    )
    (listed,) = re.findall(r'outcome=~"([A-Z_|]+)"', failed)
    assert set(listed.split("|")) == {code.name for code in Code if code.value.status >= 500}


def scraped(gateway: Gateway) -> bytes:
    with urllib.request.urlopen(gateway.url + "/metrics", timeout=10) as reply:
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
            urllib.request.urlopen(request, timeout=10).read()
    page = scraped(gateway)
    assert promtool("check", "metrics", text=page) == ""
    shown = set(re.findall(r"^(gateway_\w+)", page.decode(), re.M))
    ours = {name for name in used(EXPRESSIONS) if name.startswith("gateway_")}
    assert ours <= shown
    assert blocked(page) == before + 1
    assert {n for n in shown if not n.endswith("_created")} <= gateway_names(tmp_path)
