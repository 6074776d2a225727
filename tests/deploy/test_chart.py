"""What must hold for every object that the chart renders, example by example.

There is no cluster here: Helm's engine renders, Kubernetes' schemas judge, these tests assert.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from gemma_gateway.presets.library import Library
from gemma_gateway.safety.policy import Policy
from gemma_gateway.settings import Settings, config
from tests.deploy import chart, kube_schema, names
from tests.deploy.chart import Object, env, of, selects, templates

each = pytest.mark.parametrize("name", chart.EXAMPLES)
NAME = "gemma-gemma-gateway"


@pytest.fixture(autouse=True, scope="module")
def _tools() -> None:
    chart.need_tools()


@cache
def rendered(name: str) -> list[Object]:
    return chart.render(chart.example(name))


def pods(objects: list[Object]) -> list[tuple[str, Object]]:
    return list(templates(objects))


def settings_of(
    objects: list[Object], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Settings, Object]:
    """The gateway's settings as its pod gets them, and its container."""
    for variable in [v for v in os.environ if v.startswith("GATEWAY_")]:
        monkeypatch.delenv(variable)
    (data,) = (c["data"] for c in of(objects, "ConfigMap") if c["metadata"]["name"] == NAME)
    for file, text in data.items():
        (folder / file).write_text(text.replace("/etc/gateway", str(folder)), "utf-8")
    (deployment,) = of(objects, "Deployment", NAME)
    return config.load(folder / "gateway.yaml"), deployment["spec"]["template"]["spec"]


def test_every_case_of_the_issue_has_an_example() -> None:
    assert set(chart.EXAMPLES) == {
        *(chart.DEFAULTS, "air-gapped", "external-engines", "gke-autopilot", "gke-l4"),
        *("inference-pool", "laptop-kind", "ray-serve", "sentinel", "vertex-ai"),
    }


@each
def test_lint_finds_nothing(name: str) -> None:
    import helm_python

    report = helm_python.chart.lint(str(chart.CHART), chart.example(name), strict=True)
    assert not report["errors"]
    assert [m for m in report["messages"] if m["severity"] > 1] == []


@each
def test_kubernetes_would_take_every_object(name: str) -> None:
    seen = set()
    for thing in rendered(name):
        kube_schema.check(thing)
        at = thing["kind"], thing["metadata"]["name"]
        assert at not in seen
        seen.add(at)
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", at[1]), at
        labels = thing["metadata"]["labels"]
        wanted = {"name", "instance", "component", "part-of", "version", "managed-by"}
        assert wanted <= {key.removeprefix("app.kubernetes.io/") for key in labels}, at
    for _, template in pods(rendered(name)):
        kube_schema.check_template(template)


@each
def test_every_pod_has_few_rights(name: str) -> None:
    for at, template in pods(rendered(name)):
        spec = template["spec"]
        security = spec["securityContext"]
        assert security["runAsNonRoot"], at
        assert security["runAsUser"] > 0, at
        assert security["runAsGroup"] > 0, at
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, at
        assert spec["automountServiceAccountToken"] is at.endswith("-picker"), at
        # Kubernetes would set GATEWAY_PORT for a Service named "gateway".
        assert spec["enableServiceLinks"] is False, at
        for container in spec["containers"]:
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"], at
            assert own["allowPrivilegeEscalation"] is False, at
            assert own["capabilities"] == {"drop": ["ALL"]}, at
            assert container["resources"]["limits"]["memory"], at
            assert container["resources"]["requests"]["cpu"], at
            assert re.search(r":[^:/]+$", container["image"]), at
            assert not container["image"].endswith(":latest"), at
            mounted = {m["name"] for m in container.get("volumeMounts", [])}
            claims = {"cache", "data"} if at.startswith("StatefulSet") else set()
            assert mounted <= {v["name"] for v in spec.get("volumes", [])} | claims, at


@each
def test_accounts_are_there(name: str) -> None:
    made = {a["metadata"]["name"] for a in of(rendered(name), "ServiceAccount")}
    for at, template in pods(rendered(name)):
        assert template["spec"].get("serviceAccountName", "default") in made | {"default"}, at


@each
def test_the_gateway_loads_its_configuration(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, spec = settings_of(rendered(name), tmp_path, monkeypatch)
    (container,) = spec["containers"]
    assert settings.hosts == ("::",)
    assert int(env(container)["GATEWAY_KEEP_ALIVE_SECONDS"]) > 600  # Google's balancers
    assert settings.port == container["ports"][0]["containerPort"]
    assert str(settings.data_dir) in {m["mountPath"] for m in container["volumeMounts"]}
    Policy.load(settings.policy_file)
    Library.load(settings.prompts_file)
    known = {f"GATEWAY_{field.upper()}" for field in Settings.model_fields} | {"GATEWAY_CONFIG"}
    given = {v.partition("__")[0] for v in env(container) if v.startswith("GATEWAY_")}
    assert given <= known
    assert settings.keys or {"GATEWAY_API_KEYS", "GATEWAY_OPERATOR_KEYS"} & set(env(container))
    assert "GATEWAY_REDIS_URL" in env(container)


@each
def test_upstreams_are_what_the_release_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = rendered(name)
    settings, _ = settings_of(objects, tmp_path, monkeypatch)
    assert bool(settings.upstreams) == bool(chart.example(name).get("engines"))
    sets = {
        s["metadata"]["name"]: s for kind in ("StatefulSet", "LeaderWorkerSet")
        for s in of(objects, kind)
    }  # fmt: skip
    given = {e["url"] for e in chart.example(name).get("engines", []) if "url" in e}
    for url in set(settings.upstreams) - given:
        host = str(urlsplit(url.removeprefix("dns+")).hostname)
        assert host.endswith(".models.svc")
        first, service = host.removesuffix(".models.svc").split(".")[0], host.split(".")[1]
        if first.endswith("-serve-svc"):
            assert of(objects, "RayService", first.removesuffix("-serve-svc"))
            continue
        if url.startswith("dns+"):  # all ready pods of a set
            assert sets[first]["kind"] == "StatefulSet"
            assert sets[first]["spec"]["serviceName"] == first
            assert of(objects, "Service", first)[0]["spec"]["clusterIP"] == "None"
            continue
        owner, ordinal = first.rsplit("-", 1)
        assert owner == service
        assert int(ordinal) < sets[owner]["spec"]["replicas"]


@each
def test_a_drain_fits_into_the_time_that_kubernetes_gives(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, gateway = settings_of(rendered(name), tmp_path, monkeypatch)

    def left(spec: Object, drain: float) -> float:
        sleep = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        return float(spec["terminationGracePeriodSeconds"]) - sleep - drain

    assert left(gateway, settings.drain_seconds) >= 5
    for _, template in pods(rendered(name)):
        container = template["spec"]["containers"][0]
        arguments = " ".join(container.get("args", []))
        if "lifecycle" in container and (told := re.search(r"--shutdown-timeout=(\d+)", arguments)):
            assert left(template["spec"], int(told[1])) >= 10


@each
def test_balancers_wait_longer_than_the_gateway(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = rendered(name)
    settings, _ = settings_of(objects, tmp_path, monkeypatch)
    waits = [p["spec"]["default"]["timeoutSec"] for p in of(objects, "GCPBackendPolicy")]
    for ingress in of(objects, "Ingress"):
        notes = ingress["metadata"]["annotations"]
        waits.append(int(notes["nginx.ingress.kubernetes.io/proxy-read-timeout"]))
        assert notes["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"
    assert all(wait > settings.request_timeout for wait in waits)


@each
def test_no_secret_is_in_the_clear(name: str) -> None:
    objects = rendered(name)
    for thing in of(objects, "ConfigMap"):
        text = yaml.safe_dump(thing["data"])
        assert not re.search(r"api_keys|redis_url|upstream_api_key|password|rediss?://", text)
    made = {s["metadata"]["name"] for s in of(objects, "Secret")}
    bundled = chart.example(name).get("redis", {}).get("mode", "bundled") == "bundled"
    given = "existingSecret" in chart.example(name).get("redis", {}).get("bundled", {})
    generated = {f"{NAME}-redis"} if bundled and not given else set()
    if name in (chart.DEFAULTS, "laptop-kind"):  # which name no keys
        generated |= {f"{NAME}-key"}
    assert made == generated
    for at, template in pods(objects):
        for container in template["spec"]["containers"]:
            for variable, value in env(container).items():
                if re.search(r"KEYS?$|TOKEN|PASSWORD", variable):
                    assert list(value) == ["secretKeyRef"], (at, variable)
                if variable == "GATEWAY_REDIS_URL" and isinstance(value, str):
                    assert "$(REDIS_PASSWORD)@" in value


@each
def test_selectors_take_real_pods_and_ports(name: str) -> None:
    objects = rendered(name)
    found = pods(objects)

    def ports_of(selector: Object) -> set[Any]:
        taken = [t for _, t in found if selects(selector, t["metadata"]["labels"])]
        assert taken, selector
        return {
            port[key]
            for t in taken
            for c in t["spec"]["containers"]
            for port in c.get("ports", [])
            for key in ("name", "containerPort")
        }

    for service in of(objects, "Service"):
        known = ports_of({"matchLabels": service["spec"]["selector"]})
        assert {p["targetPort"] for p in service["spec"]["ports"]} <= known
    for pool in of(objects, "InferencePool"):
        assert {p["number"] for p in pool["spec"]["targetPorts"]} <= ports_of(
            pool["spec"]["selector"]
        )
        assert of(objects, "Service", pool["spec"]["endpointPickerRef"]["name"])
    for kind, field in [("PodMonitoring", "endpoints"), ("PodMonitor", "podMetricsEndpoints")]:
        for monitor in of(objects, kind):
            known = ports_of(monitor["spec"]["selector"])
            assert {e["port"] for e in monitor["spec"][field]} <= known
    for monitor in of(objects, "ServiceMonitor"):
        (service,) = [
            s for s in of(objects, "Service")
            if selects(monitor["spec"]["selector"], s["metadata"]["labels"])
        ]  # fmt: skip
        assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    for budget in of(objects, "PodDisruptionBudget"):
        ports_of(budget["spec"]["selector"])
    for scaler in [*of(objects, "HorizontalPodAutoscaler"), *of(objects, "ScaledObject")]:
        target = scaler["spec"]["scaleTargetRef"]
        (scaled,) = of(objects, target["kind"], target["name"])
        assert "replicas" not in scaled["spec"]  # or an upgrade would undo the scaling


@each
def test_scaling_uses_metrics_that_are_exported(name: str, tmp_path: Path) -> None:
    mine, engine = names.gateway_names(tmp_path), names.vllm_names()
    asked = [
        metric["pods"]["metric"]["name"]
        for scaler in of(rendered(name), "HorizontalPodAutoscaler")
        for metric in scaler["spec"]["metrics"]
        if metric["type"] == "Pods"
    ]
    asked += [
        trigger["metadata"]["query"]
        for scaler in of(rendered(name), "ScaledObject")
        for trigger in scaler["spec"]["triggers"]
    ]
    for metric in names.used(asked):
        if metric.startswith("gateway_"):
            assert metric in mine
        elif engine is not None:
            assert names.exported(metric, engine)


def test_an_air_gapped_release_names_only_the_mirror() -> None:
    for at, template in pods(rendered("air-gapped")):
        assert template["spec"]["imagePullSecrets"] == [{"name": "mirror"}], at
        for container in template["spec"]["containers"]:
            assert container["image"].startswith("registry.internal:5000/mirror/"), at
