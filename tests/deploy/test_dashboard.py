"""The Grafana dashboard: every expression parses, every metric exists, nothing overlaps."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.names import DEPLOY, assert_vllm_exports, gateway_names, used
from tests.deploy.test_rules import ALERTS, promtool

BOARD = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text("utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
TARGETS = [(panel, target) for panel in PANELS for target in panel["targets"]]
EXPRESSIONS = [target["expr"] for _, target in TARGETS]
QUERIES = [v["query"] for v in BOARD["templating"]["list"] if v["type"] == "query"]


def test_promtool_parses_every_expression(tmp_path: Path) -> None:
    """As rules, with Grafana's variables filled in as Grafana does."""
    rules = []
    for number, text in enumerate(EXPRESSIONS):
        filled = text.replace("$__rate_interval", "1m")
        filled = re.sub(r"\$(job|model|tier)\b", "a|b", filled)
        assert "$" not in filled
        rules.append({"record": f"dashboard:expression:{number}", "expr": filled})
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(EXPRESSIONS)} rules found" in promtool("check", "rules", file)


def test_names_are_exported(tmp_path: Path) -> None:
    """And every series of the gateway is drawn somewhere, but for sums and counts."""
    ours = {name for name in used([*EXPRESSIONS, *QUERIES]) if name.startswith("gateway_")}
    known = gateway_names(tmp_path)
    assert ours <= known
    assert {n for n in known - ours if not n.endswith(("_sum", "_count"))} == set()


def test_vllm_names_are_exported() -> None:
    assert_vllm_exports(EXPRESSIONS)


def test_labels_in_legends_are_in_the_expression() -> None:
    for panel, target in TARGETS:
        for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
            kept = re.search(rf"by \([^)]*\b{label}\b", target["expr"])
            assert kept or " by " not in target["expr"], panel["title"]


def test_panels_have_a_source_and_a_place_of_their_own() -> None:
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    for panel in PANELS:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["fieldConfig"]["defaults"]["unit"]
    for one, other in combinations(BOARD["panels"], 2):
        assert _apart(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


def test_errors_are_those_of_the_alerts() -> None:
    """One meaning of `failed`: the recorded rule's outcomes."""
    (listed,) = {o for text in EXPRESSIONS for o in re.findall(r'outcome=~"([A-Z_|]+)"', text)}
    rules = (DEPLOY / "prometheus" / "rules.yaml").read_text("utf-8")
    assert ALERTS
    assert f'outcome=~"{listed}"' in rules


def _apart(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return (
        one["x"] + one["w"] <= other["x"]
        or other["x"] + other["w"] <= one["x"]
        or one["y"] + one["h"] <= other["y"]
        or other["y"] + other["h"] <= one["y"]
    )
