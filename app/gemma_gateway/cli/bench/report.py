"""A run's result: as JSON, as text for the terminal, and as files in a folder."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from gemma_gateway import __version__
from gemma_gateway.cli.bench import page, plot
from gemma_gateway.cli.bench.figures import Figures, Spread
from gemma_gateway.cli.command import CommandError

RESULT, PLOT, PAGE = "result.json", "plot.png", "report.html"
COLUMNS = (
    *("level", "calls", "ok", "calls/s", "tokens/s", "response p50", "p95", "p99"),
    *("first token p50", "p95", "p99", "between p50", "p99"),
)


@dataclass
class Report:
    """A whole run.

    Args:
        started: ISO 8601, UTC.
        url: of the server; never with a key.
        model: as the server names it.
        options: what was asked for on the command line.
        levels: figures of each level.
        notes: what a reader has to know, in plain sentences.
        interrupted: the user stopped it.
    """

    started: str
    url: str
    model: str
    options: dict[str, Any]
    levels: list[Figures] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False

    def json(self) -> dict[str, Any]:
        """As plain values; times in seconds."""
        return {
            "tool": f"gemma-gateway bench {__version__}",
            "started": self.started,
            "url": self.url,
            "model": self.model,
            "options": self.options,
            "client": {"system": platform.platform(), "cores": os.cpu_count()},
            "interrupted": self.interrupted,
            "notes": self.notes,
            "levels": [level.json() for level in self.levels],
        }

    def rows(self) -> list[list[str]]:
        """The table's cells; times in milliseconds."""
        return [_row(level) for level in self.levels]

    def text(self) -> str:
        """The table and the notes for a terminal."""
        lines = [list(COLUMNS), *self.rows()]
        widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
        table = [
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
            for line in lines
        ]
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([*table, "(times in milliseconds)", *notes])

    def write(self, folder: Path) -> None:
        """Write the three files.

        Raises:
            CommandError: the folder can't be written.
        """
        drawing = plot.draw(self.levels, f"{self.model}, {self.started}")
        try:
            (folder / RESULT).write_bytes(orjson.dumps(self.json(), option=orjson.OPT_INDENT_2))
            (folder / PLOT).write_bytes(plot.png(drawing))
            html = page.html(self.json(), list(COLUMNS), self.rows(), plot.svg(drawing))
            (folder / PAGE).write_text(html, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{folder}: {error.strerror}", status=1) from None


def make_folder(folder: Path) -> None:
    """Make the folder for a result, before any call is made.

    Raises:
        CommandError: it can't be made or written, or already holds a result.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{folder}: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CommandError(f"{folder}: no permission to write there")
    if any((folder / name).exists() for name in (RESULT, PLOT, PAGE)):
        raise CommandError(f"{folder} already holds a result: name another folder with --out")


def _row(level: Figures) -> list[str]:
    return [
        level.level,
        str(level.calls),
        str(level.ok),
        f"{level.calls_per_second:.2f}",
        f"{level.output_tokens_per_second:.1f}",
        *_times(level.response_time, "p50", "p95", "p99"),
        *_times(level.time_to_first_token, "p50", "p95", "p99"),
        *_times(level.inter_token_latency, "p50", "p99"),
    ]


def _times(spread: Spread | None, *names: str) -> list[str]:
    return [f"{getattr(spread, name) * 1000:.1f}" if spread else "-" for name in names]
