"""The plot of a run: throughput, and percentiles of each time, over the levels."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gemma_gateway.cli.bench.figures import Figures, Spread

# Okabe and Ito's colours, which colour-blind people tell apart.
LINES = (("p50", "#0072B2", "o"), ("p95", "#E69F00", "s"), ("p99", "#D55E00", "^"))
BAR = "#56B4E9"
DPI = 120


def draw(levels: Sequence[Figures], name: str) -> Figure:
    """Four panels for streams, two for whole answers."""
    times = [
        ("Response time", [level.response_time for level in levels]),
        ("Time to first token", [level.time_to_first_token for level in levels]),
        ("Time between tokens", [level.inter_token_latency for level in levels]),
    ]
    shown = [(title, spreads) for title, spreads in times if any(spreads)] or times[:1]
    columns = 2
    rows = (1 + len(shown) + 1) // columns
    figure = Figure(figsize=(5.2 * columns, 3.4 * rows), layout="constrained")
    figure.suptitle(name)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    names = [level.level for level in levels]
    axis = "calls a second, as they come" if _open(levels) else "callers at once"
    _throughput(panels[0], names, levels)
    for panel, (title, spreads) in zip(panels[1:], shown, strict=False):
        _percentiles(panel, title, names, spreads)
    for panel in panels:
        panel.set_xlabel(axis)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[1 + len(shown) :]:
        panel.set_visible(False)
    return figure


def png(figure: Figure) -> bytes:
    """The plot as PNG."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DPI)
    return out.getvalue()


def svg(figure: Figure) -> str:
    """The plot as an ``<svg>`` element, texts drawn as paths: it needs no font."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def _throughput(panel: Axes, names: list[str], levels: Sequence[Figures]) -> None:
    values = [level.output_tokens_per_second for level in levels]
    bars = panel.bar(names, values, color=BAR, width=0.6)
    panel.bar_label(bars, fmt="{:,.0f}", padding=2)
    panel.set_title("Output tokens a second, all callers together")
    panel.set_ylabel("tokens/s")
    panel.set_ylim(0, max([*values, 1]) * 1.15)


def _percentiles(
    panel: Axes, title: str, names: list[str], spreads: Sequence[Spread | None]
) -> None:
    largest = max((spread.p99 for spread in spreads if spread), default=0.0)
    unit, factor = ("s", 1.0) if largest >= 2 else ("ms", 1000.0)
    for name, colour, marker in LINES:
        values = [getattr(s, name) * factor if s else float("nan") for s in spreads]
        panel.plot(names, values, color=colour, marker=marker, label=name)
    panel.set_title(title)
    panel.set_ylabel(unit)
    panel.set_ylim(0, max(largest * factor * 1.15, 1e-9))
    panel.grid(axis="y", alpha=0.3)
    panel.legend(frameon=False, loc="best")


def _open(levels: Sequence[Figures]) -> bool:
    return any(level.rate is not None for level in levels)
