"""The book of scores and feedback in real stores."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import pytest

from gemma_gateway.monitoring.timestamps import iso
from gemma_gateway.quality import book as book_module
from gemma_gateway.quality.book import Book, Feedback, Rating
from gemma_gateway.quality.scores import Scores
from gemma_gateway.quality.view import QualityView, Sampling
from gemma_gateway.storage.redis import Store
from tests.integration.conftest import Server
from tests.stores import answering

ALL = (0.0, math.inf)

SAMPLING = Sampling(tiers={"default": 0.5}, outcomes={"judged": 2})


def rating(name: str, moment: float, **scores: Any) -> Rating:
    found = Scores(**scores) if scores else Scores(relevance=0.5)
    return Rating(
        moment, name, f"req-{name}", "ab" * 32, "gold", "/v1/chat/completions", "m", found
    )


def said(name: str, moment: float, score: float, comment: str = "", model: str = "m") -> Feedback:
    return Feedback(
        moment, name, f"req-{name}", "cd" * 32, "gold", "/v1/completions", model, score, comment
    )


async def test_scores_come_back_newest_first_and_whole(store: Store, prefix: str) -> None:
    one, other = Book(store, prefix), Book(store, prefix)
    now = time.time()
    reasons = {"accuracy": "the engine reports no likelihoods of a prompt"}
    first = rating("a", now - 2, relevance=0.25, safety=1.0, reasons=reasons)
    one.rate(first)
    other.rate(rating("b", now - 1))
    one.rate(rating("c", now))
    await one.flush()
    await other.flush()
    for reader in (one, other):
        found, degraded = await reader.ratings(10, *ALL)
        assert [r.id for r in found] == ["c", "b", "a"]
        assert found[2] == first
        assert not degraded
    assert [r.id for r in (await one.ratings(2, *ALL))[0]] == ["c", "b"]
    assert [r.id for r in (await one.ratings(9, now - 1, now))[0]] == ["b"]


async def test_a_batch_whose_answer_got_lost_counts_once(store: Store, prefix: str) -> None:
    book = Book(store, prefix)
    book.rate(rating("a", time.time()))
    await book.flush()
    book._new_ratings.append(rating("a", time.time()))  # as if no answer had come
    await book.flush()
    assert len((await book.ratings(10, *ALL))[0]) == 1


async def test_of_feedback_the_last_word_counts(store: Store, prefix: str) -> None:
    book, other = Book(store, prefix), Book(store, prefix)
    now = time.time()
    book.hear(said("a", now, 1.0, "good"))
    book.hear(said("a", now + 1, 0.0, "on reflection: bad"))
    await book.flush()
    other.hear(said("a", now - 1, 1.0))  # written late, said early
    await other.flush()
    found = await other.feedback_on(["a", "unknown"])
    assert {name: f.score for name, f in found.items()} == {"a": 0.0}
    assert found["a"].comment == "on reflection: bad"


async def test_old_and_superfluous_entries_go(
    store: Store, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book_module, "MOST", 5)
    book = Book(store, prefix, seconds=1000)
    now = time.time()
    book.hear(said("ancient", now - 5000, 1.0))
    for n in range(8):
        book.rate(rating(f"r{n}", now + n))
        book.hear(said(f"f{n}", now + n, 0.5))
    await book.flush()
    assert [r.id for r in (await book.ratings(99, *ALL))[0]] == [f"r{n}" for n in range(7, 2, -1)]
    kept = [f.id for f in await book.feedback(99, *ALL)]
    assert kept == [f"f{n}" for n in range(7, 2, -1)]
    assert await store.call("HLEN", f"{prefix}:{{quality}}:feedback") == 5
    for key in ("scores", "feedback", "feedback:times"):
        assert 0 < await store.call("TTL", f"{prefix}:{{quality}}:{key}") <= 1000


async def test_more_than_a_page_of_scores(store: Store, prefix: str) -> None:
    book = Book(store, prefix)
    start = time.time()
    count = 2 * book_module.PAGE + 7
    for n in range(count):
        book.rate(rating(f"r{n}", start + n / 1000))
        if n % 500 == 0:  # no more than these wait at once
            await book.flush()
    found, _ = await book.ratings(10_000, *ALL)
    assert len({r.id for r in found}) == count
    assert book.lost == 0


async def test_while_the_store_is_away_entries_wait(own_server: Server, prefix: str) -> None:
    store = Store(own_server.url, 5)
    await store.start()
    book = Book(store, prefix)
    own_server.stop()
    now = time.time()
    book.rate(rating("a", now))
    book.hear(said("a", now, 1.0))
    await book.flush()
    found, degraded = await book.ratings(10, *ALL)
    assert ([r.id for r in found], degraded) == (["a"], True)
    assert [f.id for f in await book.feedback(10, *ALL)] == ["a"]
    assert set(await book.feedback_on(["a"])) == {"a"}
    for n in range(book_module.WAITING):
        book.rate(rating(f"x{n}", now))
    assert book.lost == 1
    own_server.start()
    await answering(store)
    await book.stop()
    fresh = Book(store, prefix)
    assert len((await fresh.ratings(9999, *ALL))[0]) == book_module.WAITING
    assert set(await fresh.feedback_on(["a"])) == {"a"}
    await store.stop()


async def test_a_flush_in_the_background(store: Store, prefix: str) -> None:
    book = Book(store, prefix)
    await book.start()
    book.rate(rating("a", time.time()))
    key = f"{prefix}:{{quality}}:scores"
    end = time.monotonic() + 60
    while not await store.call("XLEN", key) and time.monotonic() < end:
        await asyncio.sleep(0.05)
    assert await store.call("XLEN", key) == 1
    await book.stop()


async def test_the_report_averages_what_there_is(store: Store, prefix: str) -> None:
    book = Book(store, prefix)
    now = float(int(time.time()))
    book.rate(rating("a", now, relevance=1.0, coherence=0.5, safety=1.0))
    book.rate(rating("b", now + 1, relevance=0.0, accuracy=0.8, accuracy_by="context"))
    book.hear(said("b", now + 9, 1.0, "thanks"))
    book.hear(said("c", now + 5, 0.0, "wrong", model="other"))
    book.rate(rating("d", now + 99, relevance=1.0))
    report = await QualityView(book, lambda: SAMPLING).report(100, now, now + 50)
    assert [row.id for row in report.data] == ["c", "b", "a"]
    summary = report.summary
    assert (summary.evaluated, summary.feedback) == (2, 2)
    assert summary.average_relevance_score == 0.5
    assert summary.average_coherence_score == 0.5
    assert summary.average_safety_score == 1.0
    assert summary.average_factual_accuracy == 0.8
    assert summary.average_user_satisfaction == 0.5
    assert summary.overall_score == pytest.approx((0.5 + 0.5 + 1.0 + 0.8 + 0.5) / 5)
    assert sorted(report.models) == ["m", "other"]
    assert report.models["other"].evaluated == 0
    assert report.models["other"].average_user_satisfaction == 0.0
    row = report.data[1]
    assert (row.user_satisfaction, row.comment, row.accuracy_by) == (1.0, "thanks", "context")
    assert row.overall_score == pytest.approx((0.0 + 0.8 + 1.0) / 3, abs=1e-4)
    assert row.key_id == "abababab"
    assert report.from_ == iso(now)
    assert report.sampling == SAMPLING
    empty = await QualityView(book, lambda: SAMPLING).report(100, 5.0, 6.0)
    assert (empty.summary.evaluated, empty.summary.overall_score, empty.data) == (0, None, [])
