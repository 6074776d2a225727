"""What an engine and its libraries print: aside, where a person watches the gateway start."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO


class EngineOutput:
    """Standard error of this process and of its children goes to a file meanwhile, and what this
    process writes to ``sys.stderr`` to the terminal. Without a terminal nothing changes: whoever
    collects logs gets them all.

    Args:
        file: is begun anew.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._terminal: TextIO | None = None
        self._log: TextIO | None = None

    def __enter__(self) -> Self:
        if not sys.stderr.isatty():
            return self
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = sys.stderr.fileno()
        self._log = open(os.open(self.file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w")
        self._terminal = os.fdopen(os.dup(number), "w", buffering=1)
        os.dup2(self._log.fileno(), number)
        sys.stderr = self._terminal
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._terminal is None or self._log is None or sys.__stderr__ is None:
            return
        os.dup2(self._terminal.fileno(), sys.__stderr__.fileno())
        sys.stderr = sys.__stderr__
        self._terminal.close()
        self._log.close()

    @property
    def libraries(self) -> TextIO | None:
        """Where the events of other libraries go; None: they aren't kept apart."""
        return self._log

    @property
    def lines(self) -> int:
        """Lines in the file; 0: nothing is kept apart."""
        if self._log is None:
            return 0
        with self.file.open("rb") as written:
            return sum(1 for _ in io.BufferedReader(written.raw))
