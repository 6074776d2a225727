"""bench, doctor and top as whole processes, on whole gateways, and on set-ups broken on purpose."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.integration.conftest import Server
from tests.integration.redis_groups import eventually
from tests.process import KEY, OPERATOR, Engine, Gateway, free_port
from tests.waiting import PATIENCE

Json = dict[str, Any]
PASSWORD = "open-sesame-4711"
STRONG = "k" * 40


def environment(**variables: str) -> dict[str, str]:
    """This process's, without settings of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GATEWAY_", "OTEL_"))}
    return kept | variables


def tool(
    folder: Path, *arguments: str, limits: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """``gemma-gateway ARGUMENTS`` in a folder.

    Args:
        limits: shell words before it, such as ``ulimit -n 64``.
        variables: of its environment.
    """
    command = [sys.executable, "-m", "gemma_gateway", *arguments]
    if limits:
        command = ["sh", "-c", f'{limits}; exec "$@"', "sh", *command]
    env = environment(**variables)
    env["PYTHONPATH"] = str(Path(__file__).parents[2] / "app")
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False
    )


# ---- bench


@pytest.fixture(scope="module")
def measured(
    tmp_path_factory: pytest.TempPathFactory, engine: Engine
) -> Iterator[tuple[Gateway, Path]]:
    """A gateway, and a folder to work in."""
    folder = tmp_path_factory.mktemp("tools")
    upstream = engine.url + "/v1"
    with Gateway(folder / "data", upstreams=upstream, operator_keys=OPERATOR) as gateway:
        yield gateway, folder


def test_bench_counts_what_the_gateway_counts(
    measured: tuple[Gateway, Path], tmp_path: Path, engine: Engine
) -> None:
    gateway, _ = measured
    words = ["--url", gateway.url, "--concurrency", "1,3", "--requests", "9", "--out", "result"]
    words += ["--body", '{"temperature": 0.25}']
    done = tool(tmp_path, "bench", *words, GATEWAY_API_KEY=KEY)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result" / "result.json").read_text())
    assert [level["ok"] for level in result["levels"]] == [9, 9]
    assert [level["errors"] for level in result["levels"]] == [{}, {}]
    assert result["model"] == "gemma-3-270m"
    assert not result["notes"]
    asked = json.loads(state(engine))["body"]
    assert (asked["temperature"], asked["max_tokens"], asked["stream"]) == (0.25, 64, True)
    told = tool(tmp_path, "top", "--url", gateway.url, "--once", GATEWAY_API_KEY=OPERATOR)
    # With the one before the first level, which doesn't count.
    assert " 19 ok, 0 failed" in told.stdout
    metered = tool(tmp_path, "top", "--url", gateway.url, "--once", GATEWAY_API_KEY=KEY)
    written = sum(level["output_tokens"] for level in result["levels"]) * 19 // 18
    assert f"{written:,} out" in metered.stdout
    with Image.open(tmp_path / "result" / "plot.png") as picture:
        assert picture.format == "PNG"
    assert KEY not in done.stdout + done.stderr + json.dumps(result)


def test_bench_names_the_gateways_refusals(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "prompts.txt").write_text("hello\nhow to plan violence\n")
    upstream = engine.url + "/v1"
    with Gateway(tmp_path / "data", upstreams=upstream, requests_per_hour=14) as gateway:
        words = ["--url", gateway.url, "--concurrency", "2", "--requests", "20"]
        words += ["--prompts", "prompts.txt", "--out", "result"]
        done = tool(tmp_path, "bench", *words, GATEWAY_API_KEY=KEY)
    assert done.returncode == 0, done.stderr
    (level,) = json.loads((tmp_path / "result" / "result.json").read_text())["levels"]
    # One call went before. A refused call may overtake an allowed one, so who is limited varies.
    assert level["errors"]["RATE_LIMIT_EXCEEDED"] == 7
    assert level["ok"] + level["errors"]["CONTENT_FILTERED"] == 13
    assert "GATEWAY_REQUESTS_PER_HOUR" in done.stdout


def test_bench_refused_from_the_start(measured: tuple[Gateway, Path], tmp_path: Path) -> None:
    gateway, _ = measured
    done = tool(tmp_path, "bench", "--url", gateway.url, GATEWAY_API_KEY="wrong")
    assert done.returncode == 2
    assert "INVALID_API_KEY" in done.stderr
    done = tool(tmp_path, "bench", "--url", gateway.url, "--model", "gpt", GATEWAY_API_KEY=KEY)
    assert done.returncode == 2
    assert "MODEL_NOT_FOUND" in done.stderr
    assert not list(tmp_path.iterdir())


def test_bench_interrupted_keeps_what_it_has(
    measured: tuple[Gateway, Path], tmp_path: Path
) -> None:
    gateway, _ = measured
    command = [
        sys.executable,
        "-m",
        "gemma_gateway",
        "bench",
        "--url",
        gateway.url,
        "--duration",
        "60",
    ]
    child = subprocess.Popen(
        [*command, "--duration", "60", "--concurrency", "2,4", "--out", str(tmp_path / "result")],
        env=environment(GATEWAY_API_KEY=KEY),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        before = finished(gateway)
        eventually(lambda: finished(gateway) >= before + 10, "no calls")
        child.send_signal(signal.SIGINT)
        told, _ = child.communicate(timeout=PATIENCE)
    finally:
        child.kill()
    assert child.returncode == 130, told
    assert "Traceback" not in told
    result = json.loads((tmp_path / "result" / "result.json").read_text())
    assert result["interrupted"]
    assert result["levels"][0]["ok"] > 0
    assert "interrupted" in (tmp_path / "result" / "report.html").read_text()


def finished(gateway: Gateway) -> float:
    """Calls that have ended, of any outcome."""
    with urllib.request.urlopen(gateway.url + "/metrics", timeout=60) as reply:
        text = reply.read().decode()
    return sum(map(float, re.findall(r"^gateway_requests_total\{.*\} (\S+)$", text, re.M)))


@pytest.mark.parametrize(
    ("words", "stalled"), [(["--concurrency", "1"], 1), (["--rate", "20"], 12)]
)
def test_a_stalled_engine_in_both_loops(tmp_path: Path, words: list[str], stalled: int) -> None:
    """An engine frozen for two seconds delays one call of a closed loop with one caller, and all
    that come meanwhile of an open loop."""
    with Engine(tmp_path) as engine:
        words = ["--url", engine.url, *words, "--duration", "4", "--no-stream", "--out", "result"]
        child = subprocess.Popen(
            [sys.executable, "-m", "gemma_gateway", "bench", *words],
            cwd=tmp_path,
            env=environment(PYTHONPATH=str(Path(__file__).parents[2] / "app")),
        )
        try:
            while not json.loads(state(engine))["calls"] > 3:  # the first level has begun
                assert child.poll() is None
                time.sleep(0.05)
            os.kill(engine.pid, signal.SIGSTOP)
            time.sleep(2)
            os.kill(engine.pid, signal.SIGCONT)
            assert child.wait(PATIENCE) == 0
        finally:
            child.kill()
    (level,) = json.loads((tmp_path / "result" / "result.json").read_text())["levels"]
    times = level["response_time"]
    assert level["errors"] == {}
    assert times["max"] > 0.8
    if stalled == 1:
        assert times["p95"] < times["max"] / 2
    else:
        assert level["ok"] >= 40
        assert times["p90"] > 0.2  # an eighth of the calls or more waited for that long


def state(engine: Engine) -> bytes:
    """What the engine has seen."""
    with socket.create_connection(("127.0.0.1", engine.port), PATIENCE) as link:
        link.sendall(b"GET /_state HTTP/1.0\r\n\r\n")
        raw = b""
        while piece := link.recv(65536):
            raw += piece
    return raw.partition(b"\r\n\r\n")[2]


# ---- top


def test_top_shows_the_state(measured: tuple[Gateway, Path], tmp_path: Path) -> None:
    gateway, _ = measured
    done = tool(tmp_path, "top", "--url", gateway.url, GATEWAY_API_KEY=OPERATOR)  # no terminal
    assert done.returncode == 0, done.stderr
    for line in ("healthy", "gemma-3-270m", "in flight  0 of 1024", "store      available"):
        assert line in done.stdout
    assert re.search(r"upstream   127\.0\.0\.1:\d+  up, 0 in flight", done.stdout)
    assert "\x1b" not in done.stdout


def test_top_without_operator_scope(measured: tuple[Gateway, Path], tmp_path: Path) -> None:
    gateway, _ = measured
    for variables in ({"GATEWAY_API_KEY": KEY}, {}):
        done = tool(tmp_path, "top", "--url", gateway.url, "--once", **variables)
        assert done.returncode == 0, done.stderr
        assert "no operator's key" in done.stdout
        assert "in flight  0 of 1024" in done.stdout
        assert re.search(r"^calls      [\d,]+ since the start$", done.stdout, re.M)


def test_top_with_a_key_that_is_not_known(measured: tuple[Gateway, Path], tmp_path: Path) -> None:
    gateway, _ = measured
    done = tool(tmp_path, "top", "--url", gateway.url, "--once", GATEWAY_API_KEY="wrong")
    assert (done.returncode, done.stdout) == (1, "")
    assert "INVALID_API_KEY: no key, or the wrong one. Set GATEWAY_API_KEY" in done.stderr


def test_top_lives_on_a_terminal(measured: tuple[Gateway, Path]) -> None:
    gateway, _ = measured
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "gemma_gateway", "top", "--url", gateway.url, "--interval", "0.2"],
        env=environment(GATEWAY_API_KEY=OPERATOR, COLUMNS="100", LINES="40"),
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        end = time.monotonic() + PATIENCE
        while shown.count(b"\x1b[H") < 4:
            assert time.monotonic() < end
            shown += os.read(ours, 65536)
        child.send_signal(signal.SIGINT)
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
        assert child.wait(PATIENCE) == 130
    finally:
        child.kill()
        os.close(ours)
    assert shown.startswith(b"\x1b[?1049h")
    assert shown.rstrip().endswith(b"\x1b[?1049l")
    assert b"healthy" in shown
    assert b"Traceback" not in shown


@pytest.mark.parametrize("command", ["top", "bench"])
def test_nobody_or_another_server_there(tmp_path: Path, engine: Engine, command: str) -> None:
    done = tool(tmp_path, command, "--url", f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "Is the gateway running there?" in done.stderr
    if command == "top":
        done = tool(tmp_path, command, "--url", engine.url, "--once")
        assert done.returncode == 1
        assert "answers HTTP 405" in done.stderr


# ---- doctor


def doctor(folder: Path, *arguments: str, limits: str = "", **settings: str) -> list[Json]:
    """Findings, where settings are given as variables; secrets must not be among them."""
    settings = {"GATEWAY_PORT": str(free_port()), **settings}
    done = tool(folder, "doctor", "--json", *arguments, limits=limits, **settings)
    assert done.stderr == ""
    document = json.loads(done.stdout)
    found: list[Json] = document["findings"]
    problems = any(finding["status"] == "problem" for finding in found)
    assert document["healthy"] is not problems
    assert done.returncode == int(problems)
    assert PASSWORD not in done.stdout
    assert STRONG not in done.stdout
    return found


def has(found: list[Json], status: str, check: str, message: str, advice: str) -> None:
    """One of the findings says this."""
    assert any(
        (f["status"], f["check"]) == (status, check)
        and message in f["message"]
        and advice in f["advice"]
        for f in found
    ), json.dumps(found, indent=1)


def test_a_sound_set_up(tmp_path: Path, engine: Engine, own_server: Server) -> None:
    own_server.stop()
    own_server.start("--appendonly", "yes")
    found = doctor(
        tmp_path,
        GATEWAY_REDIS_URL=own_server.url,
        GATEWAY_UPSTREAMS=engine.url + "/v1",
        GATEWAY_OPERATOR_KEYS=STRONG,
        GATEWAY_STORE_TIMEOUT="5",  # else a busy machine's store may be told to be slow
    )
    console = [f for f in found if f["check"] == "console"]  # it may not be built
    assert [f for f in found if f["status"] != "ok" and f not in console] == []
    assert {"settings", "policy", "keys", "files", "port", "open files", "clock"} <= {
        f["check"] for f in found
    }
    has(found, "ok", "redis", f"at {own_server.url}, answers in", "")
    has(found, "ok", "redis", "the limiter's script works", "")
    has(found, "ok", "upstream", "serves gemma-3-270m", "")
    assert own_server.ask(b"DBSIZE") in {b":0\r\n", b":1\r\n"}  # its key lives for a second


def test_faults_in_the_file_are_named_by_line(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("host: 127.0.0.1\nprot: 8000\ntiers:\n  gold:\n    max_tokens_cap: many\n")
    found = doctor(tmp_path)
    has(found, "problem", "settings", "gateway.yaml:2: prot: unknown field: did you mean port?", "")
    has(found, "problem", "settings", "gateway.yaml:5: tiers.gold.max_tokens_cap: ", "correct")
    file.write_text("host: [\n")
    has(doctor(tmp_path, "--config", str(file)), "problem", "settings", f"{file}:2: ", "correct")


def test_a_missing_file_is_a_wrong_word(tmp_path: Path) -> None:
    done = tool(tmp_path, "doctor", "--config", "nothere.yaml")
    assert done.returncode == 2
    assert "nothere.yaml: no such file" in done.stderr


def test_variables(tmp_path: Path, engine: Engine) -> None:
    found = doctor(
        tmp_path,
        GATEWAY_UPSTREAMS=engine.url + "/v1",
        GATEWAY_MAX_INFLIGHT="10",
        GATEWAY_API_KEY=PASSWORD,
    )
    meant = "GATEWAY_MAX_INFLIGHT is not a known setting: did you mean GATEWAY_MAX_IN_FLIGHT?"
    has(found, "warning", "settings", meant, "unset it")
    has(found, "warning", "settings", "GATEWAY_API_KEY is set", "GATEWAY_API_KEYS (with an S)")
    has(doctor(tmp_path, GATEWAY_PORT="http"), "problem", "settings", "GATEWAY_PORT", "unset")


def test_keys_and_policy(tmp_path: Path, engine: Engine) -> None:
    digest = "0" * 64
    (tmp_path / "gateway.yaml").write_text(
        f"upstreams: {engine.url}/v1\npolicy_file: policy.yaml\nkeys:\n"
        f"  - {{name: old, sha256: '{digest}', expires: 2020-01-01T00:00:00Z}}\n"
    )
    (tmp_path / "policy.yaml").write_text("categories:\n  - name: a\n    terms: ['']\n")
    found = doctor(tmp_path, GATEWAY_API_KEYS="short")
    has(found, "problem", "policy", "policy.yaml:3", "correct this line")
    has(found, "warning", "keys", "old has expired", "another date")
    has(found, "warning", "keys", "1 of them shorter", "key new")
    has(found, "warning", "keys", "operator scope", "GATEWAY_OPERATOR_KEYS")


def test_prompt_presets(tmp_path: Path, engine: Engine) -> None:
    folder = tmp_path / "prompts"
    folder.mkdir()
    own = folder / "own.yaml"
    own.write_text("prompts: [{id: a, messages: [{role: user, content: '{{ b }}'}]}]\n")
    own.chmod(0o666)
    settings = {"GATEWAY_UPSTREAMS": engine.url + "/v1", "GATEWAY_PROMPTS_FILE": str(folder)}
    found = doctor(tmp_path, **settings)
    has(found, "problem", "presets", f"{own}:1: prompts.0.messages.0", "correct this line")
    has(found, "problem", "presets", "is writable by anybody (mode 0666)", "chmod o-w")
    own.write_text(own.read_text().replace("{{ b }}", "b"))
    has(doctor(tmp_path, **settings), "ok", "presets", "4 usable, the built-in ones among", "")


def test_file_rights(tmp_path: Path, engine: Engine) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o777)
    data.chmod(0o777)
    (data / "api_key").write_text("gg-" + "a" * 43)
    (data / "api_key").chmod(0o644)
    file, policy = tmp_path / "gateway.yaml", tmp_path / "policy.yaml"
    file.write_text(
        f"upstreams: {engine.url}/v1\nredis_url: redis://:{PASSWORD}@127.0.0.1:1\n"
        "policy_file: policy.yaml\n"
    )
    policy.write_text("categories:\n  - {name: a, terms: [bad]}\n")
    policy.chmod(0o666)
    found = doctor(tmp_path, GATEWAY_DATA_DIR=str(data))
    has(found, "problem", "files", "(mode 0777)", f"chmod 700 {data}")
    has(found, "problem", "files", "(mode 0644)", f"chmod 600 {data / 'api_key'}")
    has(found, "warning", "files", "gateway.yaml holds redis_url", "chmod 600")
    has(found, "problem", "policy", "is writable by anybody (mode 0666)", "chmod o-w")
    (data / "api_key").write_text("not a key")
    (data / "api_key").chmod(0o600)
    found = doctor(tmp_path, GATEWAY_DATA_DIR=str(data))
    has(found, "problem", "files", "doesn't hold an API key", "delete it")
    found = doctor(tmp_path, GATEWAY_DATA_DIR=str(policy))
    has(found, "problem", "files", "is not a folder", "GATEWAY_DATA_DIR")


def test_secret_files(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "gateway_operator_keys").write_text(STRONG)
    (tmp_path / "gateway_operator_keys").chmod(0o644)
    found = doctor(
        tmp_path, GATEWAY_SECRETS_DIR=str(tmp_path), GATEWAY_UPSTREAMS=engine.url + "/v1"
    )
    has(found, "warning", "files", "anybody can open it (mode 0644)", "chmod 400")


def test_keys_of_several_models(tmp_path: Path) -> None:
    shared, missing, odd = (tmp_path / name for name in ("shared", "missing", "odd"))
    shared.write_text(STRONG)
    shared.chmod(0o644)
    odd.write_text(f"{STRONG}\n{STRONG}\n")
    odd.chmod(0o600)
    keys = [f"api_key_file: {path}" for path in (shared, missing, odd)] + [f"api_key: {STRONG}"]
    (tmp_path / "gateway.yaml").write_text(
        "models:\n"
        + "".join(
            f"- {{name: {'abcd'[n]}, upstreams: 'http://127.0.0.1:1/v1', {key}}}\n"
            for n, key in enumerate(keys)
        )
    )
    (tmp_path / "gateway.yaml").chmod(0o644)
    found = doctor(tmp_path)
    has(found, "warning", "files", f"{shared} holds a secret and anybody can open it", "chmod 400")
    for name, path in (("b", missing), ("c", odd)):
        has(found, "problem", "files", f"the key of {name} can't be used: ", "api_key_file")
        assert str(path) in json.dumps(found)
    has(found, "warning", "files", "gateway.yaml holds models.3.api_key", "chmod 600")


def test_servers_of_several_models(tmp_path: Path, engine: Engine) -> None:
    with loopback(PASSWORD) as url:
        (tmp_path / "key").write_text(PASSWORD)
        (tmp_path / "gateway.yaml").write_text(
            "models:\n"
            f"- {{name: gemma-3-270m, upstreams: {url}, api_key_file: {tmp_path}/key}}\n"
            f"- {{name: other, adapters: [small], upstreams: {engine.url}/v1}}\n"
            f"- {{name: third, upstreams: {url}}}\n"
        )
        found = doctor(tmp_path)
    has(found, "ok", "upstream", f"{url} answers in", "")
    missing = "doesn't serve other, small"
    has(found, "problem", "upstream", missing, "correct name or adapters in models")
    has(found, "problem", "upstream", f"{url} refuses the key (401)", "api_key_file of third")
    assert not [f for f in found if f["check"] in {"engine", "model", "gpu"}]


def test_ports(tmp_path: Path, measured: tuple[Gateway, Path], engine: Engine) -> None:
    upstream = engine.url + "/v1"
    running = str(measured[0].port)
    found = doctor(tmp_path, GATEWAY_UPSTREAMS=upstream, GATEWAY_PORT=running)
    has(found, "warning", "port", "by a gateway that is already running", "another GATEWAY_PORT")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        found = doctor(tmp_path, GATEWAY_UPSTREAMS=upstream, GATEWAY_PORT=port)
    has(found, "problem", "port", "by another program", f"sport = :{port}")
    found = doctor(tmp_path, GATEWAY_UPSTREAMS=upstream, GATEWAY_HOST="192.0.2.1")
    has(found, "problem", "port", "not an address of this machine", "0.0.0.0")


def test_open_files(tmp_path: Path, engine: Engine) -> None:
    found = doctor(tmp_path, limits="ulimit -n 512", GATEWAY_UPSTREAMS=engine.url + "/v1")
    has(found, "warning", "open files", "512 allowed", "ulimit -n 2148")


def with_store(folder: Path, url: str, **settings: str) -> list[Json]:
    """Findings about a store."""
    variables = {"GATEWAY_REDIS_URL": url, "GATEWAY_UPSTREAMS": "http://127.0.0.1:1/v1"}
    found = doctor(folder, **variables, **settings)
    return [finding for finding in found if finding["check"] == "redis"]


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    port = free_port()
    found = with_store(tmp_path, f"redis://me:{PASSWORD}@127.0.0.1:{port}/3")
    has(found, "problem", "redis", f"redis://127.0.0.1:{port}/3: Connection refused", "start it")
    found = with_store(tmp_path, "redis://127.0.0.1:x")
    has(found, "problem", "redis", "its port is not a number", "GATEWAY_REDIS_URL")


def test_passwords_of_a_store(tmp_path: Path, own_server: Server) -> None:
    at = own_server.url.removeprefix("redis://")
    found = with_store(tmp_path, f"redis://:{PASSWORD}@{at}")
    has(found, "problem", "redis", "ERR AUTH", "needs no password")
    assert b"+OK" in own_server.ask(f"CONFIG SET requirepass {PASSWORD}".encode())
    has(with_store(tmp_path, own_server.url), "problem", "redis", "NOAUTH", "redis://:PASSWORD@")
    found = with_store(tmp_path, f"redis://:wrong@{at}")
    has(found, "problem", "redis", "WRONGPASS", "user and password")
    found = with_store(tmp_path, f"redis://:{PASSWORD}@{at}")
    assert all(finding["status"] != "problem" for finding in found)
    found = with_store(tmp_path, f"rediss://:{PASSWORD}@{at}")
    has(found, "problem", "redis", "rediss://", "")


def test_rights_of_a_store(tmp_path: Path, own_server: Server) -> None:
    user = f"ACL SETUSER weak on >{PASSWORD} ~gemma:* +@read +info +ping +time +eval"
    assert b"+OK" in own_server.ask(user.encode())
    at = own_server.url.removeprefix("redis://")
    found = with_store(tmp_path, f"redis://weak:{PASSWORD}@{at}")
    has(found, "problem", "redis", "the limiter's script doesn't work", "+eval +evalsha")


def test_a_replica(tmp_path: Path, own_server: Server) -> None:
    assert b"+OK" in own_server.ask(f"REPLICAOF 127.0.0.1 {free_port()}".encode())
    found = with_store(tmp_path, own_server.url)
    has(found, "problem", "redis", "it is a replica", "name the primary")
    has(found, "problem", "redis", "READONLY", "name the primary")


def test_a_node_of_a_cluster(tmp_path: Path, own_server: Server) -> None:
    own_server.stop()
    own_server.start("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    found = with_store(tmp_path, own_server.url)
    has(found, "problem", "redis", "one node of a Redis Cluster", "redis+cluster://")
    whole = own_server.url.replace("redis://", "redis+cluster://")
    has(with_store(tmp_path, whole), "problem", "redis", "knows no slots", "")
    assert b"+OK" in own_server.ask(b"CLUSTER ADDSLOTSRANGE 0 16383")
    eventually(lambda: b"cluster_state:ok" in own_server.ask(b"CLUSTER INFO"), "no cluster")
    has(with_store(tmp_path, whole), "ok", "redis", "the limiter's script works", "")


def test_memory_persistence_and_speed_of_a_store(tmp_path: Path, own_server: Server) -> None:
    assert b"+OK" in own_server.ask(b"CONFIG SET maxmemory-policy allkeys-lru")
    found = with_store(tmp_path, own_server.url, GATEWAY_STORE_TIMEOUT="0.000001")
    has(found, "warning", "redis", "maxmemory-policy is allkeys-lru", "noeviction")
    has(found, "warning", "redis", "no append-only file", "appendonly yes")
    has(found, "warning", "redis", "calls wait 0 ms", "GATEWAY_STORE_TIMEOUT")


def test_upstreams(tmp_path: Path, engine: Engine) -> None:
    port = free_port()
    with plain_server() as other:
        upstreams = [engine.url, "http://127.0.0.1:1", f"http://127.0.0.1:{port}", other]
        found = doctor(
            tmp_path,
            GATEWAY_PORT=str(port),
            GATEWAY_UPSTREAMS=",".join(f"{url}/v1" for url in upstreams),
        )
    has(found, "ok", "upstream", f"{engine.url}/v1 answers in", "")
    has(found, "problem", "upstream", "127.0.0.1:1/v1: Connection refused", "start that server")
    has(found, "problem", "upstream", "is this gateway itself", "GATEWAY_UPSTREAMS")
    has(found, "problem", "upstream", "not like an OpenAI-compatible server", "must end in /v1")
    found = doctor(tmp_path, GATEWAY_UPSTREAMS="dns+http://nobody.invalid:8000/v1")
    has(
        found,
        "problem",
        "upstream",
        "nobody.invalid doesn't resolve to any address",
        "correct the name",
    )


def test_an_upstream_that_wants_a_key(tmp_path: Path) -> None:
    with loopback(PASSWORD) as url:
        found = doctor(tmp_path, GATEWAY_UPSTREAMS=url)
        has(found, "problem", "upstream", "refuses the key (401)", "GATEWAY_UPSTREAM_API_KEY")
        found = doctor(tmp_path, GATEWAY_UPSTREAMS=url, GATEWAY_UPSTREAM_API_KEY=PASSWORD)
        has(found, "ok", "upstream", "serves gemma-3-270m", "")


@contextmanager
def loopback(key: str) -> Iterator[str]:
    """A model server that wants this key; its base URL."""
    port = free_port()
    command = ["-m", "tests.loopback", "--port", str(port), "--api-key", key]
    child = subprocess.Popen([sys.executable, *command])
    try:
        end = time.monotonic() + PATIENCE
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < end
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        child.kill()
        child.wait()


@contextmanager
def plain_server() -> Iterator[str]:
    """A web server that knows nothing of models."""
    port = free_port()
    program = (
        "import http.server\n"
        "class Page(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.end_headers(); self.wfile.write(b'<html>')\n"
        f"http.server.HTTPServer(('127.0.0.1', {port}), Page).serve_forever()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert child.poll() is None
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.kill()
        child.wait()


def test_the_engine_in_this_process(tmp_path: Path) -> None:
    nvidia = tmp_path / "nvidia-smi"
    nvidia.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 570.124.06, 81559, 60000'\n")
    nvidia.chmod(0o755)
    found = doctor(tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}", GATEWAY_MODEL="no/such/model")
    engines = [finding for finding in found if finding["check"] == "engine"]
    if "not installed" in engines[0]["message"]:
        has(found, "problem", "engine", "vLLM is not installed", "GATEWAY_UPSTREAMS")
        return
    has(found, "problem", "model", "neither a folder nor a hub name", "google/gemma")
    has(found, "ok", "gpu", "NVIDIA H100 80GB HBM3, 60000 of 81559 MB used", "")


def test_for_people(tmp_path: Path, engine: Engine) -> None:
    done = tool(
        tmp_path,
        "doctor",
        GATEWAY_PORT=str(free_port()),
        GATEWAY_UPSTREAMS=engine.url + "/v1",
        GATEWAY_REDIS_URL=f"redis://:{PASSWORD}@127.0.0.1:1",
    )
    assert done.returncode == 1
    assert "problem  redis      redis://127.0.0.1:1: Connection refused\n" in done.stdout
    assert "                    -> start it" in done.stdout
    assert re.search(r"^1 problem, \d+ warnings?, \d+ ok$", done.stdout, re.M)
    assert PASSWORD not in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())  # it has changed nothing
