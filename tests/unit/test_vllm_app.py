"""What an operator is told when an engine does not start, and which counts a call has."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from gemma_gateway.engines.local.vllm_app import GUIDANCE, Work, _with_options, explain


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


def test_counts_add_up_over_choices_and_prompts() -> None:
    def state(prompt: int, generated: int, parent: object = None) -> SimpleNamespace:
        written = SimpleNamespace(num_output_tokens=lambda: generated)
        return SimpleNamespace(parent_req=parent, prompt_len=prompt, detokenizer=written)

    parent = object()
    work = Work(engine=None, states=[state(7, 3, parent), state(7, 4, parent), state(5, 2)])
    assert work.counts() == (12, 9)
    assert Work(engine=None).counts() == (0, 0)


@pytest.mark.parametrize("schema", [{"type": "object"}, '{"type": "object"}'])
def test_schemas_bring_the_librarys_options(schema: object) -> None:
    assert _with_options(schema) == {"type": "object", "x-guidance": GUIDANCE}


@pytest.mark.parametrize("schema", [True, "true", "{", "[]", 5])
def test_what_is_no_schema_is_left_to_the_engine(schema: object) -> None:
    assert _with_options(schema) == schema
