"""A report as one HTML page that needs nothing else: no script, no font, no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template

SHELL = Template(files("gemma_gateway.core").joinpath("page.html").read_text("utf-8"))


def html(title: str, facts: Mapping[str, object], body: str, style: str) -> str:
    """The page.

    Args:
        title: of the page, and its heading.
        facts: listed below the heading; they are escaped here.
        body: what follows, as HTML.
        style: CSS beside what all pages have.
    """
    return SHELL.substitute(
        title=escape(title),
        facts="".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items()),
        body=body,
        style=style,
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls by itself where it is too wide; the first cell of a row is its name.

    Args:
        head, rows: texts; they are escaped here.
    """
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = [
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in others)
        + "</tr>"
        for first, *others in rows
    ]
    return (
        f'<div class="wide"><table><thead><tr>{names}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
