"""The Cloud Run service file. No tool here knows Cloud Run's schema: the shape is held against
Kubernetes' schema of a pod where both agree, and what Cloud Run adds against its stated rules."""

from __future__ import annotations

import copy
import json
import re

import pytest
import yaml

from gemma_gateway.settings import Settings, config
from tests.conftest import absent
from tests.deploy.names import DEPLOY

FOLDER = DEPLOY / "cloud-run"
SERVICE = yaml.safe_load((FOLDER / "service.yaml").read_text("utf-8"))
TEMPLATE = SERVICE["spec"]["template"]
SPEC = TEMPLATE["spec"]
(CONTAINER,) = SPEC["containers"]
VALUES = {entry["name"]: entry.get("value") for entry in CONTAINER["env"]}
# What a Knative revision has beside a pod's spec.
KNATIVE = {"containerConcurrency": int, "timeoutSeconds": int}
ANNOTATIONS = {
    "autoscaling.knative.dev/minScale": r"\d+",
    "autoscaling.knative.dev/maxScale": r"[1-9]\d*",
    "run.googleapis.com/execution-environment": "gen2",
    "run.googleapis.com/cpu-throttling": "false",
    "run.googleapis.com/startup-cpu-boost": "true|false",
    "run.googleapis.com/gpu-zonal-redundancy-disabled": "true|false",
    "run.googleapis.com/vpc-access-connector": r"projects/\w+/locations/\w+/connectors/[a-z-]+",
    "run.googleapis.com/vpc-access-egress": "private-ranges-only|all-traffic",
}


def test_revision_is_a_pod_to_kubernetes() -> None:
    try:
        import kubernetes_validate
    except ImportError:
        absent("kubernetes-validate (PyPI)")
    spec = copy.deepcopy(SPEC)
    for name, kind in KNATIVE.items():
        assert type(spec.pop(name)) is kind
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "revision"}, "spec": spec}
    kubernetes_validate.validate(pod, "1.34", strict=True)


def test_envelope_is_knatives() -> None:
    assert SERVICE["apiVersion"] == "serving.knative.dev/v1"
    assert SERVICE["kind"] == "Service"
    assert set(SERVICE) == {"apiVersion", "kind", "metadata", "spec"}
    assert set(SERVICE["spec"]) == {"template", "traffic"}
    assert sum(part["percent"] for part in SERVICE["spec"]["traffic"]) == 100
    annotations = TEMPLATE["metadata"]["annotations"]
    assert set(annotations) == set(ANNOTATIONS)
    for name, pattern in ANNOTATIONS.items():
        assert re.fullmatch(pattern, annotations[name]), name


def test_gpu_has_what_cloud_run_asks_for() -> None:
    limits = CONTAINER["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"
    assert int(limits["cpu"]) >= 4
    assert int(limits["memory"].removesuffix("Gi")) >= 16
    assert SPEC["nodeSelector"] == {"run.googleapis.com/accelerator": "nvidia-l4"}


def test_times_fit_together() -> None:
    startup, live = CONTAINER["startupProbe"], CONTAINER["livenessProbe"]
    assert 600 <= startup["periodSeconds"] * startup["failureThreshold"] <= 1800
    for probe in (startup, live):
        assert probe["timeoutSeconds"] <= probe["periodSeconds"] <= 240
        assert probe["httpGet"]["port"] == CONTAINER["ports"][0]["containerPort"]
    assert startup["httpGet"]["path"] == "/health/ready"
    assert live["httpGet"]["path"] == "/health/live"
    assert SPEC["timeoutSeconds"] == 3600
    assert float(VALUES["GATEWAY_REQUEST_TIMEOUT"] or 0) < SPEC["timeoutSeconds"]
    assert float(VALUES["GATEWAY_DRAIN_SECONDS"] or 0) < 10  # SIGKILL comes then
    assert SPEC["containerConcurrency"] <= Settings.model_fields["max_in_flight"].default


def test_settings_are_the_gateways(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VALUES.items():
        monkeypatch.setenv(name, value or "redis://127.0.0.1:6379/0")
    assert config.unknown_variables() == []
    monkeypatch.delenv("GATEWAY_CONFIG")
    settings = Settings()
    assert settings.port == CONTAINER["ports"][0]["containerPort"]


def test_secrets_stay_in_secret_manager() -> None:
    for name in ("GATEWAY_REDIS_URL", "GATEWAY_API_KEYS", "GATEWAY_UPSTREAM_API_KEY", "HF_TOKEN"):
        assert VALUES.get(name) is None, name
    assert "rediss://" not in json.dumps(SERVICE)
    mounted = {mount["name"] for mount in CONTAINER["volumeMounts"]}
    assert mounted == {volume["name"] for volume in SPEC["volumes"]}


def test_readme_makes_what_the_service_names() -> None:
    readme = (FOLDER / "README.md").read_text("utf-8")
    secrets = {v["secret"]["secretName"] for v in SPEC["volumes"] if "secret" in v}
    secrets |= {
        e["valueFrom"]["secretKeyRef"]["name"] for e in CONTAINER["env"] if "valueFrom" in e
    }
    for name in secrets:
        assert f"gcloud secrets create {name}" in readme
    assert "gcloud run services replace" in readme
