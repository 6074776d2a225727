"""What an operator is told when an engine does not start."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gemma_gateway.engines.local import vllm_app
from gemma_gateway.engines.local.vllm_app import VllmOptions, explain


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


# ---- flags


def flags(folder: Path, *given: str, images: int | None = 8) -> dict[str, str]:
    """What vLLM is told of images."""
    found = vllm_app._media_flags(VllmOptions(str(folder), "m", engine_args=given, images=images))
    return dict(zip(found[::2], found[1::2], strict=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = {"model_type": "gemma3", "vision_config": {"image_size": 896}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_vllm_fetches_nothing_and_sets_memory_aside_for_the_images_of_a_call(folder: Path) -> None:
    found = flags(folder)
    assert found["--allowed-media-domains"] == "none.invalid"
    assert json.loads(found["--limit-mm-per-prompt"]) == {"image": 8}
    assert "--limit-mm-per-prompt" not in flags(folder, images=None)


def test_a_model_without_eyes_has_no_limit_on_images(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "gemma3_text"}))
    assert "--limit-mm-per-prompt" not in flags(folder)


def test_the_operators_own_flags_win(folder: Path) -> None:
    found = flags(folder, "--limit-mm-per-prompt.image", "3", "--allowed_media_domains=a.example")
    assert "--limit-mm-per-prompt" not in found
    assert "--allowed-media-domains" not in found
