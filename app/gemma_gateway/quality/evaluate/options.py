"""What is asked for of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One evaluation, as its user wants it.

    Args:
        set: the questions, JSON lines.
        url: the server, without ``/v1``.
        model: who answers; None: the first model that the server lists.
        against: the model whose answers the first ones are compared with; None: no comparison.
        judge: whose likelihoods and further answers scores are made of; None: as ``model``.
        scores: names of the wanted scores.
        samples: further answers for accuracy where a row has neither reference nor context.
        policy: term policy; None: the built-in one.
        max_tokens: longest answer.
        temperature: of answers.
        concurrency: rows at once.
        embeddings: sentence-embedding model, a folder or hub name; empty: the bundled one.
        out: folder for the results.
        resume: go on with the results that are there.
    """

    set: Path
    url: str
    model: str | None
    against: str | None
    judge: str | None
    scores: tuple[str, ...]
    samples: int
    policy: Path | None
    max_tokens: int
    temperature: float
    concurrency: int
    embeddings: str
    out: Path
    resume: bool
