"""Work that is too heavy for the event loop, in one thread beside it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gemma_gateway.core.turns import Turns

INLINE_BYTES = 16 * 1024  # of the worst JSON there is, the pipeline reads so much in about 30 ms

T = TypeVar("T")


class Heavy:
    """One thread for all large bodies and answers, one after the other. Callers take turns, whoever
    has however many: nobody waits behind all of another's.

    The interpreter lets the event loop have its turn every few milliseconds meanwhile
    (``sys.getswitchinterval``), and no more than one of them takes its memory at a time.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "heavy")
        self._turns = Turns(1)

    async def run(self, caller: str, work: Callable[[], T]) -> T:
        """Do work in the thread. What is about ``INLINE_BYTES`` or less is done in place instead.

        Args:
            caller: whose work it is, such as the id of a key.
            work: must not use the event loop.

        Raises:
            Exception: what ``work`` raises.
            asyncio.CancelledError: cancelled while it waited for its turn, or while it ran; then
                once it has ended, so that nothing goes on behind its caller's back.
        """
        async with self._turns.turn(caller):
            future = asyncio.get_running_loop().run_in_executor(self._thread, _alone, work)
            cancelled: asyncio.CancelledError | None = None
            try:
                while not future.done():
                    try:
                        await asyncio.wait([future])
                    except asyncio.CancelledError as error:
                        cancelled = error
                if cancelled is not None:
                    future.exception()  # nobody asks for it now
                    raise cancelled
                return future.result()
            finally:
                # An error's traceback knows this frame: a circle that would keep the whole call,
                # its body too, until the garbage collector comes by.
                del future, cancelled


def _alone(work: Callable[[], T]) -> T:
    """Do work without the garbage collector, which would walk through all that it builds, time and
    again, in one piece: decoded JSON has no cycles."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return work()
    finally:
        if collects:
            gc.enable()
