"""The result as a page."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from gemma_gateway.core import page

BODY = Template(files("gemma_gateway.cli.bench").joinpath("report.html").read_text("utf-8"))
STYLE = """\
figure { margin: 0; background: #ffffff; border: 1px solid var(--line); border-radius: 6px; }
"""


def html(result: dict[str, Any], columns: list[str], rows: list[list[str]], svg: str) -> str:
    """The page.

    Args:
        result: as in result.json; whatever a server said in it is escaped.
        columns: heads of the table.
        rows: its cells.
        svg: the plot, as an element.
    """
    options = "; ".join(f"{name} {_said(value)}" for name, value in result["options"].items())
    facts = {
        "Server": result["url"],
        "Model": result["model"],
        "Started": result["started"],
        "Asked for": options,
        "Measured by": f"{result['tool']} on {result['client']['system']}",
    }
    notes = result["notes"]
    if result["interrupted"]:
        notes = ["The run was interrupted: the last level is not complete.", *notes]
    body = BODY.substitute(
        notes="".join(f"<li>{escape(note)}</li>" for note in notes),
        table=page.table(columns, rows),
        plot=svg,
    )
    return page.html("Benchmark of a Gemma gateway", facts, body, STYLE)


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
