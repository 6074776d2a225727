"""What the chart's values may be, what is refused in which words, what a change of them does."""

from __future__ import annotations

import json
import re
import shutil
from typing import Any

import pytest
import yaml
from scripts import chart_readme

from gemma_gateway.settings import SECTIONS
from gemma_gateway.settings.access import KeyEntry
from gemma_gateway.storage.address import Address
from gemma_gateway.storage.cluster import Cluster
from gemma_gateway.storage.sentinel import Sentinels
from tests.deploy import chart, kube_schema
from tests.deploy.chart import Object, env, merged, of, render

BASE: Object = {"inProcess": True, "replicaCount": 1, "apiKeys": {"existingSecret": "keys"}}
VLLM: Object = {"name": "a", "type": "vllm", "model": "google/gemma-3-4b-it"}
NAME = "gemma-gemma-gateway"
FAR: Object = {"name": "far", "type": "external", "url": "http://10.0.0.9:8000/v1"}


@pytest.fixture(autouse=True, scope="module")
def _tools() -> None:
    chart.need_tools()


def engines(*entries: Object) -> Object:
    return {"inProcess": False, "engines": list(entries)}


def redis(**external: Any) -> Object:
    return {"redis": {"mode": "external", "external": external}}


REFUSED: list[tuple[Object, str]] = [
    # a wrong type, an unknown key: values.schema.json
    ({"replicaCount": "two"}, "'/replicaCount': got string, want null or integer"),
    ({"replicas": 2}, "additional properties 'replicas' not allowed"),
    ({"redis": {"mode": "sentinel"}}, "'/redis/mode': value must be one of 'bundled', 'external'"),
    ({"redis": {"external": {"port": 0}}}, "'/redis/external/port': minimum: got 0, want 1"),
    ({"drain": {"seconds": -1}}, "'/drain/seconds': minimum"),
    ({"resources": {"limits": {"memory": "much"}}}, "'/resources/limits/memory'"),
    ({"config": {"keys": [{"name": "me", "sha256": "abc"}]}}, "'/config/keys/0/sha256'"),
    (engines(VLLM | {"type": "triton"}), "'/engines/0/type': value must be one of"),
    (engines(VLLM | {"gpu": 1}), "additional properties 'gpu' not allowed"),
    (engines(FAR | {"url": "http://10.0.0.9:8000"}), "'/engines/0/url'"),
    # pairs that contradict each other: templates/_check.tpl
    ({"inProcess": False}, "nothing answers calls"),
    ({"engines": [VLLM]}, "inProcess serves Gemma in the gateway's own pod and engines"),
    ({"config": {"api_keys": "k"}}, "config.api_keys is a secret and config goes into a ConfigMap"),
    ({"config": {"redis_url": "redis://h"}}, "config.redis_url is a secret"),
    ({"config": {"operator_keys": "k"}}, "config.operator_keys is a secret"),
    ({"config": {"alerts": {"webhooks": []}}}, "name a Secret under alertWebhooks"),
    ({"config": {"port": 9000}}, "config.port is set by the chart from other values"),
    ({"config": {"drain_seconds": 9}}, "config.drain_seconds is set by the chart"),
    ({"config": {"models": [{"name": "a", "upstreams": "u", "api_key": "k"}]}}, "api_key of a is"),
    ({"inProcess": None, "config": {"models": [{"name": "a"}]}}, "set inProcess to true to serve"),
    (engines() | {"config": {"models": [{"name": "a"}]}}, "a has no upstreams: list its servers"),
    # the same within sections
    (
        {"config": {"access": {"keys": [{"name": "me", "sha256": "a"}]}}},
        "'/config/access/keys/0/sha",
    ),
    ({"config": {"access": {"api_keys": "k"}}}, "config.api_keys is a secret"),
    ({"config": {"store": {"redis_url": "redis://h"}}}, "config.redis_url is a secret"),
    ({"config": {"server": {"port": 9000}}}, "config.port is set by the chart from other values"),
    (
        {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 2}},
        "autoscaling.minReplicas is above autoscaling.maxReplicas",
    ),
    (
        {
            "ingress": {"enabled": True, "host": "h"},
            "httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]},
        },
        "ingress and httpRoute both lead to the gateway",
    ),
    ({"ingress": {"enabled": True}}, "ingress.enabled needs ingress.host"),
    ({"httpRoute": {"enabled": True}}, "httpRoute.enabled needs httpRoute.parentRefs"),
    ({"externalSecrets": {"enabled": True}}, "externalSecrets.enabled needs"),
    (redis(), "redis.mode external needs redis.external.existingSecret"),
    (redis(existingSecret="r", host="h"), "set one of them"),
    (redis(existingSecret="r", type="cluster", hosts=["h"]), "set one of them"),
    (redis(type="proxy"), "'/redis/external/type': value must be one of"),
    (redis(host="h:6379"), "'/redis/external/host'"),
    (redis(type="cluster", hosts=["u@h"]), "'/redis/external/hosts/0'"),
    (redis(type="cluster", hosts=["h"], nodePorts=[1]), "'/redis/external/nodePorts/0'"),
    (redis(hosts=["h"]), "redis.external.hosts is for the types cluster and sentinel"),
    (redis(type="cluster", host="h"), "type cluster needs hosts"),
    (redis(type="cluster", hosts=["h"], database=1), "a Redis Cluster has only database 0"),
    (redis(host="h", nodePorts=[{"port": 1}]), "redis.external.nodePorts is for the type cluster"),
    (redis(type="sentinel", hosts=["h"]), "type sentinel needs redis.external.sentinel.master"),
    (redis(host="h", sentinel={"master": "m"}), "redis.external.sentinel is for the type sentinel"),
    (
        redis(existingSecret="r", type="sentinel", sentinel={"master": "m"}),
        "where the URL comes from a Secret, write them there",
    ),
    (
        redis(type="sentinel", hosts=["h"], sentinel={"master": "m", "username": "u"}),
        "redis.external.sentinel.username needs",
    ),
    (redis(existingSecret="r", tls={"enabled": True}), "write rediss:// there"),
    (redis(host="h", tls={"caSecret": "ca"}), "the connection would be in the clear"),
    (redis(host="h", username="u"), "redis.external.username needs"),
    (engines(VLLM, VLLM), "engines.a: two engines have this name"),
    (engines({"name": "a", "type": "external"}), "engines.a: type external needs url"),
    (engines(VLLM | {"url": "http://h/v1"}), "engines.a: url is for the types external"),
    (engines({"name": "a", "type": "vllm"}), "engines.a: type vllm needs model"),
    (
        engines(VLLM | {"type": "inferencePool", "url": "http://10.0.0.9/v1"}),
        "engines.a: type inferencePool needs pool.parentRefs",
    ),
    (engines(VLLM | {"cache": {"type": "claim"}}), "engines.a: cache.type claim needs cache.claim"),
    (engines(VLLM | {"cache": {"type": "gcsFuse"}}), "cache.type gcsFuse needs cache.bucket"),
    (engines(VLLM | {"type": "ray"}), "cache.type pvc makes a disk for each pod"),
    (
        engines(
            VLLM | {"type": "ray", "cache": {"type": "emptyDir"}, "autoscaling": {"type": "hpa"}}
        ),
        "autoscaling is for the types vllm and inferencePool",
    ),
]


@pytest.mark.parametrize(("change", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_wrong_values_are_refused_in_plain_words(change: Object, words: str) -> None:
    import helm_python

    with pytest.raises(helm_python.HelmError, match=re.escape(words)):
        render(merged(BASE, change))


def test_the_base_of_these_tests_is_taken() -> None:
    assert of(render(BASE), "Deployment")


def test_the_schema_and_the_values_name_the_same_things() -> None:
    schema = json.loads((chart.CHART / "values.schema.json").read_text("utf-8"))

    def compare(at: str, values: Any, known: Object) -> None:
        while "$ref" in known:
            target = schema
            for part in known["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            known = target
        if not isinstance(values, dict) or not values or "properties" not in known:
            return
        # Of a map that is free (config) or optional parts of an image, only some are there.
        if known.get("additionalProperties") is False and at != ".image" and "image" not in at:
            assert set(values) == set(known["properties"]), at
        for key, value in values.items():
            compare(f"{at}.{key}", value, known["properties"].get(key, {}))

    compare("", yaml.safe_load((chart.CHART / "values.yaml").read_text("utf-8")), schema)


def test_the_chart_takes_every_field_of_a_key() -> None:
    schema = json.loads((chart.CHART / "values.schema.json").read_text("utf-8"))
    assert set(schema["$defs"]["key"]["properties"]) == set(KeyEntry.model_fields)


def test_the_chart_knows_every_section_of_the_settings() -> None:
    helpers = (chart.CHART / "templates" / "_helpers.tpl").read_text("utf-8")
    (names,) = re.findall(r"range \$section := list ([^}]*?) -}}", helpers)
    assert names.replace('"', "").split() == list(SECTIONS)


def test_the_chart_reads_a_setting_within_its_section() -> None:
    def objects(config: Object) -> list[Object]:
        ingress = {"enabled": True, "host": "h", "className": "nginx"}
        policy = {"enabled": True}
        made = render(merged(BASE, {"config": config, "ingress": ingress, "networkPolicy": policy}))
        return [o for kind in ("Ingress", "NetworkPolicy") for o in of(made, kind)]

    by_itself = {"request_timeout": 900, "upstream_credentials": "google", "max_body_bytes": 5000}
    within = {"engine": dict(by_itself), "validation": {"max_body_bytes": 5000}}
    del within["engine"]["max_body_bytes"]
    assert objects(within) == objects(by_itself) != objects({})
    assert objects(within | {"requests_per_hour": 5}) == objects(within)


def gateway(values: Object) -> Object:
    (deployment,) = of(render(values), "Deployment")
    return dict(deployment["spec"]["template"])


def test_a_changed_configuration_rolls_and_nothing_else_does() -> None:
    def checksum(change: Object) -> str:
        return str(gateway(merged(BASE, change))["metadata"]["annotations"]["checksum/config"])

    assert checksum({}) == checksum({"replicaCount": 3})
    assert checksum({}) != checksum({"config": {"requests_per_hour": 5}})
    assert checksum({}) != checksum({"policy": {"categories": []}})
    assert checksum({}) != checksum({"drain": {"seconds": 31}})
    one, other = (
        {"prompts": [{"id": "a", "messages": [{"role": "user", "content": text}]}]}
        for text in ("{{ 1 }}", "{{ 2 }}")
    )
    assert checksum({}) != checksum(one) == checksum(other)  # which is taken up while it runs


FIRST, SECOND = ({"name": n, "upstreams": f"http://10.0.0.9:{p}/v1"} for n, p in ("a1", "b2"))


@pytest.mark.parametrize("section", [False, True])
def test_changed_models_roll_nothing_and_come_to_the_pods(section: bool) -> None:
    def release(*models: Object, **more: Object) -> list[Object]:
        config: Object = {"models": list(models)} if models else {}
        change = {"config": {"engine": config} if section else config, **more}
        return render(merged(BASE | engines(FAR), change))

    def pod(*models: Object, **more: Object) -> Object:
        (deployment,) = of(release(*models, **more), "Deployment")
        return dict(deployment["spec"]["template"])

    def settings(*models: Object) -> Object:
        (found,) = (o for o in of(release(*models), "ConfigMap") if "gateway.yaml" in o["data"])
        return dict(yaml.safe_load(found["data"]["gateway.yaml"]))

    assert pod(FIRST) == pod(FIRST, SECOND) == pod(SECOND)
    assert pod(FIRST) != pod(FIRST, drain={"seconds": 31})
    assert pod() != pod(FIRST)  # the gateway itself wants a restart for these
    assert settings()["upstreams"] == ["http://10.0.0.9:8000/v1"]
    changed = settings(FIRST, SECOND)
    assert "upstreams" not in changed
    assert (changed["engine"] if section else changed)["models"] == [FIRST, SECOND]
    for container in pod(FIRST)["spec"]["containers"]:
        assert not any("subPath" in mount for mount in container["volumeMounts"])


def test_the_keys_of_models_are_a_folder_that_follows_its_secret() -> None:
    keyed = FIRST | {"api_key_file": "/etc/model-keys/a"}
    secrets = {name: {"existingSecret": "model-keys"} for name in ("modelKeys", "upstreamApiKey")}
    change = {"config": {"models": [keyed]}, **secrets}
    spec = gateway(merged(BASE | engines(VLLM), change))["spec"]
    assert "GATEWAY_UPSTREAM_API_KEY" not in env(spec["containers"][0])  # for upstreams alone
    (volume,) = (v for v in spec["volumes"] if v["name"] == "model-keys")
    assert volume["secret"] == {"secretName": "model-keys", "defaultMode": 0o440}
    (mount,) = (m for m in spec["containers"][0]["volumeMounts"] if m["name"] == "model-keys")
    assert mount == {"name": "model-keys", "mountPath": "/etc/model-keys", "readOnly": True}


def test_the_servers_of_models_can_be_reached() -> None:
    urls = ["http://10.0.0.9:8100/v1", "dns+https://h/v1", "dns+http://h/v1"]
    google = {"name": "g", "upstreams": "https://g/v1", "credentials": "google"}
    models = [{"name": "a", "upstreams": urls}, {"name": "b", "upstreams": ",".join(urls)}, google]
    made = render(merged(BASE | engines(), {"config": {"models": models}}))
    egress = [rule for p in of(made, "NetworkPolicy", NAME) for rule in p["spec"]["egress"]]
    everywhere = [rule["ports"] for rule in egress if "to" not in rule]
    for port in (8100, 443, 80):
        assert everywhere.count([{"port": port, "protocol": "TCP"}]) == 1
    assert "169.254.169.252/30" in json.dumps(egress)


@pytest.mark.parametrize(
    ("values", "url"),
    [
        (
            {"redis": {"mode": "bundled"}},
            "redis://:$(REDIS_PASSWORD)@gemma-gemma-gateway-redis.models.svc:6379/0",
        ),
        (redis(existingSecret="r"), {"secretKeyRef": {"name": "r", "key": "url"}}),
        (redis(host="10.0.0.3"), "redis://10.0.0.3:6379/0"),
        (
            redis(host="h", port=6380, username="u", passwordSecret="p", tls={"enabled": True}),
            "rediss://u:$(REDIS_PASSWORD)@h:6380/0",
        ),
        (
            redis(
                host="10.0.0.3",
                port=6378,
                database=2,
                passwordSecret="p",
                tls={"enabled": True, "caSecret": "ca", "checkHostname": False},
            ),
            "rediss://:$(REDIS_PASSWORD)@10.0.0.3:6378/2"
            "?ssl_ca_certs=/etc/redis/ca.pem&ssl_check_hostname=false",
        ),
        (redis(existingSecret="r", type="cluster"), {"secretKeyRef": {"name": "r", "key": "url"}}),
        (redis(type="cluster", hosts=["a", "[::1]"]), "redis+cluster://a:6379,[::1]:6379/0"),
        (
            redis(
                type="cluster",
                hosts=["discovery"],
                port=6380,
                username="u",
                passwordSecret="p",
                tls={"enabled": True, "caSecret": "ca"},
            ),
            "rediss+cluster://u:$(REDIS_PASSWORD)@discovery:6380/0?ssl_ca_certs=/etc/redis/ca.pem",
        ),
        (
            redis(type="sentinel", hosts=["a"], database=3, sentinel={"master": "m"}),
            "redis+sentinel://a:26379/m/3",
        ),
        (
            redis(
                type="sentinel",
                hosts=["a", "b"],
                passwordSecret="p",
                tls={"enabled": True, "caSecret": "ca"},
                sentinel={"master": "m", "port": 5000, "username": "v", "passwordSecret": "q"},
            ),
            "rediss+sentinel://:$(REDIS_PASSWORD)@a:5000,b:5000/m/0?ssl_ca_certs=/etc/redis/ca.pem"
            "&sentinel_username=v&sentinel_password=$(SENTINEL_PASSWORD)",
        ),
    ],
)
def test_every_spelling_of_redis_is_one_that_the_gateway_reads(values: Object, url: Any) -> None:
    pod = gateway(merged(BASE, values))["spec"]
    variables = env(pod["containers"][0])
    assert variables["GATEWAY_REDIS_URL"] == url
    if not isinstance(url, str):
        return
    order = [e["name"] for e in pod["containers"][0]["env"]]
    for name in ("REDIS_PASSWORD", "SENTINEL_PASSWORD"):
        if f"$({name})" in url:  # Kubernetes expands only what is defined before
            assert order.index(name) < order.index("GATEWAY_REDIS_URL")
    mounts = {m["mountPath"]: m["name"] for m in pod["containers"][0]["volumeMounts"]}
    if "/etc/redis/ca.pem" in url:
        volumes = {v["name"]: v for v in pod["volumes"]}
        assert volumes[mounts["/etc/redis"]]["secret"]["secretName"] == "ca"
        url = url.replace("ssl_ca_certs=/etc/redis/ca.pem", "")  # no such file here
    filled = url.replace("$(REDIS_PASSWORD)", "sesame").replace("$(SENTINEL_PASSWORD)", "simsim")
    first, servers = read(filled)
    assert [f"{t.host}:{t.port}" for t in first] == [
        place.strip("[]").replace("]:", ":")
        for place in url.split("/")[2].split("@")[-1].split(",")
    ]
    for target in (*first, *servers):
        assert (target.tls is not None) == url.startswith("rediss")
    for target in servers:
        assert ("REDIS_PASSWORD" in url) == any(b"sesame" in part for part in target.greeting)
    for target in first if "+sentinel" in url else ():
        assert ("SENTINEL_PASSWORD" in url) == any(b"simsim" in part for part in target.greeting)
        assert not any(b"sesame" in part for part in target.greeting)


def read(url: str) -> tuple[list[Address], list[Address]]:
    """Whom the gateway asks first with such a URL, and whom it hands Redis' password."""
    scheme, _, kind = url.partition("://")[0].partition("+")
    if kind == "sentinel":
        sentinels = Sentinels.parse(url, scheme)
        return sentinels._sentinels, [sentinels._master]
    servers = Cluster.parse(url, scheme, 1)._seeds if kind else [Address.parse(url)]
    return servers, servers


@pytest.mark.parametrize("metric", ["cpu", "inFlight"])
def test_a_scaled_gateway_has_no_fixed_replicas(metric: str) -> None:
    objects = render(merged(BASE, {"autoscaling": {"enabled": True, "metric": metric}}))
    (deployment,) = of(objects, "Deployment")
    (scaler,) = of(objects, "HorizontalPodAutoscaler")
    assert "replicas" not in deployment["spec"]
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert scaler["spec"]["metrics"][0]["type"] == {"cpu": "Resource", "inFlight": "Pods"}[metric]


def test_an_engine_key_goes_to_gateway_and_engines() -> None:
    objects = render(
        merged(BASE, engines(VLLM) | {"upstreamApiKey": {"existingSecret": "engine-key"}})
    )
    reference = {"secretKeyRef": {"name": "engine-key", "key": "api-key"}}
    (deployment,) = of(objects, "Deployment")
    (engine,) = of(objects, "StatefulSet", "-a")
    first = env(deployment["spec"]["template"]["spec"]["containers"][0])
    second = env(engine["spec"]["template"]["spec"]["containers"][0])
    assert first["GATEWAY_UPSTREAM_API_KEY"] == second["VLLM_API_KEY"] == reference


def test_long_names_stay_within_what_kubernetes_takes() -> None:
    entry = VLLM | {"name": "a-name-of-20-letters"}
    pool = entry | {"type": "inferencePool", "url": "http://10.0.0.9/v1"}
    pool |= {"pool": {"parentRefs": [{"name": "inference"}]}}
    release = "a-release-of-as-many-as-fifty-three-letters-in-helm-4"
    assert len(release) == 53
    for thing in render(merged(BASE, engines(pool)), name=release):
        assert len(thing["metadata"]["name"]) <= (52 if thing["kind"] == "StatefulSet" else 63)
    with pytest.raises(Exception, match="KubeRay takes names of up to 41 letters"):
        render(
            merged(BASE, engines(entry | {"type": "ray", "cache": {"type": "emptyDir"}})), release
        )


RULE_TYPES = ("vllm", "inferencePool", "ray", "leaderWorkerSet")
CACHES: dict[str, Object] = {
    "pvc": {"type": "pvc", "storageClass": "fast"},
    "emptyDir": {"type": "emptyDir"},
    "claim": {"type": "claim", "claim": "weights"},
    "shared claim": {"type": "claim", "claim": "weights", "readOnly": True},
    "gcsFuse": {"type": "gcsFuse", "bucket": "models"},
}


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("kind", RULE_TYPES)
def test_every_engine_has_its_weights_and_a_place_to_write(kind: str, cache: str) -> None:
    entry = VLLM | {"type": kind, "cache": CACHES[cache]}
    if kind == "inferencePool":
        entry |= {"url": "http://10.0.0.9/v1", "pool": {"parentRefs": [{"name": "inference"}]}}
    if cache == "pvc" and kind in ("ray", "leaderWorkerSet"):
        return  # refused, see above
    objects = render(merged(BASE, engines(entry)))
    for thing in objects:
        kube_schema.check(thing)
    for at, template in chart.templates(objects):
        if template["metadata"]["labels"]["app.kubernetes.io/component"] != "engine":
            continue
        kube_schema.check_template(template)
        (container,) = template["spec"]["containers"]
        mounts = {m["mountPath"]: m for m in container["volumeMounts"]}
        assert {"/cache", "/tmp", "/dev/shm"} <= set(mounts), at
        assert not mounts["/cache"].get("readOnly"), at
        assert ("/models" in mounts) == (cache in ("shared claim", "gcsFuse")), at
        notes = template["metadata"].get("annotations", {})
        assert (notes.get("gke-gcsfuse/volumes") == "true") == (cache == "gcsFuse"), at
        memory = [v for v in template["spec"]["volumes"] if v["name"] == "shm"]
        assert memory[0]["emptyDir"]["medium"] == "Memory", at


def test_ray_is_told_to_use_the_gpus_that_its_workers_have() -> None:
    entry = VLLM | {"type": "ray", "cache": {"type": "emptyDir"}, "gpus": 4, "nodes": 2}
    (service,) = of(render(merged(BASE, engines(entry | {"replicas": 3}))), "RayService")
    (app,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    assert app["import_path"] == "ray.serve.llm:build_openai_app"
    (llm,) = app["args"]["llm_configs"]
    (group,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    asked = (
        llm["engine_kwargs"]["tensor_parallel_size"]
        * (llm["engine_kwargs"]["pipeline_parallel_size"])
    )
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert asked * llm["deployment_config"]["num_replicas"] == 4 * 2 * 3
    assert limits["nvidia.com/gpu"] * group["replicas"] == 4 * 2 * 3
    assert group["rayStartParams"] == {"num-gpus": "4"}
    assert llm["model_loading_config"]["model_id"] == VLLM["model"]


def test_what_is_taken_from_deploy_is_current() -> None:
    assert chart_readme.stale() == []
    assert [name for name, _, meaning in chart_readme.values() if not meaning] == []


def test_the_package(tmp_path: Any) -> None:
    import helm_python

    copy = tmp_path / "chart"
    shutil.copytree(chart.CHART, copy)
    archive = helm_python.chart.package(str(copy), destination=str(tmp_path))
    with helm_python.Chart.load(archive) as packaged:
        assert packaged.render(BASE, name="gemma", namespace="models")
