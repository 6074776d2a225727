"""The engine's processes end with the gateway, even when it is killed.

vLLM's core and workers are children that hold gigabytes; after a SIGKILL of the gateway they would
live on. vLLM calls ``watch`` in each of its processes: it is registered in pyproject.toml as a
plugin (entry point group ``vllm.general_plugins``).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait


def watch() -> None:
    """Kill this process once its parent is gone; does nothing in the gateway itself."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)
