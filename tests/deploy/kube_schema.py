"""Whether Kubernetes would take an object: its own schemas, and ours for custom resources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

VERSION = "1.37"
CUSTOM = Path(__file__).parent / "crds"
CORE = {"v1", "apps/v1", "autoscaling/v2", "policy/v1"}


def check(thing: dict[str, Any]) -> None:
    """Raises what is wrong with an object."""
    import jsonschema
    import kubernetes_validate

    group = thing["apiVersion"].partition("/")[0]
    if thing["apiVersion"] in CORE or group in ("networking.k8s.io", "rbac.authorization.k8s.io"):
        kubernetes_validate.validate(thing, VERSION, strict=True)
        return
    known = yaml.safe_load((CUSTOM / f"{group}.yaml").read_text("utf-8"))[thing["kind"]]
    assert thing["apiVersion"].partition("/")[2] in known["versions"], thing["apiVersion"]
    assert set(thing) == {"apiVersion", "kind", "metadata", "spec"}
    jsonschema.Draft202012Validator(_closed(known["spec"])).validate(thing["spec"])


def check_template(template: dict[str, Any]) -> None:
    """Raises what is wrong with a pod template."""
    import kubernetes_validate

    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": template["spec"]}
    kubernetes_validate.validate(pod, VERSION, strict=True)


def _closed(schema: Any) -> Any:
    """The schema with every field that it doesn't name refused."""
    if schema == "pod":
        return {"type": "object"}  # see check_template
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {
        key: {name: _closed(part) for name, part in value.items()}
        if key == "properties"
        else value
        if key in ("enum", "const", "required", "pattern", "type")
        else _closed(value)
        for key, value in schema.items()
    }
    if "properties" in closed:
        closed |= {"type": "object", "additionalProperties": False}
    return closed
