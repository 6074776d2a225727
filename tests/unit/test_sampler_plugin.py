"""Where the sampler for CPUs takes vLLM's place, and where it doesn't."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

vllm = pytest.importorskip("vllm", reason="no engine in process (make setup)")

from vllm import platforms  # noqa: E402
from vllm.v1.sample.ops import penalties, topk_topp_sampler  # noqa: E402

from gemma_gateway.engines.local import sampler  # noqa: E402

LOADED = """
from vllm.plugins import load_general_plugins
load_general_plugins()
from vllm.v1.sample.ops import penalties, topk_topp_sampler
print(penalties.apply_penalties.__module__, topk_topp_sampler.apply_top_k_top_p_pytorch.__module__)
"""


def functions() -> tuple[Any, Any]:
    return penalties.apply_penalties, topk_topp_sampler.apply_top_k_top_p_pytorch


def test_vllm_loads_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=False
    )
    assert done.stdout.split()[-2:] == [sampler.__name__] * 2, done.stderr


def test_another_version_keeps_its_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = functions()
    monkeypatch.setattr(vllm, "__version__", "0.99.0+cpu")
    sampler.install()
    assert functions() == before
    (line,) = caplog.messages
    assert "0.99.0+cpu" in line
    assert sampler.PROVED in line


def test_other_devices_keep_their_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = functions()
    monkeypatch.setattr(platforms, "current_platform", SimpleNamespace(is_cpu=lambda: False))
    sampler.install()
    assert functions() == before
    assert not caplog.messages
