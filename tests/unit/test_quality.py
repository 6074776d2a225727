"""Scores and statistics by their definitions."""

from __future__ import annotations

import math
import statistics as stdlib

import pytest

from gemma_gateway.quality.embeddings import similarity
from gemma_gateway.quality.evaluate import statistics
from gemma_gateway.quality.evaluate.keywords import overlap
from gemma_gateway.quality.item import MAX_CONTEXT, Item, Turn
from gemma_gateway.quality.likelihood import relevant_part
from gemma_gateway.quality.scores import Scores, mean, squash


def test_squash_has_its_middle_and_width_and_keeps_the_order() -> None:
    assert squash(2.0, 2.0, 0.5) == 0.5
    assert squash(2.5, 2.0, 0.5) == pytest.approx(1 / (1 + math.exp(-1)))
    values = [squash(x / 10, 0.3, 0.08) for x in range(-10, 11)]
    assert values == sorted(values)
    assert len(set(values)) == len(values)
    assert 0 <= squash(-1e9, 0, 1e-9) < squash(1e9, 0, 1e-9) <= 1


def test_means_leave_out_what_is_missing() -> None:
    assert mean([1.0, None, 0.0]) == 0.5
    assert mean([None]) is None
    assert Scores(relevance=1, safety=0.5).overall == 0.75
    assert Scores().overall is None
    assert not Scores().judged
    assert Scores(reasons={"relevance": "x"}).judged


def test_similarity_is_the_cosine_of_unit_vectors() -> None:
    assert similarity([1.0, 0.0], [0.6, 0.8]) == 0.6


def test_the_question_is_what_the_user_said_last() -> None:
    turns = (Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"), Turn("tool", "d"))
    assert Item(turns, "answer", "m").question == "c"
    assert Item((Turn("system", "s"),), "answer", "m").question == ""


def test_a_long_context_is_cut_to_the_sentences_that_matter() -> None:
    noise = [f"Sentence number {n} is about nothing at all." for n in range(200)]
    context = " ".join([*noise[:120], "The harbour opens at noon on Fridays.", *noise[120:]])
    part = relevant_part(context, "When does the harbour open? At noon.")
    assert "The harbour opens at noon on Fridays." in part
    assert len(part) <= MAX_CONTEXT
    assert part in context
    assert relevant_part("short", "x") == "short"
    assert len(relevant_part("x" * 5000, "y")) <= MAX_CONTEXT  # one sentence without an end


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [
        ([3, 4], [1, 2], 1.0),
        ([1, 2], [3, 4], 0.0),
        ([1, 1], [1, 1], 0.5),
        ([1, 3], [2, 2], 0.5),
        ([2, 3], [2, 1], 0.875),  # pairs: tie, win, win, win
        ([], [1], None),
    ],
)
def test_auc(good: list[float], bad: list[float], expected: float | None) -> None:
    assert statistics.auc(good, bad) == expected


def test_the_bootstrap_interval_is_the_one_of_the_normal_distribution_where_that_holds() -> None:
    values = [math.sin(n * 12.9898) for n in range(400)]
    low, high = statistics.interval(values) or (0, 0)
    middle, error = stdlib.mean(values), stdlib.stdev(values) / math.sqrt(len(values))
    assert low == pytest.approx(middle - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(middle + 1.96 * error, abs=0.3 * error)
    assert statistics.interval(values) == (low, high)  # the same each time
    assert statistics.interval([1.0]) is None


def test_pairs_give_a_narrower_interval_than_two_samples_do() -> None:
    """What makes a question hard for both models cancels out."""
    hard = [n / 50 for n in range(50)]
    better = [value + 0.05 + 0.01 * (-1) ** n for n, value in enumerate(hard)]
    paired = statistics.interval([b - h for b, h in zip(better, hard, strict=True)])
    alone = statistics.interval(hard)
    assert paired is not None
    assert alone is not None
    assert paired[0] > 0
    assert paired[1] - paired[0] < (alone[1] - alone[0]) / 5


def test_keyword_overlap() -> None:
    assert overlap("Why is the sky blue?", "The sky is blue.") == 1.0
    assert overlap("Why is the sky blue?", "Light scatters.") == 0.0
    assert overlap("", "x") == 0.0
