"""What stands in the compose file, and is read by others: vLLM and Prometheus."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import yaml

from tests.conftest import absent

ROOT = Path(__file__).parents[2]


def test_vllm_understands_its_command(tmp_path: Path) -> None:
    """Read by vLLM's own parser, with the key's file as secrets.sh writes it."""
    if importlib.util.find_spec("vllm") is None:
        absent("vLLM (make setup)")
    from vllm.entrypoints.cli.serve import cmd_init
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    secrets = tmp_path / "secrets"
    script = ROOT / "deploy" / "compose" / "secrets.sh"
    subprocess.run(["sh", script, secrets], check=True, capture_output=True)
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    services = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))["services"]
    words = [word.replace("/run/secrets", str(secrets)) for word in services["vllm"]["command"]]
    parser = FlexibleArgumentParser()
    commands = parser.add_subparsers(required=False, dest="subparser")
    for command in cmd_init():
        command.subparser_init(commands)
    asked = parser.parse_args(["serve", *words])
    key = (secrets / "gateway_upstream_api_key").read_text().strip()
    assert (asked.api_key, asked.port, asked.host) == ([key], 8000, "0.0.0.0")


def test_promtool_accepts_the_scrape_configuration(tmp_path: Path) -> None:
    program = shutil.which("promtool") or absent("promtool (Debian: apt-get install prometheus)")
    shutil.copy(ROOT / "deploy" / "prometheus" / "rules.yaml", tmp_path)
    configured = (ROOT / "deploy" / "compose" / "prometheus.yml").read_text("utf-8")
    (tmp_path / "p.yml").write_text(configured.replace("/etc/prometheus", str(tmp_path)))
    done = subprocess.run(
        [program, "check", "config", tmp_path / "p.yml"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
