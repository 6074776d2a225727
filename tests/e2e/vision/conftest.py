"""The whole product with a Gemma 3 that sees."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import need, settings
from tests.e2e.vision import model
from tests.process import Gateway

ROOT = Path(__file__).parents[3]
# Where scripts/test-deps.sh puts a torchvision that the environment itself can't use.
ASIDE = Path(sys.prefix) / "torchvision"


def paths() -> str:
    """PYTHONPATH under which vLLM finds a torchvision."""
    own = os.environ.get("PYTHONPATH", "")
    usable = [sys.executable, "-c", "import torchvision"]
    if subprocess.run(usable, capture_output=True, check=False).returncode == 0:
        return own
    if not ASIDE.is_dir():
        need("torchvision", "no images in process (make test-deps)")
    return os.pathsep.join(filter(None, [str(ASIDE), str(Path(__file__).parent / "site"), own]))


@pytest.fixture(scope="package")
def seeing(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Embedded Valkey, real vLLM, Google's text weights and a vision tower."""
    folder = tmp_path_factory.mktemp("seeing")
    path = paths()
    model.build(model_folder, folder / "gemma-3-see")
    more = settings(model_folder) | {"model": folder / "gemma-3-see"}
    more |= {"tiers__default__max_images": 2, "tiers__open__max_images": 2}
    more["engine_args"] = "--skip-mm-profiling"  # which takes a minute of a core
    with Gateway(folder, wait=600, environ={"PYTHONPATH": path}, **more) as process:
        yield process
        assert process.stop() == 0, process.text()[-4000:]
