"""How far it is: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

WIDTH = 30  # characters of the bar
LINES = 10  # that a whole run prints where there is no terminal


class Progress:
    """A bar that fills.

    Args:
        total: steps in all.
        done: of them before this run.
        waiting: how many questions wait for a rate limit now.
    """

    def __init__(self, total: int, done: int, waiting: Callable[[], int]) -> None:
        self._waiting = waiting
        self._total = total
        self._done = self._before = done
        self._started = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def __enter__(self) -> Self:
        self._show()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._terminal:
            print(file=sys.stderr)

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        tenth = self._done * LINES // self._total
        if self._terminal or tenth > (self._done - 1) * LINES // self._total:
            self._show()

    async def refresh(self) -> None:
        """Show every second how it stands, on a terminal; never returns."""
        while True:
            await asyncio.sleep(1)
            if self._terminal:
                self._show()

    def _show(self) -> None:
        text = f"{self._done}/{self._total} rows{self._left()}"
        if waiting := self._waiting():
            text += f", {waiting} waiting for a rate limit"
        if self._terminal:
            filled = WIDTH * self._done // self._total
            bar = "#" * filled + "." * (WIDTH - filled)
            print(f"\r\x1b[K[{bar}] {text}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def _left(self) -> str:
        steps = self._done - self._before
        if not steps or self._done >= self._total:
            return ""
        seconds = (time.monotonic() - self._started) / steps * (self._total - self._done)
        return f", {int(seconds // 60)}:{int(seconds % 60):02d} left"
