"""Tasks that go on in the background until they are stopped."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any


async def cancelled(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task and wait until it has come to its end.

    Args:
        task: the task; None (it was never started, or is over): nothing is done.

    Raises:
        Exception: what the task itself failed with.
    """
    if task is None:
        return
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
