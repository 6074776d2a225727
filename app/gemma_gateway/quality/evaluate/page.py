"""The report's tables and its page."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from gemma_gateway.core import page
from gemma_gateway.quality.evaluate.plots import Mark, marks

BODY = Template(files("gemma_gateway.quality.evaluate").joinpath("report.html").read_text("utf-8"))
STYLE = """\
tbody th, thead th:first-child { text-align: left; font-weight: 400; }
figure { margin: 1.5rem 0; max-width: 45rem; }
figcaption { color: var(--soft); }
svg { font-size: 14px; }
svg text { fill: var(--ink); }
svg .grid { stroke: var(--line); }
svg .interval { stroke-width: 2; }
details { border-bottom: 1px solid var(--line); padding: .3rem 0; }
summary, blockquote { overflow-wrap: anywhere; } blockquote { white-space: pre-wrap; }
"""
MOST_ROWS = 200  # answers that the page shows, worst first; all are in the JSON
TENTHS = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
Json = dict[str, Any]
Table = list[list[str]]


def tables(report: Json) -> Iterator[tuple[str, Table]]:
    """The figures: titles and tables, each with its head."""
    if report["models"]:
        yield "Scores, 0 to 1, with 95 % intervals", _scores(report)
    if report["comparison"]:
        one, other = report["models"]
        yield f"{other} minus {one}, row by row", _comparison(report)
    if report["validation"]:
        yield "How well the scores rank labelled answers (AUC)", _validation(report)
    missing = _missing(report)
    if len(missing) > 1:
        yield "Scores that could not be computed", missing


def html(report: Json) -> str:
    """The page; whatever a set or a model says in it is escaped."""
    facts = {
        "Set": f"{report['set']}, {report['done']} of {report['rows']} rows",
        "Judge": report["options"]["judge"] or "none was asked",
        "Started": report["started"],
        "Made by": report["tool"],
    }
    note = "The run was interrupted." if report["interrupted"] else ""
    sections = (
        f"<h2>{escape(title)}</h2>{page.table(head, rows)}"
        for title, (head, *rows) in tables(report)
    )
    body = BODY.substitute(
        note=escape(note),
        plots="".join(f"<figure>{plot}</figure>" for plot in _plots(report)),
        sections="".join(sections),
        answers="".join(_answer(row) for row in _worst_first(report)),
    )
    return page.html("Evaluation of answers", facts, body, STYLE)


def _plots(report: Json) -> Iterator[str]:
    models = list(report["models"].items())
    if models:
        names = [*models[0][1]["scores"], "overall"]
        rows = []
        for name in names:
            found = []
            for series, (model, figures) in enumerate(models):
                of = figures["overall"] if name == "overall" else figures["scores"][name]
                if of["mean"] is not None:
                    note = f"{model}: {of['mean']:.3f}"
                    found.append(Mark(of["mean"], of["interval"], series, note))
            rows.append((name, found))
        legend = " and ".join(f"{'●■'[n]} {model}" for n, (model, _) in enumerate(models))
        yield f"<figcaption>Mean scores: {escape(legend)}</figcaption>" + marks(
            rows, 0, 1, TENTHS, "Mean of each score with its interval; the table has the figures"
        )
    if report["comparison"]:
        rows = [
            (name, [Mark(d["difference"], d["interval"], 1, f"{d['difference']:+.3f}")])
            for name, d in report["comparison"].items()
        ]
        yield "<figcaption>Differences; right of 0: ■ is better</figcaption>" + marks(
            rows, -1, 1, [-1, -0.5, 0, 0.5, 1], "Paired differences with their intervals"
        )
    if report["validation"]:
        rows = []
        for name, found in report["validation"].items():
            values = [Mark(found["auc"], found["interval"])] if found["auc"] is not None else []
            words = found["keyword_overlap_auc"]
            rows.append((name, values + ([Mark(words, None, 1)] if words is not None else [])))
        yield "<figcaption>AUC: ● the score, ■ keyword overlap</figcaption>" + marks(
            rows, 0, 1, TENTHS, "AUC of each score and of keyword overlap"
        )


def _scores(report: Json) -> Table:
    head = ["model", *_names(report), "overall", "answers", "failed"]
    rows = [
        [
            model,
            *(_with_interval(figures["scores"][name]) for name in _names(report)),
            _with_interval(figures["overall"]),
            str(figures["answers"]),
            str(figures["failed"]),
        ]
        for model, figures in report["models"].items()
    ]
    return [head, *rows]


def _names(report: Json) -> list[str]:
    return list(next(iter(report["models"].values()))["scores"])


def _comparison(report: Json) -> Table:
    rows = [
        [name, f"{d['difference']:+.3f}", _interval(d["interval"]), str(d["pairs"]), d["verdict"]]
        for name, d in report["comparison"].items()
    ]
    return [["score", "difference", "95 % interval", "pairs", "verdict"], *rows]


def _validation(report: Json) -> Table:
    head = ["score", "AUC", "95 % interval", "keyword overlap", "margin", "good", "bad", "no score"]
    rows = [
        [
            name,
            _number(found["auc"]),
            _interval(found["interval"]),
            _number(found["keyword_overlap_auc"]),
            _interval(found["margin"]),
            str(found["good"]),
            str(found["bad"]),
            str(found["missing"]),
        ]
        for name, found in report["validation"].items()
    ]
    return [head, *rows]


def _missing(report: Json) -> Table:
    rows = [
        [model, name, reason, str(count)]
        for model, figures in report["models"].items()
        for name, score in figures["scores"].items()
        for reason, count in score["missing"].items()
    ]
    return [["model", "score", "reason", "rows"], *rows]


def _with_interval(figures: Json) -> str:
    if figures["mean"] is None:
        return "-"
    return f"{figures['mean']:.3f} ({_interval(figures['interval'])})"


def _interval(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _worst_first(report: Json) -> list[Json]:
    def worst(row: Json) -> float:
        found = [a["overall"] for a in row["answers"] if a["overall"] is not None]
        return min(found, default=2.0)

    return sorted(report["answers"], key=worst)[:MOST_ROWS]


def _answer(row: Json) -> str:
    parts = []
    for answer in row["answers"]:
        scores = ", ".join(
            f"{name} {answer[name]:.2f}"
            for name in ("overall", "relevance", "coherence", "safety", "accuracy")
            if answer[name] is not None
        )
        said = answer["answer"] or answer["error"]
        parts.append(
            f"<p><b>{escape(answer['model'])}</b> {escape(scores)}</p>"
            f"<blockquote>{escape(said)}</blockquote>"
        )
    title = f"{row['id']}: {row['question']}" if row["id"] else row["question"]
    return f"<details><summary>{escape(title[:200])}</summary>{''.join(parts)}</details>"
