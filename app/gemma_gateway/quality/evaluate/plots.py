"""The report's plots, as SVG elements: marks with intervals on one axis."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT = 720, 190, 40  # pixels
ROW, MARK, AXIS = 26, 5, 30
COLOURS = ("var(--one)", "var(--two)")


@dataclass(frozen=True, slots=True)
class Mark:
    """A value on the axis.

    Args:
        value: where.
        interval: its 95 % interval; None: none is drawn.
        series: 0 or 1: which colour.
        note: shown when pointed at.
    """

    value: float
    interval: tuple[float, float] | None = None
    series: int = 0
    note: str = ""


def marks(
    rows: list[tuple[str, list[Mark]]], least: float, most: float, ticks: list[float], label: str
) -> str:
    """A plot with one line for each row.

    Args:
        rows: names, and their marks from top to bottom.
        least, most: ends of the axis.
        ticks: where it has numbers.
        label: what the plot shows, for those who can't see it.
    """

    def at(value: float) -> float:
        share = (min(max(value, least), most) - least) / (most - least)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    height = ROW * len(rows) + AXIS
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">']
    bottom = ROW * len(rows)
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{at(tick)}" x2="{at(tick)}" y1="0" y2="{bottom}"/>')
        parts.append(f'<text x="{at(tick)}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>')
    for number, (name, found) in enumerate(rows):
        middle = ROW * number + ROW / 2
        parts.append(f'<text x="0" y="{middle + 5}">{escape(name)}</text>')
        for place, mark in enumerate(found):
            y = middle + (place - (len(found) - 1) / 2) * (MARK + 4)
            parts.append(_mark(mark, at, y))
    return "".join([*parts, "</svg>"])


def _mark(mark: Mark, at: object, y: float) -> str:
    assert callable(at)
    colour = COLOURS[mark.series]
    parts = [f'<g fill="{colour}" stroke="{colour}">']
    if mark.note:
        parts.append(f"<title>{escape(mark.note)}</title>")
    if mark.interval is not None:
        low, high = map(at, mark.interval)
        parts.append(f'<line class="interval" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>')
    if mark.series:
        x = at(mark.value) - MARK
        parts.append(f'<rect x="{x}" y="{y - MARK}" width="{2 * MARK}" height="{2 * MARK}"/>')
    else:
        parts.append(f'<circle cx="{at(mark.value)}" cy="{y}" r="{MARK}"/>')
    return "".join([*parts, "</g>"])
