"""Where a model comes from: the bundled Gemma 3 270M, a folder, or the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from gemma_gateway.engines.local import convert
from gemma_gateway.engines.local.convert import Progress
from gemma_gateway.settings import EngineSettings

BUNDLED_NAME = "gemma-3-270m"
BUNDLED = (
    "A base model of 270 million parameters, to try the gateway with: it answers in plain English "
    "and gets facts wrong. For real use serve an instruct model such as google/gemma-3-4b-it."
)
HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt"]
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,96}")


class ModelUnavailable(Exception):
    """The model can't be had; the text says why and what to do, for the operator."""


def served_name(model: str) -> str:
    """The name that clients use for ``model`` when the operator chose none."""
    if not model:
        return BUNDLED_NAME
    folder = Path(model).expanduser()
    return folder.resolve().name if folder.is_dir() else model


def description(settings: EngineSettings, name: str) -> str | None:
    """What people should know of the model that clients call ``name``; None: nothing is known."""
    bundled = [each.name for each in settings.models if not (each.upstreams or each.model)]
    if not settings.models and settings.in_process == "":
        bundled = [settings.served_model_name or served_name("")]
    return BUNDLED if name in bundled else None


def can_be(model: str) -> bool:
    """Whether ``model`` can be a model: empty, a folder that is there, or a hub name."""
    return not model or Path(model).expanduser().is_dir() or bool(_HUB_NAME.fullmatch(model))


def prepare(model: str, data_dir: Path, progress: Progress) -> Path:
    """Make a model's files ready on this machine. Nothing is done twice; resumes when interrupted.

    Args:
        model: empty for the bundled Gemma, a folder, or a hub name such as google/gemma-3-4b-it.
        data_dir: where the bundled model's converted weights are kept (536 MB).
        progress: called with one line for a person at each step.

    Returns:
        The folder to give to vLLM.

    Raises:
        ModelUnavailable: absent, gated, or no way to download it.
    """
    if not model:
        return _bundled(data_dir / "models" / BUNDLED_NAME, progress)
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelUnavailable(f"{folder} holds no config.json: it is not a model folder")
        return folder
    if not can_be(model):
        raise ModelUnavailable(f"{model!r} is neither a folder nor a hub name such as google/gemma")
    return _hub(model, progress)


def gated(model: str) -> str:
    """What to do about a model whose license has to be accepted first."""
    return (
        f"{model} is gated: accept the license at https://huggingface.co/{model} and set HF_TOKEN"
    )


def _hub(model: str, progress: Progress) -> Path:
    """Download a model from the hub; huggingface_hub shows bytes left and resumes by itself."""
    from huggingface_hub import errors, snapshot_download

    progress(f"model {model}: checking the local copy, downloading what is missing")
    page = f"https://huggingface.co/{model}"
    try:
        return Path(snapshot_download(model, allow_patterns=HUB_FILES))
    except errors.GatedRepoError as error:
        raise ModelUnavailable(gated(model)) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelUnavailable(
            f"no model named {model} on the hub (or it is private: set HF_TOKEN); see {page}"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError, OSError) as error:
        raise ModelUnavailable(
            f"{model} is not on this machine and can't be downloaded ({type(error).__name__}): "
            "check the network, HF_HUB_OFFLINE and the free disk space, or give a model folder"
        ) from error


def _bundled(target: Path, progress: Progress) -> Path:
    if not convert.is_done(target):
        progress(f"model {BUNDLED_NAME}: preparing once, about 40 s in 4 steps")
        try:
            convert.in_child(target, progress)
        except convert.ConversionFailed as error:
            raise ModelUnavailable(f"the bundled model could not be prepared: {error}") from error
    return target
