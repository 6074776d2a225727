"""docker-compose.yml: read by a parser of the Compose specification, and brought up as it is."""

from __future__ import annotations

import importlib.util
import json
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from openai import OpenAI

from gemma_gateway.settings import Settings
from tests.conftest import absent
from tests.containers.containers import ROOT, Containers, until
from tests.process import free_port

COMPOSE = ROOT / "deploy" / "compose"
PROFILES = ("gpu", "observability", "webui")


def resolved(containers: Containers, *arguments: str, profiles: tuple[str, ...] = PROFILES) -> str:
    """The file as Compose understands it, for all profiles."""
    asked = [part for name in profiles for part in ("--profile", name)]
    return containers.compose(*arguments, *asked, "config")


@pytest.fixture(scope="module")
def text(containers: Containers) -> str:
    return resolved(containers)


@pytest.fixture(scope="module")
def services(text: str) -> dict[str, Any]:
    return dict(yaml.safe_load(text)["services"])


def test_it_follows_the_specification(text: str) -> None:
    if importlib.util.find_spec("compose_spec") is None:
        absent("compose-spec (pip install compose-spec)")
    from compose_spec import PyCompose

    assert set(PyCompose.from_yaml(text).service_names()) >= {"gateway", "valkey", "vllm"}
    with pytest.raises(ValueError, match="readonly"):
        PyCompose.from_yaml(text.replace("read_only", "readonly"))


def test_profiles_bring_what_they_should(containers: Containers) -> None:
    def names(*profiles: str) -> set[str]:
        return set(yaml.safe_load(resolved(containers, profiles=profiles))["services"])

    assert names() == {"gateway", "valkey"}
    assert names("gpu") == names() | {"vllm"}
    assert names("observability") == names() | {"prometheus", "grafana"}
    assert names("webui") == names() | {"webui"}


def test_every_service_is_confined(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert not service["image"].endswith(":latest"), name
        assert ":" in service["image"], name
        assert not {"privileged", "network_mode", "pid", "ipc"} & set(service), name
    assert [name for name, service in services.items() if "ports" in service] == ["gateway"]
    assert services["gateway"]["ports"] == ["127.0.0.1:8000:8000"]
    assert list(services["valkey"]["networks"]) == ["store"]
    drain = Settings.model_fields["drain_seconds"].default
    assert int(services["gateway"]["stop_grace_period"].rstrip("s")) > drain


def test_secrets_come_by_file(services: dict[str, Any], tmp_path: Path) -> None:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    made = secrets(tmp_path / "secrets")
    assert set(document["secrets"]) == set(made)
    used = {name for service in services.values() for name in service.get("secrets", [])}
    assert used == set(document["secrets"])
    for name, service in services.items():
        for variable, value in (service.get("environment") or {}).items():
            secret = any(word in variable for word in ("KEY", "TOKEN", "PASSWORD", "REDIS_URL"))
            assert not secret or value.startswith("/run/secrets/"), (name, variable)


def test_order_follows_health(services: dict[str, Any]) -> None:
    waits = {
        (name, other): how["condition"]
        for name, service in services.items()
        for other, how in service.get("depends_on", {}).items()
    }
    assert waits[("gateway", "valkey")] == "service_healthy"
    assert waits[("webui", "gateway")] == "service_healthy"
    for other in {other for (_, other), how in waits.items() if how == "service_healthy"}:
        assert other == "gateway" or "healthcheck" in services[other]  # the gateway's: its image


def test_files_that_are_mounted_exist(services: dict[str, Any]) -> None:
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume if isinstance(volume, str) else str(volume.get("source"))
            if source.startswith("./"):
                assert (ROOT / source.split(":")[0]).is_file(), source


def test_gpu_file_points_the_gateway_at_vllm(containers: Containers) -> None:
    known = resolved(containers, "--env-file", "deploy/compose/gpu.env")
    gateway = yaml.safe_load(known)["services"]["gateway"]
    assert gateway["build"]["target"] == "gateway"
    assert gateway["environment"]["GATEWAY_UPSTREAMS"] == "http://vllm:8000/v1"


def secrets(folder: Path) -> dict[str, str]:
    """Run secrets.sh; the files that it has made."""
    subprocess.run(["sh", COMPOSE / "secrets.sh", folder], check=True, capture_output=True)
    return {file.name: file.read_text().strip() for file in folder.iterdir()}


def test_secrets_are_made_once_and_kept_from_others(tmp_path: Path) -> None:
    made = secrets(tmp_path / "secrets")
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert made == secrets(tmp_path / "secrets")
    assert made["gateway_redis_url"].split(":")[2].split("@")[0] == made["valkey.conf"].split()[1]
    assert len({len(v) >= 40 for n, v in made.items() if n != "hf_token"}) == 1


class Up:
    """The project, brought up."""

    def __init__(self, containers: Containers, folder: Path, engine: str) -> None:
        self.containers = containers
        self.secrets = secrets(folder)
        self.port = free_port()
        containers.compose(
            "up", "--detach", "--no-build",
            SECRETS_DIR=folder, GEMMA_TARGET="gateway", GATEWAY_UPSTREAMS=engine,
            GEMMA_MEMORY="512m", GEMMA_PUBLISH=f"127.0.0.1:{self.port}",
        )  # fmt: skip

    def inside(self, service: str, *command: str, ok: tuple[int, ...] = (0,)) -> str:
        return self.containers.podman("exec", self.name(service), *command, ok=ok)

    @staticmethod
    def name(service: str) -> str:
        return f"gemma-gateway_{service}_1"


@pytest.fixture(scope="module")
def up(
    containers: Containers, image: str, host_engine: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Up]:
    """The default profile as the file has it, with the target ``gateway`` before a host's engine.

    The target ``engine`` needs gigabytes of downloads: that one is built by hand.
    """
    project = Up(containers, tmp_path_factory.mktemp("compose") / "secrets", host_engine)
    yield project
    containers.compose("down", "--volumes")
    assert containers.podman("volume", "ls", "--quiet", "--filter", "name=gemma-gateway_") == ""


def test_the_default_profile_answers(up: Up) -> None:
    for service in ("valkey", "gateway"):
        up.containers.until_healthy(up.name(service))
    client = OpenAI(
        base_url=f"http://127.0.0.1:{up.port}/v1", api_key=up.secrets["gateway_api_keys"]
    )
    with client:
        parts = client.chat.completions.create(
            model="gemma-3-270m",
            messages=[{"role": "user", "content": "echo: one two"}],
            stream=True,
        )
        assert "".join(p.choices[0].delta.content or "" for p in parts) == "one two"


def test_limits_are_kept_in_valkey_behind_its_password(up: Up) -> None:
    assert "NOAUTH" in up.inside("valkey", "valkey-cli", "dbsize")
    count = (
        "REDISCLI_AUTH=$(sed -n 's/^requirepass //p' /run/secrets/valkey.conf) valkey-cli dbsize"
    )
    assert until(lambda: int(up.inside("valkey", "sh", "-c", count).split()[-1]) > 0, 5)


def test_confinement_holds_inside(up: Up) -> None:
    for service, user in (("gateway", "10001"), ("valkey", "999")):
        assert up.inside(service, "id", "-u") == user
        up.inside(service, "touch", "/file", ok=(1,))
        up.inside(service, "touch", "/data/file")
    state = json.loads(up.containers.podman("inspect", up.name("gateway")))[0]
    assert state["HostConfig"]["Memory"] == 512 * 2**20
    assert state["EffectiveCaps"] in (None, [])


def test_stopping_is_orderly(up: Up) -> None:
    """The last test of this file: it stops the project."""
    up.containers.compose("stop")
    for service in ("gateway", "valkey"):
        state = json.loads(up.containers.podman("inspect", up.name(service)))[0]["State"]
        assert state["ExitCode"] == 0, service
