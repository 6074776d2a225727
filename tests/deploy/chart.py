"""The chart, rendered by Helm's own engine."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import absent

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "gemma-gateway"
DEFAULTS = "defaults"  # no values at all
EXAMPLES = [DEFAULTS, *sorted(file.stem for file in (CHART / "examples").glob("*.yaml"))]
Object = dict[str, Any]


def need_tools() -> None:
    """Helm's engine and Kubernetes' schemas, both from PyPI."""
    for package, name in [("helm_python", "helm-python-sdk"), ("kubernetes_validate",) * 2]:
        if importlib.util.find_spec(package) is None:
            absent(f"{name} (PyPI)")


def example(name: str) -> Object:
    """The values of an example."""
    if name == DEFAULTS:
        return {}
    return dict(yaml.safe_load((CHART / "examples" / f"{name}.yaml").read_text("utf-8")))


def merged(values: Object, changes: Object) -> Object:
    """``changes`` over ``values``, mapping by mapping, as ``helm -f a -f b`` does."""
    result = dict(values)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = (
            merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return result


def files(values: Object, name: str = "gemma") -> dict[str, str]:
    """What each template of a release makes; raises Helm's own error about refused values."""
    import helm_python

    with helm_python.Chart.load(str(CHART)) as chart:
        made = chart.render(values, name=name, namespace="models")
    return {file.removeprefix("gemma-gateway/templates/"): text for file, text in made.items()}


def render(values: Object, name: str = "gemma") -> list[Object]:
    """Every object of a release; raises as ``files`` does."""
    return objects(files(values, name))


def objects(files: dict[str, str]) -> list[Object]:
    """The objects in what templates have made."""
    return [
        document
        for file, text in sorted(files.items())
        if file != "NOTES.txt"
        for document in yaml.safe_load_all(text)
        if document
    ]


def of(objects: list[Object], kind: str, name: str = "") -> list[Object]:
    """The objects of a kind; with ``name``, those whose name ends in it."""
    return [o for o in objects if o["kind"] == kind and o["metadata"]["name"].endswith(name)]


def templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Every pod that the objects make, with where it comes from: {metadata, spec}."""
    for thing in objects:
        at = f"{thing['kind']}/{thing['metadata']['name']}"
        match thing["kind"]:
            case "Pod":
                yield at, thing
            case "Deployment" | "StatefulSet":
                yield at, thing["spec"]["template"]
            case "LeaderWorkerSet":
                group = thing["spec"]["leaderWorkerTemplate"]
                yield f"{at} leader", group["leaderTemplate"]
                yield f"{at} worker", group["workerTemplate"]
            case "RayService":
                cluster = thing["spec"]["rayClusterConfig"]
                yield f"{at} head", cluster["headGroupSpec"]["template"]
                for group in cluster["workerGroupSpecs"]:
                    yield f"{at} {group['groupName']}", group["template"]


def selects(selector: Object, labels: Object) -> bool:
    """Whether a label selector of equalities takes these labels."""
    return all(labels.get(key) == value for key, value in selector["matchLabels"].items())


def env(container: Object) -> dict[str, Any]:
    """A container's variables: the value, or where it comes from."""
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container.get("env", [])}
