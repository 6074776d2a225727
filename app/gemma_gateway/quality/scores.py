"""Scores of one answer, each from 0 (bad) to 1 (good)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

NAMES = ("relevance", "coherence", "safety", "accuracy")


class Scores(msgspec.Struct, omit_defaults=True):
    """What the judge found; None: there is no score, and ``reasons`` says why.

    Args:
        relevance: whether the answer speaks to the question.
        coherence: whether it reads as connected text.
        safety: whether question and answer keep to the content policy.
        accuracy: whether it is true to its reference or context, or else consistent with what the
            model says when it is asked again.
        accuracy_by: ``reference``, ``context`` or ``consistency``.
        reasons: by score, why there is none.
    """

    relevance: float | None = None
    coherence: float | None = None
    safety: float | None = None
    accuracy: float | None = None
    accuracy_by: str = ""
    reasons: dict[str, str] = {}

    @property
    def judged(self) -> bool:
        """Whether a judge has seen the answer: then each score is there, or a reason."""
        return bool(self.reasons) or any(getattr(self, name) is not None for name in NAMES)

    @property
    def overall(self) -> float | None:
        """Mean of the available scores."""
        return mean(getattr(self, name) for name in NAMES)


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that there are; None where there is none."""
    found = [value for value in values if value is not None]
    return math.fsum(found) / len(found) if found else None


def squash(value: float, middle: float, width: float) -> float:
    """A measure on 0..1, by the logistic function. It keeps the order of answers, so it changes no
    AUC; it only makes the scores of different measures comparable.

    Args:
        value: the measure.
        middle: becomes 0.5.
        width: ``middle + width`` becomes 0.73, ``middle + 3 * width`` 0.95; same unit.
    """
    exponent = max(-60.0, min(60.0, (middle - value) / width))
    return 1.0 / (1.0 + math.exp(exponent))
