"""What making one preset's messages may cost, whatever its texts and its variables are.

Whoever sees a bound here sees all of them: a call with a small body is made on the event loop, so
that at their worst they have to be over in some 30 ms.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

MOST_CHARS = 128 * 1024  # of all messages of a preset together
MOST_STEPS = 60_000  # parts of templates that are run: in a loop, each counts each time
MOST_WORK = 1_000_000  # characters that filters and operators look at or make; ITEM for each item
ITEM = 16
MOST_CHECKS = 2_000  # keywords of a schema that are looked at, each item and each time


class OverBudget(ValueError):
    """A bound was reached; the text says which."""


class Budget:
    """Counts what one rendering costs. Every method raises OverBudget."""

    def __init__(self) -> None:
        self._chars = self._steps = self._work = self._checks = 0

    def say(self, count: int) -> None:
        """Characters are added to the messages."""
        self._chars += count
        if self._chars > MOST_CHARS:
            raise OverBudget(f"the messages would have more than {MOST_CHARS} characters")

    def step(self, count: int) -> None:
        """So many parts of a template are run."""
        self._steps += count
        if self._steps > MOST_STEPS:
            raise OverBudget(f"its loops would take more than {MOST_STEPS} steps")

    def work(self, count: int) -> None:
        """So many characters or items are looked at, or made."""
        self._work += count
        if self._work > MOST_WORK:
            raise OverBudget(f"more than {MOST_WORK} characters and items would be worked on")

    def check(self, count: int = 1) -> None:
        """So many keywords of a schema are looked at."""
        self._checks += count
        if self._checks > MOST_CHECKS:
            raise OverBudget(f"the variables' schema would take more than {MOST_CHECKS} checks")

    def look(self, *values: Any) -> None:
        """A filter or an operator is about to look at values, and at all that is inside them."""
        stack = [*values]
        while stack:
            value = stack.pop()
            if isinstance(value, str):
                self.work(len(value))
            elif isinstance(value, dict):
                self.work(ITEM * (1 + 2 * len(value)))
                stack += value
                stack += value.values()
            elif isinstance(value, list | tuple | range):
                self.work(ITEM * (1 + len(value)))
                if not isinstance(value, range):
                    stack += value


_running: ContextVar[Budget] = ContextVar("budget of the rendering that runs")


def running() -> Budget:
    """The budget of the rendering that runs.

    Raises:
        LookupError: none does; Jinja then leaves an expression for later, which it would have
            computed while it compiles.
    """
    return _running.get()


@contextmanager
def within(budget: Budget) -> Iterator[None]:
    """What is rendered or checked inside counts for this budget."""
    token = _running.set(budget)
    try:
        yield
    finally:
        _running.reset(token)
