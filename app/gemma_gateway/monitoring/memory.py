"""How much memory the gateway holds: looked at once a second, not once a call."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from gemma_gateway.core.periodic import Periodic

INTERVAL = 1.0  # seconds
MB = 2**20
_STATM = Path("/proc/self/statm")
_GROUPS = Path("/sys/fs/cgroup")


def own() -> tuple[int, int]:
    """Bytes of this process in memory, and 0 for GPUs: a gateway without an engine has none."""
    try:
        pages = int(_STATM.read_bytes().split()[1])  # proc(5): size, resident, ... in pages
        return pages * resource.getpagesize(), 0
    except (OSError, ValueError, IndexError):  # no Linux: the most that it ever was
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most * (1 if sys.platform == "darwin" else 1024), 0


def limit(where: Path = Path("/proc/self/cgroup"), groups: Path = _GROUPS) -> int:
    """Bytes that this process and its children may use: the machine's, within the limits of its
    control group and of those around it.

    Source: Linux' cgroup v2 (``memory.max``), ``cgroups(7)`` for ``/proc/self/cgroup``.
    """
    least = os.sysconf("SC_PHYS_PAGES") * resource.getpagesize()
    try:
        found = re.search(r"^0::/(.*)$", where.read_text(), re.M)
    except OSError:  # no Linux
        found = None
    if found is None:
        return least
    group = groups / found[1]
    for folder in (group, *group.parents):
        try:
            least = min(least, int((folder / "memory.max").read_text()))
        except (OSError, ValueError):  # none there, or "max"
            continue
    return least


class Memory:
    """The newest measure.

    Args:
        read: gives bytes in memory and used bytes of GPUs, or None where only this process counts;
            may take some milliseconds.

    Attributes:
        of_engine: ``read`` knows of an engine in process.
        resident_mb: resident memory, MB (2^20 bytes); 0 before the first look.
        gpu_mb: used memory of the engine's GPUs, MB.
        limit_mb: what the process and its engine may use, MB.
    """

    def __init__(self, read: Callable[[], tuple[int, int] | None] = lambda: None) -> None:
        self._read = read
        self.of_engine = read() is not None
        self._looking = Periodic(self._look, INTERVAL, "the memory in use can't be read")
        self.resident_mb = 0.0
        self.gpu_mb = 0.0
        self.limit_mb = limit() / MB

    @property
    def share(self) -> float:
        """What is held of what may be used, 0 to 1."""
        return round(self.resident_mb / self.limit_mb, 4)

    async def start(self) -> None:
        """Look once, and then every second."""
        await self._look()
        await self._looking.start()

    async def stop(self) -> None:
        """Look no more. Idempotent."""
        await self._looking.stop()

    async def _look(self) -> None:
        resident, gpu = await asyncio.to_thread(lambda: self._read() or own())
        self.resident_mb, self.gpu_mb = round(resident / MB, 1), round(gpu / MB, 1)
