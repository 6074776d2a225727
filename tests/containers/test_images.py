"""The Dockerfile: built from its own text, run without any privilege, stopped in the middle."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from openai import OpenAI

from tests.conftest import absent
from tests.containers.containers import ROOT, SAFE, VALKEY, Containers
from tests.process import free_port

KEY = "container-key-0123456789"
COMPRESSED = 150e6  # bytes of our own layers, without the base image


def hadolint(text: str) -> str:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or absent("hadolint")
    done = subprocess.run([program, "-"], input=text, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_hadolint_has_nothing_to_say() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    assert hadolint(text) == ""
    assert "DL3008" in hadolint(text.replace("# hadolint ignore=", "# "))


def test_the_image_says_how_it_runs(containers: Containers, image: str) -> None:
    inspected = json.loads(containers.podman("image", "inspect", image))[0]
    config = inspected["Config"]
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] in ("SIGTERM", "15")
    assert config["Entrypoint"] == ["tini", "--", "gemma-gateway"]
    assert list(config["ExposedPorts"]) == ["8000/tcp"]
    assert "/health/ready" in inspected["Healthcheck"]["Test"][-1]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.title"] == "gemma-gateway"
    assert not [e for e in config["Env"] if "KEY" in e or "REDIS" in e]


INVENTORY = """
import glob, importlib.metadata as m, json, os, shutil, sys
tools = "cc gcc g++ c++ clang ld as make node npm".split()
bad = [t for t in tools if shutil.which(t)]
left = [p for p in ("/root/.cache", "/build", "/opt/tools", "/code") if os.path.exists(p)]
left += glob.glob("/var/lib/apt/lists/*_*") + glob.glob("/var/cache/apt/*.bin")
have = {d.name.lower().replace("_", "-"): d.version for d in m.distributions(path=sys.path)
        if "/opt/venv/" in str(d.locate_file(""))}
bill = json.load(open("/usr/share/sbom/python.cdx.json"))
listed = {c["name"].lower().replace("_", "-"): c["version"] for c in bill["components"]}
print(json.dumps([bad, left, have, listed, bill["bomFormat"]]))
"""


def test_what_ships(containers: Containers, image: str) -> None:
    said = containers.podman("run", "--rm", "--entrypoint", "python", image, "-c", INVENTORY)
    compilers, left, have, listed, kind = json.loads(said)
    assert compilers == []
    assert left == []
    assert "gemma-gateway" in have
    assert not {"torch", "vllm", "pip", "setuptools"} & set(have)
    assert (kind, listed) == ("CycloneDX", have)


def test_a_change_of_code_costs_the_last_layers_only(
    containers: Containers, image: str, tmp_path: Path
) -> None:
    before = containers.podman(
        "image", "inspect", image, "--format", "{{range .RootFS.Layers}}{{.}} {{end}}"
    ).split()
    for name in ("app", "console", "requirements", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("node_modules"))
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, tmp_path)
    (tmp_path / "app" / "gemma_gateway" / "changed.py").write_text("CHANGED = True\n")
    after = containers.build("localhost/changed", tmp_path)
    assert len(before) == len(after)
    assert before[:-2] == after[:-2]  # the two last: bill of materials, code
    assert before[-1] != after[-1]


def test_our_layers_are_small(containers: Containers, image: str, tmp_path: Path) -> None:
    containers.podman("push", "--compress", image, f"dir:{tmp_path}/image")
    layers = json.loads((tmp_path / "image" / "manifest.json").read_text())["layers"]
    sizes = [layer["size"] for layer in layers[1:]]  # the first is the base image
    print(f"compressed layers over the base: {[round(s / 1e6, 1) for s in sizes]} MB")
    assert sum(sizes) < COMPRESSED
    assert sum(sizes[-2:]) < 4e6  # code and built console, with its copy of Swagger UI
    shutil.rmtree(tmp_path / "image")


@pytest.fixture(scope="module")
def running(containers: Containers, image: str, host_engine: str) -> Iterator[SimpleNamespace]:
    """The gateway beside a Valkey with a password, neither with any privilege."""
    port = free_port()
    containers.podman("network", "create", "images")
    containers.podman(
        "run", "-d", "--name", "images-valkey", "--network", "images", "--user", "999:999",
        *SAFE, VALKEY, "valkey-server", "--requirepass", "sesame", "--save", "",
        "--protected-mode", "no",
    )  # fmt: skip
    containers.podman(
        "run", "-d", "--name", "images-gateway", "--network", "images", *SAFE,
        "--memory", "512m", "-p", f"127.0.0.1:{port}:8000",
        "-e", f"GATEWAY_API_KEYS={KEY}", "-e", f"GATEWAY_UPSTREAMS={host_engine}",
        "-e", "GATEWAY_REDIS_URL=redis://:sesame@images-valkey:6379/0", image,
    )  # fmt: skip
    containers.until_healthy("images-gateway")
    client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY, max_retries=0)
    yield SimpleNamespace(client=client, inside=lambda *c: containers.podman(
        "exec", "images-gateway", *c))  # fmt: skip
    client.close()


def stream(client: OpenAI, **script: object) -> tuple[str, str | None]:
    """The text and the finish reason of a streamed answer."""
    text, finish = "", None
    for chunk in client.chat.completions.create(
        model="gemma-3-270m",
        messages=[{"role": "user", "content": "echo: one two three four five"}],
        stream=True,
        extra_body={"metadata": {"loopback": json.dumps(script)}},
    ):
        text += chunk.choices[0].delta.content or ""
        finish = chunk.choices[0].finish_reason or finish
    return text, finish


def test_it_streams_through_a_real_valkey(running: SimpleNamespace, containers: Containers) -> None:
    assert stream(running.client) == ("one two three four five", "stop")
    keys = containers.podman(
        "exec", "-e", "REDISCLI_AUTH=sesame", "images-valkey", "valkey-cli", "dbsize"
    )
    assert int(keys.split()[-1]) > 0


def test_the_console_is_inside(running: SimpleNamespace) -> None:
    home = str(running.client.base_url).removesuffix("/v1/")
    with urllib.request.urlopen(f"{home}/console", timeout=60) as page:
        html = page.read().decode()
    for path in re.findall(r'(?:src|href)="([^"]+)"', html):
        with urllib.request.urlopen(f"{home}/{path}", timeout=60) as asset:
            assert asset.read()


def test_it_has_no_privilege(running: SimpleNamespace, containers: Containers) -> None:
    assert running.inside("id", "-u").split() == ["10001"]
    assert running.inside("id", "-g").split() == ["10001"]
    status = running.inside("cat", "/proc/1/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {fields[f"Cap{c}"] for c in ("Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert fields["Name"] == "tini"
    for path in ("/file", "/opt/venv/file", "/usr/share/sbom/file", "/etc/passwd"):
        containers.podman("exec", "images-gateway", "touch", path, ok=(1,))
    running.inside("touch", "/tmp/file", "/data/file")


def test_sigterm_lets_a_stream_finish(running: SimpleNamespace, containers: Containers) -> None:
    """The last test of this file: it stops the container."""
    with ThreadPoolExecutor() as pool:
        call = pool.submit(stream, running.client, delay=0.7)
        while "gateway_requests_in_flight 1" not in running.inside(
            "python", "-c",
            "import urllib.request as r; "
            "print(r.urlopen('http://127.0.0.1:8000/metrics').read().decode())",
        ):  # fmt: skip
            assert not call.done()
        containers.podman("stop", "--time", "40", "images-gateway")
        assert call.result(20) == ("one two three four five", "stop")
    state = json.loads(containers.podman("inspect", "images-gateway"))[0]["State"]
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
