"""The terms of a policy, ready for matching.

A whole text is searched by Aho-Corasick (the ``ahocorasick_rs`` package); a stream is followed
character by character through the prefixes of all terms (``scanner``). Both say the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from ahocorasick_rs import AhoCorasick

from gemma_gateway.safety.fold import JOINS, MARK, NOTED, fold, read, settle, unescape

MAX_VARIANTS = 64


@dataclass(frozen=True, slots=True)
class Match:
    """A term that a text holds.

    Args:
        category: the policy's name for its kind; may be told to clients.
        term: as the policy file writes it; for operators.
    """

    category: str
    term: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One term of a policy; ``substring`` matches inside words as well."""

    match: Match
    substring: bool = False


class Terms:
    """A set of terms. Immutable once built.

    Args:
        entries: earlier ones win where two terms fold to the same text.

    Raises:
        ValueError: a term that is empty once folded.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        # Every prefix of every folded term; a whole term's value is its match.
        self.words: dict[str, Match | None] = {}
        self.parts: dict[str, Match | None] = {}
        whole: dict[str, None] = {}
        for entry in entries:
            table = self.parts if entry.substring else self.words
            for folded in variants(entry.match.term):
                whole[folded] = None
                for end in range(1, len(folded)):
                    table.setdefault(folded[:end], None)
                table[folded] = table.get(folded) or entry.match
        self.longest = max(map(len, whole), default=0)
        self._patterns = list(whole)
        self._search = AhoCorasick(self._patterns) if whole else None

    def find(self, text: str) -> Match | None:
        """The first match of a whole text, as it stands or in its second reading."""
        if self._search is None:
            return None
        folded, doubtful = read(text)
        found = self._first(folded)
        if found is None and doubtful:
            found = self._first(fold(unescape(text)))
        return found

    def all(self, text: str) -> set[Match]:
        """Every match of a whole text, in both readings."""
        folded, doubtful = read(text)
        found = {match for _, _, match in self._matches(folded)}
        if doubtful:
            found.update(match for _, _, match in self._matches(fold(unescape(text))))
        return found

    def _first(self, folded: str) -> Match | None:
        found = self._matches(folded)
        return min(found, key=lambda match: match[:2])[2] if found else None

    def _matches(self, folded: str) -> list[tuple[int, int, Match]]:
        """Matches as (index of the character that decides it, start, match)."""
        found: list[tuple[int, int, Match]] = []
        if self._search is None:
            return found
        for pattern, start, end in self._search.find_matches_as_indexes(folded, overlapping=True):
            term = self._patterns[pattern]
            if part := self.parts.get(term):
                found.append((end - 1, start, part))
            if (word := self.words.get(term)) and _alone(folded, start, end):
                found.append((end, start, word))
        return found


def _alone(folded: str, start: int, end: int) -> bool:
    """Whether neither neighbour joins the text between two indexes into a longer word."""
    kind = JOINS[folded[start]]
    if kind == MARK or (kind & 1 and _joined(folded, start)):
        return False
    if end == len(folded):
        return True
    after = JOINS[folded[end]]
    return after != MARK and not (after & 1 and _joined(folded, end))


def _joined(folded: str, end: int) -> int:
    """Whether a letter at ``end`` would go on with the word before it."""
    last = end - 1
    while last > 0 and JOINS[folded[last]] == MARK:
        last -= 1
    return JOINS[folded[last]] & 1 if last >= 0 else 0


def variants(term: str) -> set[str]:
    """What a term may look like once folded.

    Letters such as Cyrillic Н look Latin in one case only, so their two cases fold apart: a term
    stands for every mix of them (lower, upper and capitalised where there are too many).

    Raises:
        ValueError: nothing of the term is left.
    """
    choices = [sorted({NOTED[c], _fold_all(c.lower()), _fold_all(c.upper())}) for c in term]
    total = 1
    for choice in choices:
        total = min(total * len(choice), MAX_VARIANTS + 1)
    if total <= MAX_VARIANTS:
        mixes: Iterable[str] = map("".join, itertools.product(*choices))
    else:
        mixes = map(_fold_all, (term, term.lower(), term.upper(), term.capitalize()))
    folded = {settle(mix).strip() for mix in mixes}
    if "" in folded:
        raise ValueError("nothing of this term is left once case, accents and spaces are folded")
    return folded


def _fold_all(text: str) -> str:
    return "".join(map(NOTED.__getitem__, text))
