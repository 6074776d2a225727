"""The systemd units, judged by systemd itself, and the gateway under as much of the sandbox as one
process can put on without systemd."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from gemma_gateway.settings import Settings, config
from tests.conftest import absent
from tests.deploy.names import DEPLOY
from tests.process import Engine, Gateway

FOLDER = DEPLOY / "systemd"
GATEWAY = FOLDER / "gemma-gateway.service"
ENGINE = FOLDER / "gemma-engine.service"
UNITS = pytest.mark.parametrize("unit", [GATEWAY, ENGINE], ids=lambda u: u.stem)
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1  # what MemoryDenyWriteExecute asks of Linux 6.3 and later


def analyze(*arguments: str | Path) -> str:
    """Output of systemd-analyze, which must be satisfied."""
    program = shutil.which("systemd-analyze") or absent("systemd-analyze (Debian: systemd)")
    done = subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def service(unit: Path) -> dict[str, str]:
    """The [Service] section; of repeated settings the last."""
    parser = ConfigParser(strict=False, interpolation=None, delimiters="=", comment_prefixes="#")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit.read_text("utf-8"))
    return dict(parser["Service"])


def environment(file: str) -> dict[str, str]:
    """An EnvironmentFile, with the settings that are commented out."""
    text = (FOLDER / file).read_text("utf-8")
    return dict(re.findall(r"^#?([A-Z_]+)=(.*)$", text, re.M))


@UNITS
def test_systemd_finds_no_fault(unit: Path, tmp_path: Path) -> None:
    """With programs that exist here, nothing is left to complain about."""
    text = re.sub(
        r"^ExecStart=\S+", f"ExecStart={sys.executable}", unit.read_text("utf-8"), flags=re.M
    )
    (tmp_path / unit.name).write_text(text)
    said = analyze("verify", "--man=no", tmp_path / unit.name)
    assert unit.name not in said


def test_systemd_finds_a_fault(tmp_path: Path) -> None:
    unit = tmp_path / "wrong.service"
    unit.write_text("[Service]\nExecStart=/bin/true\nProtectSytem=strict\n")
    assert "ProtectSytem" in analyze("verify", "--man=no", unit)


@pytest.mark.parametrize(("unit", "exposure"), [(GATEWAY, 15), (ENGINE, 25)])
def test_exposure_is_low(unit: Path, exposure: int) -> None:
    """In tenths: 15 is 1.5 of 10. An unconfined service has 96."""
    analyze("security", "--offline=true", f"--threshold={exposure}", "--no-pager", unit)


@UNITS
def test_service_is_nobody_and_owns_only_its_state(unit: Path) -> None:
    settings = service(unit)
    assert settings["DynamicUser"] == "yes"
    assert settings["ProtectSystem"] == "strict"
    assert settings["NoNewPrivileges"] == "yes"
    assert settings["CapabilityBoundingSet"] == ""
    assert "ReadWritePaths" not in settings


def test_the_drain_fits_into_the_stop() -> None:
    drain = float(environment("gateway.env")["GATEWAY_DRAIN_SECONDS"])
    assert drain == Settings.model_fields["drain_seconds"].default
    assert float(service(GATEWAY)["TimeoutStopSec"]) >= drain + 10
    assert service(GATEWAY)["KillMode"] == "mixed"  # the embedded store isn't told to stop with it


def test_a_reload_is_a_hangup() -> None:
    assert service(GATEWAY)["ExecReload"] == "kill -HUP $MAINPID"


def test_settings_are_the_gateways(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment("gateway.env").items():
        monkeypatch.setenv(name, value)
    assert config.unknown_variables() == []
    settings = config.load(FOLDER / "gateway.yaml")
    port = environment("gateway.env")["GATEWAY_UPSTREAMS"].rpartition(":")[2].partition("/")[0]
    assert f"--port {port}" in service(ENGINE)["ExecStart"]
    assert settings.tiers["default"].windows


def test_engine_flags_are_vllms() -> None:
    spec = importlib.util.find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("vLLM isn't installed here: its flags can't be looked up")
    source = Path(spec.submodule_search_locations[0]) / "engine" / "arg_utils.py"
    known = source.read_text("utf-8")
    flags = re.findall(r"--([a-z-]+)", environment("engine.env")["VLLM_ARGS"])
    assert flags
    assert [flag for flag in flags if f'"--{flag}"' not in known] == []


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux")
def test_gateway_runs_as_the_sandbox_would_have_it(tmp_path: Path, engine: Engine) -> None:
    """No capability, no new privileges, no memory that is writable and executable: it starts its
    embedded store, gets ready and ends with status 0 on SIGTERM. (Not as another user: this Python
    may lie in a folder that only root can enter.)"""
    if shutil.which("setpriv") is None:
        absent("setpriv (Debian: util-linux)")
    start = (
        "import ctypes, os, sys; "
        f"ctypes.CDLL(None).prctl({PR_SET_MDWE}, {REFUSE_EXEC_GAIN}, 0, 0, 0); "
        "os.execv(sys.executable, [sys.executable, '-m', 'gemma_gateway', 'serve'])"
    )
    confined = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    confined += [sys.executable, "-c", start]
    gateway = Gateway(tmp_path, upstreams=engine.url + "/v1")
    gateway._command = ["-c", f"import os; os.execvp('setpriv', {confined!r})"]
    with gateway:
        status = Path(f"/proc/{gateway.pid}/status").read_text()
        assert re.search(r"^NoNewPrivs:\t1$", status, re.M)
        assert re.search(r"^CapEff:\t0+$", status, re.M)
        assert re.search(r"^CapBnd:\t0+$", status, re.M)
        assert gateway.stop() == 0
