"""What vLLM reads from the environment, and its processes inherit."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gemma_gateway.engines.local import convert
from gemma_gateway.settings.tier import MOST_STOPS

PRELOAD = "LD_PRELOAD"
# An allocator and threads with which vLLM is faster on x86 processors ("set LD_PRELOAD" in
# docs.vllm.ai, installation on CPUs). Where each may be, and names of what takes its place.
OPENMP = (Path(sys.prefix) / "lib", "libiomp5.so", ("libiomp", "libomp", "libgomp"))
TCMALLOC = (Path("/usr/lib/x86_64-linux-gnu"), "libtcmalloc_minimal.so.4", ("libtcmalloc",))


def has_cuda() -> bool:
    """Whether this process can use an NVIDIA GPU."""
    from torch.cuda import is_available

    return bool(is_available())


def set_up(model: str) -> None:
    """vLLM's own switches, read when it is imported; what the operator has set stays.

    Args:
        model: a folder, or a hub name.
    """
    defaults = {
        # vLLM's processes import its plugins, ours among them: from where this one has them, and
        # not from a folder named app in the working directory.
        "PYTHONSAFEPATH": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a fork would keep the gateway's sockets open
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_LOGGING_CONFIG_PATH": str(Path(__file__).with_name("vllm_logging.json")),
        "TQDM_DISABLE": "1",
        "VLLM_MAX_STOP_STRINGS": str(MOST_STOPS),  # a tier says how many are taken
    }
    if (Path(model) / convert.MARKER).is_file():
        defaults["HF_HUB_OFFLINE"] = "1"  # the bundled model needs nobody
    if not has_cuda():
        defaults["VLLM_CPU_KVCACHE_SPACE"] = "1"  # GiB
        # Small kernels (logprobs, penalties) would be compiled at their first use: that needs a
        # C++ compiler and holds every call up for 15 s.
        defaults["TORCH_COMPILE_DISABLE"] = "1"
    if os.environ.get("VLLM_CONFIGURE_LOGGING") == "0":
        del defaults["VLLM_LOGGING_CONFIG_PATH"]  # vLLM refuses the two together
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


@contextmanager
def preloaded() -> Iterator[None]:
    """Meanwhile processes start with the libraries that vLLM asks for on a CPU, where they are
    there; those of this process, and of all else that it starts, stay as they are."""
    before = os.environ.get(PRELOAD)
    if not has_cuda() and (libraries := wanted(os.environ)):
        os.environ[PRELOAD] = ":".join(libraries)
    try:
        yield
    finally:  # vLLM has its own additions
        if before is None:
            os.environ.pop(PRELOAD, None)
        else:
            os.environ[PRELOAD] = before


def wanted(environ: Mapping[str, str]) -> list[str]:
    """The operator's libraries, and those of vLLM's that neither they nor the machine lack.

    Args:
        environ: of this process.
    """
    preload = environ.get(PRELOAD, "").replace(":", " ").split()
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return preload
    for folder, name, others in (TCMALLOC, OPENMP):
        named = any(Path(library).name.startswith(others) for library in preload)
        if not named and (folder / name).is_file():
            preload.append(str(folder / name))
    return preload
