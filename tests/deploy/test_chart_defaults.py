"""What the chart does where values say nothing: a model, a key, and notes."""

from __future__ import annotations

import base64
import json
import re

import pytest

from tests.deploy import chart
from tests.deploy.chart import Object, env, of, render

NAME = "gemma-gemma-gateway"
FAR: Object = {"name": "far", "type": "external", "url": "http://10.0.0.9:8000/v1"}


@pytest.fixture(autouse=True, scope="module")
def _tools() -> None:
    chart.need_tools()


MODELS: Object = {"config": {"models": [{"name": "a", "upstreams": "http://10.0.0.9:8000/v1"}]}}


@pytest.mark.parametrize(
    ("values", "here"),
    [
        ({}, True),
        ({"config": {"model": "google/gemma-3-4b-it"}}, True),
        ({"inProcess": True} | MODELS, True),
        ({"engines": [FAR]}, False),
        ({"inProcess": False, "engines": [FAR]}, False),
        (MODELS, False),
        ({"config": {"engine": MODELS["config"]}}, False),
    ],
)
def test_without_servers_gemma_runs_in_the_pod_which_has_room_for_it(
    values: Object, here: bool
) -> None:
    objects = render(values)
    (deployment,) = of(objects, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (test,) = of(objects, "Pod", "-test")
    image = "gemma-gateway-engine" if here else "gemma-gateway"
    assert container["image"] == test["spec"]["containers"][0]["image"] == f"{image}:0.1.0"
    assert deployment["spec"]["replicas"] == (1 if here else 2)
    assert bool(of(objects, "PodDisruptionBudget")) != here
    assert ("/dev/shm" in [m["mountPath"] for m in container["volumeMounts"]]) == here
    probe = container["startupProbe"]
    seconds = probe["periodSeconds"] * probe["failureThreshold"]
    assert seconds == (1800 if here else 120)
    assert deployment["spec"]["progressDeadlineSeconds"] > 1800
    limits = {"memory": "8Gi"} if here else {"cpu": "2", "memory": "768Mi"}
    assert container["resources"]["limits"] == limits


@pytest.mark.parametrize("servers", [{}, {"engines": [FAR]}])
def test_given_sizes_are_taken_wherever_the_model_runs(servers: Object) -> None:
    sizes = {"requests": {"cpu": "3", "memory": "7Gi"}, "limits": {"memory": "9Gi"}}
    image = {"repository": "registry.example/mine", "tag": "7"}
    values = servers | {"replicaCount": 3, "resources": sizes, "image": image}
    (deployment,) = of(render(values), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert deployment["spec"]["replicas"] == 3
    assert container["resources"] == sizes
    assert container["image"] == "registry.example/mine:7"


ENTRY: Object = {"name": "me", "sha256": "0" * 64, "scopes": ["operator"]}
STORE: Object = {"enabled": True, "storeName": "s"}


@pytest.mark.parametrize(
    ("values", "variables"),
    [
        ({}, {"GATEWAY_OPERATOR_KEYS": f"{NAME}-key"}),
        ({"externalSecrets": STORE}, {"GATEWAY_OPERATOR_KEYS": f"{NAME}-key"}),
        ({"apiKeys": {"existingSecret": "a"}}, {"GATEWAY_API_KEYS": "a"}),
        ({"operatorKeys": {"existingSecret": "o"}}, {"GATEWAY_OPERATOR_KEYS": "o"}),
        (
            {"externalSecrets": STORE | {"operatorKeys": "o"}},
            {"GATEWAY_OPERATOR_KEYS": f"{NAME}-external"},
        ),
        ({"externalSecrets": STORE | {"apiKeys": "a"}}, {"GATEWAY_API_KEYS": f"{NAME}-external"}),
        ({"config": {"keys": [ENTRY]}}, {}),
        ({"config": {"access": {"keys": [ENTRY]}}}, {}),
    ],
)
def test_a_key_is_generated_where_none_is_given(values: Object, variables: Object) -> None:
    objects = render(values)
    made = {s["metadata"]["name"] for s in of(objects, "Secret")} - {f"{NAME}-redis"}
    (deployment,) = of(objects, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    given = {n: v for n, v in env(container).items() if n.endswith("_KEYS")}
    assert {n: v["secretKeyRef"]["name"] for n, v in given.items()} == variables
    assert made == {f"{NAME}-key"} & set(variables.values())
    (test,) = of(objects, "Pod", "-test")
    (asks,) = test["spec"]["containers"]
    assert env(asks).get("KEY") in [*given.values(), None]
    assert ("KEY" in env(asks)) == bool(given)


@pytest.mark.parametrize(("name", "entry"), [("key", "key"), ("redis", "password")])
def test_what_is_generated_is_random_only_in_a_secret_and_looked_up_first(
    name: str, entry: str
) -> None:
    def secret() -> str:
        objects = render({})
        (found,) = of(objects, "Secret", f"-{name}")
        coded = str(found["data"][entry])
        text = base64.b64decode(coded).decode()
        rest = json.dumps([o for o in objects if o is not found])
        assert text not in rest
        assert coded not in rest
        return text

    assert secret() != secret()
    # An upgrade keeps it; there is no cluster here to see that in.
    template = {"key": "secret.yaml", "redis": "redis.yaml"}[name]
    text = (chart.CHART / "templates" / template).read_text("utf-8")
    assert re.search(r'\$old := lookup "v1" "Secret" \$?\.Release\.Namespace', text)
    assert re.search(rf'{entry}: {{{{ dig "data" "{entry}" \(.*\) \(\$old \| default dict\)', text)


NOTED: list[tuple[Object, list[str], list[str]]] = [  # values, what they say, what they don't
    (
        {},
        [
            "with the bundled Gemma 3 270M in its own pod.",
            f"get secret {NAME}-key -o jsonpath='{{.data.key}}' | base64 -d",
            '{"model": "gemma-3-270m", ',
            "this key opens all of it",
            "Set engines.",
            "Set redis.mode to external.",
            "Set operatorKeys.existingSecret, or config.keys.",
        ],
        [],
    ),
    (
        chart.example("gke-l4"),
        [
            "1 engine(s): gemma-3-4b (vllm).",
            "get secret gemma-operators -o jsonpath='{.data.operator-keys}' | base64 -d",
            '{"model": "google/gemma-3-4b-it", ',
        ],
        ["trials"],
    ),
    (chart.example("gke-autopilot"), ["KEY=...    # one of config.keys"], ["get secret"]),
    (
        chart.example("external-engines"),
        [
            "2 engine(s): ollama (external), west (external).",
            f"get secret {NAME}-external -o jsonpath='{{.data.api-keys}}'",
            "an operator's key opens all of it",
        ],
        ["chat/completions", "trials"],
    ),
    (MODELS, ["in front of the models of config.models.", '{"model": "a", '], ["Set engines."]),
    (
        {"config": {"model": "/models/mine"}, "apiKeys": {"existingSecret": "k", "key": "a.b"}},
        [
            "with /models/mine in its own pod.",
            '{"model": "mine", ',
            r"jsonpath='{.data.a\.b}'",
            "a key with operator scope opens all of it",
        ],
        ["Set engines.", "Set operatorKeys"],
    ),
]


@pytest.mark.parametrize(("values", "said", "unsaid"), NOTED)
def test_the_notes_say_how_to_a_first_answer(
    values: Object, said: list[str], unsaid: list[str]
) -> None:
    notes = chart.files(values)["NOTES.txt"]
    assert "helm test gemma -n models" in notes
    assert f"kubectl -n models rollout status deployment/{NAME} --timeout=30m" in notes
    assert [words for words in said if words not in notes] == []
    assert [words for words in unsaid if words in notes] == []
    assert "gg-" not in notes
    for line in re.findall(r"-d '(.*)'", notes):
        assert json.loads(line)["model"]
