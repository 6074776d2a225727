"""The few statistics that the report needs."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 2000
LEVEL = 0.95
Interval = tuple[float, float]
Pair = tuple[float, float | None]


def auc(good: Sequence[float], bad: Sequence[float]) -> float | None:
    """Area under the ROC curve: how often a good answer scores above a bad one; ties count half.

    None where there is no pair.
    """
    if not good or not bad:
        return None
    wins = sum((g > b) + 0.5 * (g == b) for g in good for b in bad)
    return wins / (len(good) * len(bad))


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean of at least one value."""
    return math.fsum(values) / len(values)


def interval(values: Sequence[float]) -> Interval | None:
    """95 % interval of the mean by the percentile bootstrap (Efron); None for fewer than 2 values.

    For the difference of two models, pass the differences of each row: that is the paired
    bootstrap, in which what makes a question hard for both cancels out. It draws from a fixed seed:
    the same values give the same interval.
    """
    if len(values) < 2:
        return None
    draw = random.Random(0).choices  # noqa: S311 (statistics, not secrets)
    size = len(values)
    return _middle([math.fsum(draw(values, k=size)) / size for _ in range(RESAMPLES)])


@dataclass(frozen=True, slots=True)
class Ranking:
    """How well two measures rank the same answers.

    Args:
        auc: of the first.
        interval: its 95 % interval.
        other: AUC of the second; None where it has no values.
        margin: 95 % interval of the first's AUC less the second's, over the same answers.
    """

    auc: float
    interval: Interval
    other: float | None
    margin: Interval | None


def ranking(good: Sequence[Pair], bad: Sequence[Pair]) -> Ranking | None:
    """Compare two measures by the bootstrap over good and over bad answers.

    Args:
        good: the two measures of each good answer; the second may be None in all of them.
        bad: the same for bad answers.

    Returns:
        None for fewer than two good or two bad answers.
    """
    if len(good) < 2 or len(bad) < 2:
        return None
    draw = random.Random(0).choices  # noqa: S311
    drawn = [_both(draw(good, k=len(good)), draw(bad, k=len(bad))) for _ in range(RESAMPLES // 4)]
    one, other = _both(good, bad)
    return Ranking(
        one,
        _middle([first for first, _ in drawn]),
        other,
        None if other is None else _middle([a - b for a, b in drawn if b is not None]),
    )


def _both(good: Sequence[Pair], bad: Sequence[Pair]) -> tuple[float, float | None]:
    first = auc([a for a, _ in good], [a for a, _ in bad])
    second = auc([b for _, b in good if b is not None], [b for _, b in bad if b is not None])
    assert first is not None
    return first, second


def _middle(values: list[float]) -> Interval:
    values.sort()
    cut = round((1 - LEVEL) / 2 * len(values))
    return values[cut], values[-1 - cut]
