"""Terraform: HCL that parses, references that resolve, and what must hold. Terraform itself judges
its layout where it is installed; the providers' schemas, a plan and an apply are not tested."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Any

import pytest

from tests.conftest import absent
from tests.deploy.names import DEPLOY

FOLDER = DEPLOY / "terraform"
FILES = sorted(FOLDER.glob("*.tf"))


@pytest.fixture(scope="module")
def blocks() -> dict[str, list[Any]]:
    """All files as one, by kind of block; strings without their quotes."""
    try:
        import hcl2
    except ImportError:
        absent("python-hcl2 (PyPI)")
    whole: dict[str, list[Any]] = {}
    for file in FILES:
        for kind, found in hcl2.loads(file.read_text("utf-8")).items():
            whole.setdefault(kind, []).extend(found)
    return _plain(whole)


@pytest.fixture(scope="module")
def resources(blocks: dict[str, list[Any]]) -> dict[str, dict[str, Any]]:
    """Resources by address."""
    return {
        f"{kind}.{name}": body
        for block in blocks["resource"]
        for kind, named in block.items()
        for name, body in named.items()
    }


def test_every_reference_is_declared(
    blocks: dict[str, list[Any]], resources: dict[str, Any]
) -> None:
    text = "\n".join(re.sub(r"#.*", "", file.read_text("utf-8")) for file in FILES)
    variables = {name for block in blocks["variable"] for name in block}
    assert set(re.findall(r"\bvar\.(\w+)", text)) == variables
    local = {name for block in blocks["locals"] for name in block if not name.startswith("__")}
    assert set(re.findall(r"\blocal\.(\w+)", text)) == local
    used = set(re.findall(r"(?<![\w./\"])(google_\w+\.\w+)", text))
    assert used
    assert used <= set(resources)


def test_example_values_are_variables(blocks: dict[str, list[Any]]) -> None:
    import hcl2

    example = hcl2.loads((FOLDER / "terraform.tfvars.example").read_text("utf-8"))
    variables = {name: body for block in blocks["variable"] for name, body in block.items()}
    given = {name for name in example if not name.startswith("__")}
    assert given <= set(variables)
    assert {name for name, body in variables.items() if "default" not in body} <= given
    assert all(body["description"] for body in variables.values())


def test_redis_is_private_encrypted_and_never_evicts(resources: dict[str, Any]) -> None:
    redis = resources["google_redis_instance.limits"]
    assert redis["tier"] == "STANDARD_HA"
    assert redis["auth_enabled"] is True
    assert redis["transit_encryption_mode"] == "SERVER_AUTHENTICATION"
    assert redis["redis_configs"]["maxmemory-policy"] == "noeviction"


def test_cluster_is_closed(resources: dict[str, Any]) -> None:
    cluster = resources["google_container_cluster.gemma"]
    assert cluster["deletion_protection"] is True
    assert cluster["datapath_provider"] == "ADVANCED_DATAPATH"
    assert cluster["private_cluster_config"][0]["enable_private_nodes"] is True
    assert cluster["workload_identity_config"][0]["workload_pool"].endswith(".svc.id.goog")
    for pool in ("gateway", "gpu"):
        node = resources[f"google_container_node_pool.{pool}"]["node_config"][0]
        assert node["workload_metadata_config"][0]["mode"] == "GKE_METADATA"
        assert "google_service_account.nodes" in node["service_account"]


def test_secrets_show_nowhere(blocks: dict[str, list[Any]]) -> None:
    outputs = {name: body for block in blocks["output"] for name, body in block.items()}
    for name, body in outputs.items():
        if "redis_url" in str(body["value"]) or "auth_string" in str(body["value"]):
            assert body.get("sensitive") is True, name
    assert "google_service_account_key" not in str(blocks)


def test_terraform_formats_them_so() -> None:
    program = shutil.which("terraform") or shutil.which("tofu")
    if program is None:
        pytest.skip("neither terraform nor tofu is here, and no package of Debian or PyPI has them")
    env = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    done = subprocess.run(
        [program, "fmt", "-check", "-diff", str(FOLDER)],
        capture_output=True,
        text=True,
        check=False,
        env=env,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _plain(value: Any) -> Any:
    """As a reader sees it: python-hcl2 keeps the quotes of keys and strings."""
    if isinstance(value, dict):
        return {_plain(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1]
    return value
