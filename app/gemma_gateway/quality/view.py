"""The answer of ``GET /v1/monitoring/quality``."""

from __future__ import annotations

import math
from collections.abc import Callable

from pydantic import BaseModel, Field

from gemma_gateway.core.record import FinishedCall
from gemma_gateway.monitoring.columns import model_of, shown
from gemma_gateway.monitoring.timestamps import iso
from gemma_gateway.quality.book import Book, Feedback, Rating
from gemma_gateway.quality.scores import Scores, mean

MOST_ROWS = 1000  # that are sent; the summary is of all


class QualitySummary(BaseModel):
    """Averages from 0 (bad) to 1 (good), each over the calls that have the score."""

    evaluated: int = Field(description="Calls whose answer was judged")
    feedback: int = Field(description="Calls with feedback from their caller")
    average_relevance_score: float | None
    average_coherence_score: float | None
    average_safety_score: float | None
    average_factual_accuracy: float | None
    average_user_satisfaction: float | None
    overall_score: float | None = Field(description="Mean of the available averages")


class QualityRow(model_of(FinishedCall)):  # type: ignore[misc]  # its base is made at run time
    """One call; a score is null where it can't be had, and ``reasons`` says why."""

    time: str = Field(description="End of the call, or, where it was not judged, of the feedback")
    relevance_score: float | None
    coherence_score: float | None
    safety_score: float | None
    factual_accuracy: float | None
    accuracy_by: str = Field(description="reference, context, consistency, or empty")
    user_satisfaction: float | None
    overall_score: float | None = Field(description="Mean of the available scores")
    reasons: dict[str, str]
    comment: str = Field(description="The caller's own words, or empty")


class Sampling(BaseModel):
    """Which calls are judged, and whether it works."""

    tiers: dict[str, float] = Field(
        description="Share of each tier's calls, its setting quality_sample; 0: none"
    )
    outcomes: dict[str, int] = Field(
        description="Sampled calls of the process that answers, since its start, by what became "
        "of them; empty: no tier samples"
    )


class QualityReport(BaseModel):
    """Summaries and the newest calls."""

    from_: str | None = Field(alias="from", description="Earliest call, or the start asked for")
    to: str | None
    summary: QualitySummary
    models: dict[str, QualitySummary]
    sampling: Sampling
    data: list[QualityRow] = Field(description=f"Newest first, {MOST_ROWS} at most")
    degraded: bool = Field(
        description="The store is unavailable: only what this process itself has seen"
    )


class QualityView:
    """Reads the book for an operator.

    Args:
        book: scores and feedback.
        sampling: how the sampling is now.
    """

    def __init__(self, book: Book, sampling: Callable[[], Sampling]) -> None:
        self._book = book
        self._sampling = sampling

    async def report(
        self,
        limit: int,
        start: float | None = None,
        end: float | None = None,
        *,
        rows: int = MOST_ROWS,
    ) -> QualityReport:
        """The report over the newest calls of a stretch of time.

        Args:
            limit: most calls.
            start: earliest end of a call, seconds since the epoch, inclusive; None: any.
            end: the same for the latest, exclusive; None: now.
            rows: most calls that are listed one by one; the summaries are of all.
        """
        low, high = start or 0.0, math.inf if end is None else end
        ratings, degraded = await self._book.ratings(limit, low, high)
        said = await self._book.feedback_on(rating.id for rating in ratings)
        rated = {rating.id for rating in ratings}
        alone = [f for f in await self._book.feedback(limit, low, high) if f.id not in rated]
        calls = [(r.time, r, said.get(r.id)) for r in ratings]
        calls += [(f.time, _unrated(f), f) for f in alone]
        calls = sorted(calls, key=lambda call: call[0], reverse=True)[:limit]
        times = [moment for moment, _, _ in calls]
        first = start if start is not None else min(times, default=None)
        latest = end if end is not None else max(times, default=None)
        pairs = [(rating, feedback) for _, rating, feedback in calls]
        models = sorted({rating.model for rating, _ in pairs})
        return QualityReport(
            **{"from": None if first is None else iso(first)},
            to=None if latest is None else iso(latest),
            summary=_summary(pairs),
            models={m: _summary([pair for pair in pairs if pair[0].model == m]) for m in models},
            sampling=self._sampling(),
            data=[_row(*pair) for pair in pairs[:rows]],
            degraded=degraded,
        )


Row = tuple[Rating, Feedback | None]


def _unrated(said: Feedback) -> Rating:
    """A call that was not judged, as far as its feedback tells of it."""
    return Rating(**said.columns(), scores=Scores())


def _summary(rows: list[Row]) -> QualitySummary:
    scores = [rating.scores for rating, _ in rows]
    averages = {
        "average_relevance_score": mean(s.relevance for s in scores),
        "average_coherence_score": mean(s.coherence for s in scores),
        "average_safety_score": mean(s.safety for s in scores),
        "average_factual_accuracy": mean(s.accuracy for s in scores),
        "average_user_satisfaction": mean(said.score for _, said in rows if said is not None),
    }
    return QualitySummary(
        evaluated=sum(s.judged for s in scores),
        feedback=sum(said is not None for _, said in rows),
        **{name: _rounded(value) for name, value in averages.items()},
        overall_score=_rounded(mean(averages.values())),
    )


def _row(rating: Rating, said: Feedback | None) -> QualityRow:
    scores = rating.scores
    satisfaction = None if said is None else said.score
    found = (scores.relevance, scores.coherence, scores.safety, scores.accuracy, satisfaction)
    return QualityRow(
        **shown(rating.columns()),
        relevance_score=scores.relevance,
        coherence_score=scores.coherence,
        safety_score=scores.safety,
        factual_accuracy=scores.accuracy,
        accuracy_by=scores.accuracy_by,
        user_satisfaction=satisfaction,
        overall_score=_rounded(mean(found)),
        reasons=scores.reasons,
        comment="" if said is None else said.comment,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
