"""Keyword overlap: the simple measure that every score has to beat on labelled answers."""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+")


def overlap(one: str, other: str) -> float:
    """Shared words over those of the text that has fewer (Szymkiewicz-Simpson), 0 to 1.

    Of the common ways to count shared words it is the kindest to keyword overlap: a short answer
    isn't held against its length.
    """
    words, others = set(_WORD.findall(one.lower())), set(_WORD.findall(other.lower()))
    fewer = min(len(words), len(others))
    return len(words & others) / fewer if fewer else 0.0
