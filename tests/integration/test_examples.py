"""The clients in ``examples/`` get an answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import absent
from tests.integration.conftest import require
from tests.process import KEY, ROOT, Gateway

EXAMPLES = sorted(p for p in (ROOT / "examples").iterdir() if p.suffix in {".py", ".sh"})


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_prints_the_answer(example: Path, gateway: Gateway) -> None:
    if example.suffix == ".sh":
        require("curl")
    else:
        try:
            __import__(example.stem.partition("_")[0])
        except ImportError as error:
            absent(str(error))
    program = "sh" if example.suffix == ".sh" else sys.executable
    done = subprocess.run(
        [program, str(example), 'echo: "sea"'],
        env={**os.environ, "GATEWAY_URL": gateway.url, "GATEWAY_API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sea" in done.stdout
