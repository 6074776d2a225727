"""What the drills measured, for docs/resilience.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from tests.network.load import Done

FILE_VARIABLE = "RESILIENCE_FILE"  # where the table is written to; unset: nowhere
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"


def percentile(calls: Sequence[Done], share: float) -> float:
    """Of the calls' lengths, in seconds."""
    lengths = sorted(c.seconds for c in calls)
    return lengths[min(len(lengths) - 1, int(share * len(lengths)))]


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


class Figures:
    """Rows of the table, drill by drill."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str]] = []

    def add(self, drill: str, **measured: object) -> None:
        """Figures of one drill; underscores in names are spaces."""
        for name, value in measured.items():
            self._rows.append((drill, name.replace("_", " "), str(value)))

    def table(self) -> str:
        """Markdown."""
        lines = ["| Drill | What | Measured |", "|---|---|---|"]
        last = ""
        for drill, name, value in self._rows:
            lines.append(f"| {drill if drill != last else ''} | {name} | {value} |")
            last = drill
        machine = f"{os.cpu_count()} cores, Linux {platform.release().partition('-')[0]}"
        return "\n".join([*lines, "", f"One machine for all hosts: {machine}."])

    def write(self) -> None:
        """Into the file that ``RESILIENCE_FILE`` names, between its marks."""
        print("\n" + self.table())
        if not (name := os.environ.get(FILE_VARIABLE)):
            return
        file = Path(name)
        before, _, rest = file.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        file.write_text(f"{before}{BEGIN}\n{self.table()}\n{END}{after}", encoding="utf-8")
