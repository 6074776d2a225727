"""docs/scaling.md says what the measured figures say, and the store's benchmark really measures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import scaling

from gemma_gateway.settings import Settings
from tests.deploy.names import ROOT

DOCUMENT = ROOT / "docs" / "scaling.md"


def test_tables_are_those_of_the_figures() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert scaling.filled(text) == text, "run: python -m benchmarks.scaling --write"


def test_assumptions_are_the_settings() -> None:
    assert Settings.model_fields["max_in_flight"].default == scaling.IN_FLIGHT


def test_store_benchmark_measures(tmp_path: Path) -> None:
    """A short run, on any number of cores: sane figures, the same fields as those kept in docs/."""
    command = [sys.executable, "-m", "benchmarks.store", "--seconds", "0.2", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "store.json").read_text("utf-8"))
    kept = json.loads((ROOT / "docs" / "store.json").read_text("utf-8"))
    assert found.keys() == kept.keys()
    assert [r["outcome"] for r in found["rows"]] == [r["outcome"] for r in kept["rows"]]
    for row in found["rows"]:
        assert row["script_us"] > 0
        assert row["server_us"] > 0
        assert row["client_us"] > 0
    assert found["bytes_per_key"]["1"] < found["bytes_per_key"]["100"] < 10_000
