"""What an evaluation found: as JSON, as text for the terminal, and as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from gemma_gateway import __version__
from gemma_gateway.quality.evaluate import page, statistics
from gemma_gateway.quality.evaluate.errors import EvaluationError
from gemma_gateway.quality.evaluate.keywords import overlap
from gemma_gateway.quality.evaluate.result import Result, Side
from gemma_gateway.quality.evaluate.rows import Row
from gemma_gateway.quality.scores import NAMES
from gemma_gateway.quality.scores import mean as mean_of

REPORT, PAGE = "report.json", "report.html"
OWN = "answers of the set"
OVERALL = "overall"
Json = dict[str, Any]


@dataclass
class Report:
    """One evaluation.

    Args:
        started: ISO 8601, UTC.
        set: path of the questions.
        options: what was asked for on the command line.
        rows: in the set.
        done: rows and their results, in the set's order.
        interrupted: the user stopped it.
    """

    started: str
    set: str
    options: Json
    rows: int
    done: list[tuple[Row, Result]]
    interrupted: bool

    @property
    def scored(self) -> bool:
        """Whether there is any score."""
        return any(
            figures["count"]
            for model in self.json["models"].values()
            for figures in model["scores"].values()
        )

    @cached_property
    def json(self) -> Json:
        """As plain values."""
        names = [name for name in NAMES if name in self.options["scores"]]
        firsts = [result.first for _, result in self.done]
        seconds = [r.second for _, r in self.done if r.second is not None]
        first_name = self._first_name(firsts)
        models = {first_name: _model(firsts, names)} if firsts else {}
        if seconds:
            models[self.options["against"]] = _model(seconds, names)
        return {
            "tool": f"gemma-gateway evaluate {__version__}",
            "started": self.started,
            "set": self.set,
            "options": self.options,
            "interrupted": self.interrupted,
            "rows": self.rows,
            "done": len(self.done),
            "models": models,
            "comparison": self._comparison(names) if seconds else None,
            "validation": dict(self._validation()),
            "answers": [_answers(row, result) for row, result in self.done],
        }

    def text(self) -> str:
        """The figures for a terminal."""
        return "\n".join(
            "\n".join([title, *_aligned(table)]) for title, table in page.tables(self.json)
        )

    def write(self, folder: Path) -> None:
        """Write both files.

        Raises:
            EvaluationError: the folder can't be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / REPORT).write_bytes(orjson.dumps(self.json, option=orjson.OPT_INDENT_2))
            (folder / PAGE).write_text(page.html(self.json), encoding="utf-8")
        except OSError as error:
            raise EvaluationError(f"{folder}: {error.strerror}") from None

    def _first_name(self, firsts: list[Side]) -> str:
        names = sorted({side.model or OWN for side in firsts})
        name = " and ".join(names)
        return name if name != self.options["against"] else f"{name} (set's order)"

    def _comparison(self, names: list[str]) -> Json:
        """Differences of the two answers to a row: the other model's less the first's."""
        found: Json = {}
        for name in [*names, OVERALL]:
            differences = []
            for _, result in self.done:
                one = _value(result.first, name)
                other = _value(result.second, name) if result.second is not None else None
                if one is not None and other is not None:
                    differences.append(other - one)
            if differences:
                found[name] = _compared(differences)
        return found

    def _validation(self) -> Iterator[tuple[str, Json]]:
        """How well each score ranks the answers that are labelled, and what keyword overlap makes
        of the same ones."""
        groups: dict[str, list[tuple[int, float | None, float | None]]] = {}
        for row, result in self.done:
            for name, label in row.labels.items():
                if name not in self.options["scores"]:
                    continue
                title = name if name != "accuracy" else f"accuracy by {_by(row)}"
                score = _value(result.first, name)
                groups.setdefault(title, []).append((label, score, _keywords(row, name)))
        for title, found in groups.items():
            good = [(s, w) for label, s, w in found if label and s is not None]
            bad = [(s, w) for label, s, w in found if not label and s is not None]
            ranked = statistics.ranking(good, bad)
            yield (
                title,
                {
                    "auc": ranked.auc if ranked else None,
                    "interval": ranked.interval if ranked else None,
                    "keyword_overlap_auc": ranked.other if ranked else None,
                    "margin": ranked.margin if ranked else None,
                    "good": len(good),
                    "bad": len(bad),
                    "missing": len(found) - len(good) - len(bad),
                },
            )


def _model(sides: list[Side], names: list[str]) -> Json:
    missing: dict[str, Counter[str]] = {name: Counter() for name in names}
    for side in sides:
        for name, reason in side.scores.reasons.items():
            missing[name][reason] += 1
    scores = {name: _figures([_value(side, name) for side in sides]) for name in names}
    return {
        "answers": len(sides),
        "failed": sum(bool(side.error) for side in sides),
        "scores": {
            name: {**figures, "missing": dict(missing[name])} for name, figures in scores.items()
        },
        OVERALL: _figures([_value(side, OVERALL) for side in sides]),
    }


def _figures(values: list[float | None]) -> Json:
    found = [value for value in values if value is not None]
    return {"mean": mean_of(found), "interval": statistics.interval(found), "count": len(found)}


def _compared(differences: list[float]) -> Json:
    interval = statistics.interval(differences)
    verdict = "no clear difference"
    if interval is not None and interval[0] > 0:
        verdict = "better"
    elif interval is not None and interval[1] < 0:
        verdict = "worse"
    return {
        "difference": statistics.mean(differences),
        "interval": interval,
        "pairs": len(differences),
        "verdict": verdict,
    }


def _value(side: Side, name: str) -> float | None:
    found: float | None = getattr(side.scores, name)
    return found


def _by(row: Row) -> str:
    if row.reference:
        return "reference"
    return "context" if row.context else "consistency"


def _keywords(row: Row, name: str) -> float | None:
    """The overlap that a keyword measure of this score would take; None where it has nothing to
    compare with."""
    with_what = row.turns[-1].text
    if name == "accuracy":
        with_what = row.reference or row.context
    return overlap(with_what, row.answer or "") if with_what else None


def _answers(row: Row, result: Result) -> Json:
    sides = [result.first] if result.second is None else [result.first, result.second]
    return {
        "id": row.id,
        "question": row.turns[-1].text,
        "answers": [
            {
                "model": side.model or OWN,
                "answer": side.answer,
                "error": side.error,
                "overall": side.scores.overall,
                **{name: getattr(side.scores, name) for name in NAMES},
                "accuracy_by": side.scores.accuracy_by,
                "reasons": side.scores.reasons,
            }
            for side in sides
        ],
    }


def _aligned(table: list[list[str]]) -> Iterator[str]:
    widths = [max(len(line[n]) for line in table) for n in range(len(table[0]))]
    for line in table:
        first, *others = (
            cell.ljust(w) if not n else cell.rjust(w)
            for n, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        yield "  ".join([first, *others]).rstrip()
