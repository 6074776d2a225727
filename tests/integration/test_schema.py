"""The served OpenAPI document is true: schemathesis finds no answer that it doesn't tell of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.documented import CHECKS
from tests.process import KEY, OPERATOR, Gateway


@pytest.mark.parametrize("key", [KEY, OPERATOR], ids=["caller", "operator"])
def test_answers_are_as_documented(gateway: Gateway, key: str) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis"))]
    command += ["run", f"{gateway.url}/openapi.json", "-H", f"Authorization: Bearer {key}"]
    command += ["--max-examples", "20", "--phases", "coverage,fuzzing", "--seed", "1"]
    command += ["--checks", ",".join(CHECKS)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert found.returncode == 0, found.stdout[-6000:]
