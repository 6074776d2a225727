"""The result as one HTML page that needs nothing else: no script, no font, no other file."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template
from typing import Any

TEMPLATE = Template(files("gemma_gateway.cli.bench").joinpath("report.html").read_text("utf-8"))


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
    return TEMPLATE.substitute(
        facts="".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items()),
        notes="".join(f"<li>{escape(note)}</li>" for note in notes),
        head="".join(f'<th scope="col">{escape(name)}</th>' for name in columns),
        rows="".join(_row(cells) for cells in rows),
        plot=svg,
    )


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _row(cells: list[str]) -> str:
    first, *others = map(escape, cells)
    return f'<tr><th scope="row">{first}</th>{"".join(f"<td>{c}</td>" for c in others)}</tr>\n'
