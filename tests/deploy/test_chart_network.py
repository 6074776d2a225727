"""The chart's network policies: every pod has one, and what pods need passes."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import yaml

from tests.deploy import chart
from tests.deploy.chart import Object, of, selects, templates

each = pytest.mark.parametrize("name", chart.EXAMPLES)


@pytest.fixture(autouse=True, scope="module")
def _tools() -> None:
    chart.need_tools()


def policies(objects: list[Object], labels: Object) -> list[Object]:
    """The policies of a pod with these labels."""
    found = of(objects, "NetworkPolicy")
    return [p["spec"] for p in found if selects(p["spec"]["podSelector"], labels)]


def passes(rules: list[Object], end: str, port: int, peer: Object | None) -> bool:
    """Whether a rule lets a TCP port pass to or from a pod; without one, to somewhere outside."""
    for rule in rules:
        ports = rule.get("ports", [{"port": port}])
        if not any(p["port"] <= port <= p.get("endPort", p["port"]) for p in ports):
            continue
        if end not in rule:
            return True
        for other in rule[end]:
            if peer is None and "ipBlock" in other:
                return True
            near = "podSelector" in other and "namespaceSelector" not in other
            if peer is not None and near and selects(other["podSelector"], peer):
                return True
    return False


def labelled(objects: list[Object], component: str) -> Iterator[Object]:
    for _, template in templates(objects):
        labels = template["metadata"]["labels"]
        if labels["app.kubernetes.io/component"] == component:
            yield labels


def connected(objects: list[Object], one: Object, other: Object, port: int) -> bool:
    """Whether policies let one pod call a port of another."""
    out = [rule for p in policies(objects, one) for rule in p.get("egress", [])]
    into = [rule for p in policies(objects, other) for rule in p.get("ingress", [])]
    return passes(out, "to", port, other) and passes(into, "from", port, one)


@each
def test_every_pod_is_closed_both_ways_but_for_dns(name: str) -> None:
    objects = chart.render(chart.example(name))
    found = list(templates(objects))
    for at, template in found:
        labels = template["metadata"]["labels"]
        (policy,) = policies(objects, labels)
        assert policy["policyTypes"] == ["Ingress", "Egress"], at
        if labels["app.kubernetes.io/component"] != "redis":
            assert any({"port": 53, "protocol": "UDP"} in r["ports"] for r in policy["egress"]), at
        for rule in [*policy.get("ingress", []), *policy.get("egress", [])]:
            assert rule, f"{at}: a rule without conditions lets everything pass"
    for policy in of(objects, "NetworkPolicy"):
        selector = policy["spec"]["podSelector"]
        assert any(selects(selector, t["metadata"]["labels"]) for _, t in found), policy


@each
def test_what_a_release_needs_passes(name: str) -> None:
    objects = chart.render(chart.example(name))
    (gateway,) = labelled(objects, "gateway")
    (test,) = labelled(objects, "test")
    assert connected(objects, test, gateway, 8000)
    for redis in labelled(objects, "redis"):
        assert connected(objects, gateway, redis, 6379)
    for engine in labelled(objects, "engine"):
        assert connected(objects, gateway, engine, 8000)
        assert not connected(objects, test, engine, 8000)
        for picker in labelled(objects, "picker"):
            assert connected(objects, picker, engine, 8000)
    out = [rule for p in policies(objects, gateway) for rule in p["egress"]]
    redis = chart.example(name).get("redis", {})
    if redis.get("mode") == "external":
        assert passes(out, "to", redis["external"].get("port", 6379), None)
        if redis["external"].get("type") == "sentinel":
            assert passes(out, "to", 26379, None)
    for engine in chart.example(name).get("engines", []):
        if "url" in engine:
            url = urlsplit(engine["url"])
            assert passes(out, "to", url.port or {"http": 80, "https": 443}[url.scheme], None)


@pytest.mark.parametrize(
    ("external", "open_ones", "closed"),
    [
        ({"host": "h"}, {6379}, {26379, 6378}),
        ({"host": "h", "port": 6378}, {6378}, {6379}),
        (
            {
                "type": "cluster",
                "hosts": ["h"],
                "nodePorts": [{"port": 7001}, {"port": 11000, "endPort": 13047}],
            },
            {6379, 7001, 11000, 12345, 13047},
            {7000, 10999, 13048, 26379},
        ),
        (
            {"type": "sentinel", "hosts": ["h"], "sentinel": {"master": "m"}},
            {6379, 26379},
            {6378, 5000},
        ),
        (
            {"type": "sentinel", "existingSecret": "r", "sentinel": {"port": 5000}},
            {6379, 5000},
            {26379},
        ),
    ],
)
def test_the_way_to_redis_is_open_and_no_wider(
    external: Object, open_ones: set[int], closed: set[int]
) -> None:
    cidrs = ["10.20.0.0/24"]
    values = chart.example("laptop-kind")
    values["redis"] = {"mode": "external", "external": external | {"cidrs": cidrs}}
    objects = chart.render(values)
    (gateway,) = labelled(objects, "gateway")
    out = [rule for p in policies(objects, gateway) for rule in p["egress"] if "to" in rule]
    assert all(passes(out, "to", port, None) for port in open_ones)
    assert not any(passes(out, "to", port, None) for port in closed)
    (peers,) = (rule["to"] for rule in out if passes([rule], "to", min(open_ones), None))
    assert peers == [{"ipBlock": {"cidr": cidr}} for cidr in cidrs]


def test_ranks_of_one_model_reach_each_other_on_every_port() -> None:
    objects = chart.render(chart.example("ray-serve"))
    ranks = list(labelled(objects, "engine"))
    assert len(ranks) == 4
    assert all(connected(objects, a, b, 34567) for a in ranks for b in ranks)


def test_redis_and_engines_are_not_reached_by_strangers() -> None:
    objects = chart.render(chart.example("air-gapped"))
    stranger = {"app": "stranger"}
    for component, port in [("redis", 6379), ("engine", 8000)]:
        for labels in labelled(objects, component):
            into = [rule for p in policies(objects, labels) for rule in p["ingress"]]
            assert not passes(into, "from", port, stranger)
            assert not passes(into, "from", port, None)


def test_an_air_gapped_engine_reaches_nothing_outside() -> None:
    objects = chart.render(chart.example("air-gapped"))
    (engine,) = labelled(objects, "engine")
    rules = [rule for p in policies(objects, engine) for rule in p["egress"]]
    ports = {port["port"] for rule in rules for port in rule["ports"]}
    assert ports == {53, 4317, 4318}, yaml.safe_dump(rules)


def test_callers_can_be_named() -> None:
    mesh = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "web"}}}]
    values = chart.example("laptop-kind") | {"networkPolicy": {"ingressFrom": mesh}}
    objects = chart.render(values)
    (gateway,) = labelled(objects, "gateway")
    (policy,) = policies(objects, gateway)
    assert mesh[0] in policy["ingress"][0]["from"]
    assert not passes(policy["ingress"], "from", 8000, {"app": "stranger"})
    (test,) = labelled(objects, "test")
    assert connected(objects, test, gateway, 8000)
