"""What an operator is told when an engine does not start."""

from __future__ import annotations

import re

import pytest

from gemma_gateway.engines.local.vllm_app import explain


class GatedRepoError(Exception):
    """Named as huggingface_hub's, which the core install has not."""


def chained(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module named 'vllm'"), "install the cpu or cuda extra"),
        (
            chained(OSError("can't load"), GatedRepoError("403")),
            "google/x is gated: accept the license at https://huggingface.co/google/x and set HF_T",
        ),
        (
            RuntimeError("Engine core initialization failed. Failed core proc(s): {}"),
            "killed for lack of memory",
        ),
        (ValueError("no\n  such   thing"), "could not be started, .* no such thing"),
    ],
)
def test_a_failed_start_is_explained(error: Exception, said: str) -> None:
    assert re.search(said, explain(error, "google/x"))


def test_a_ring_of_causes_comes_to_an_end() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert "first" in explain(first, "m")
