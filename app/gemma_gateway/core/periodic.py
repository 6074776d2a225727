"""Work that is done again and again in the background."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from gemma_gateway.core.background import cancelled

log = logging.getLogger(__name__)


class Periodic:
    """Runs an async function with a pause before each run, until it is stopped.

    A run that fails is logged, and is not the last one.

    Args:
        work: what is run; one run ends before the next one begins.
        pause: seconds before a run, or a function that gives them anew each time.
        failure: the log's line for a run that raised something.
    """

    def __init__(
        self,
        work: Callable[[], Awaitable[object]],
        pause: float | Callable[[], float],
        failure: str,
    ) -> None:
        self._work = work
        self._pause = pause
        self._failure = failure
        self._woken = asyncio.Event()
        self._finishing = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin in the background, with a pause."""
        self._finishing = False
        self._woken.clear()
        self._task = asyncio.create_task(self._run())

    def wake(self) -> None:
        """End the pause; during a run: have the next one follow at once."""
        self._woken.set()

    async def stop(self) -> None:
        """Stop, also in the middle of a run. Idempotent."""
        await cancelled(self._task)
        self._task = None

    async def finish(self) -> None:
        """Stop after the run that goes on, or after one more. Idempotent."""
        self._finishing = True
        self.wake()
        if self._task is not None:
            await self._task
            self._task = None

    async def _run(self) -> None:
        while not self._finishing:
            pause = self._pause() if callable(self._pause) else self._pause
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            self._woken.clear()
            try:
                await self._work()
            except Exception:
                log.exception(self._failure)
