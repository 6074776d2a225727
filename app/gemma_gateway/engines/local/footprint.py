"""What an engine in this process weighs: memory of its processes, and of its GPUs."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

LOOK_AGAIN = 10.0  # seconds that a list of processes is good for: making it reads all of /proc

log = logging.getLogger(__name__)


class Footprint:
    """Reads the sizes; a read costs a few system calls, so that one a second is nothing.

    Args:
        nvml: the library that asks NVIDIA's driver (``pynvml``); None: there are no such GPUs.
        devices: numbers of the GPUs as that library counts them.
    """

    def __init__(self, nvml: Any = None, devices: Sequence[int] = ()) -> None:
        self._processes: list[Any] = []  # psutil.Process
        self._listed = float("-inf")
        self._nvml = nvml if devices else None
        self._devices = tuple(devices)
        self._started = False

    def resident(self) -> int:
        """Bytes in memory of this process and all that it has started."""
        import psutil  # comes with vLLM

        now = time.monotonic()
        if now - self._listed > LOOK_AGAIN:
            here = psutil.Process()
            self._processes, self._listed = [here, *here.children(recursive=True)], now
        total = 0
        for process in self._processes:
            with suppress(psutil.Error):  # it has ended
                total += process.memory_info().rss
        return int(total)

    def gpu(self) -> int:
        """Used bytes of the GPUs, whoever uses them; 0 where nobody tells."""
        if self._nvml is None:
            return 0
        try:
            if not self._started:
                self._nvml.nvmlInit()
                self._started = True
            handles = map(self._nvml.nvmlDeviceGetHandleByIndex, self._devices)
            return sum(int(self._nvml.nvmlDeviceGetMemoryInfo(h).used) for h in handles)
        except Exception as error:  # no driver, a GPU that fell off the bus: it is only a figure
            log.warning("the GPUs' memory can't be read: %s", error)
            self._nvml = None
            return 0


def of_vllm(engine: Any) -> Footprint:
    """The footprint of a running vLLM engine (``AsyncLLM``), on whatever it runs."""
    try:
        from vllm.platforms import current_platform
        from vllm.third_party import pynvml

        if not current_platform.is_cuda():
            return Footprint()
        parallel = engine.vllm_config.parallel_config
        count = parallel.local_world_size * parallel.data_parallel_size_local
        devices = [current_platform.device_id_to_physical_device_id(n) for n in range(count)]
    except Exception as error:  # another vLLM than the one this was written for
        log.warning("the GPUs of the engine are not known: %s", error)
        return Footprint()
    return Footprint(pynvml, devices)
