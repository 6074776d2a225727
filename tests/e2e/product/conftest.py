"""The whole product as its user runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import settings
from tests.process import Gateway


@pytest.fixture(scope="package")
def real(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The whole product as a process: embedded Valkey, real vLLM, real Gemma. It runs where
    somebody else's modules have our names, which neither it nor any of its processes may import."""
    folder = tmp_path_factory.mktemp("real")
    for name in ("app", "gemma_gateway", "vllm", "asyncio"):
        (folder / "elsewhere" / name).mkdir(parents=True)
        foreign = folder / "elsewhere" / name / "__init__.py"
        foreign.write_text(f"raise SystemExit('foreign {name}')\n")
    # For test_agents.py: what an agent sends is long, its answer needn't be.
    more = {"max_model_len": 32_768, "tiers__open__max_tokens_cap": 32}
    more |= {"tiers__default__grammars": True, "tiers__default__prompt_logprobs_tokens": 128}
    # For test_alerts.py: a seventeenth call at once has to wait.
    rule = "alerts__rules__queue_time__"
    more |= {f"{rule}threshold": 0.005, f"{rule}seconds": 20, f"{rule}calls": 10}
    more |= {"engine_args": "--max-num-seqs=16", "alerts__resolve_seconds": 2}
    elsewhere = folder / "elsewhere"
    with Gateway(folder, wait=240, cwd=elsewhere, **settings(model_folder), **more) as process:
        yield process
        assert "foreign" not in process.text()
        assert process.stop() == 0, process.text()[-4000:]
