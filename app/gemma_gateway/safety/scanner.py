"""Following one text as it grows: what may leave now, what could still become a match.

The rules are told character by character, so a result never depends on how the text was cut:
a place is held while some term's beginning stands there (at a word boundary, for whole words) and
all text since goes on spelling that term; a whole word that is complete waits for one character
more. At the character that decides a match, whatever is held then is dropped with all that follows.
"""

from __future__ import annotations

import re

from gemma_gateway.safety.fold import (
    BEARER,
    DOUBLE,
    DOUBTFUL,
    FOLDS,
    JOINS,
    MARK,
    REPLACEMENT,
    fold,
    read,
    unescape,
)
from gemma_gateway.safety.terms import Match, Terms

MEMO_ENTRIES = 16_384  # tokens remembered for each of four states
MEMO_CHARS = 32  # longest remembered token
LONG = 256  # characters from which a whole-text search in front pays

Table = dict[str, Match | None]


class Quiet(dict[str, "Quiet"]):
    """A state in which nothing is held: it maps a text after which that is so again to the state
    then. A model's tokens come from one vocabulary, so nearly all are found here.

    Args:
        last: ``JOINS`` of the last character that is no mark.
    """

    __slots__ = ("last",)

    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = last

    def learn(self, text: str, after: Quiet) -> None:
        if len(text) <= MEMO_CHARS:
            if len(self) >= MEMO_ENTRIES:
                self.clear()
            self[text] = after


class Machine:
    """What all scanners of one set of terms share."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.quiet = {last: Quiet(last) for last in (0, 1, BEARER, BEARER + 1)}


class Reading:
    """One way to read the text: the beginnings of terms that are alive in it.

    ``alive`` holds (place from which text may not leave, folded text so far, table that has it),
    earliest place first. Places count the raw characters of the channel from 0. ``last`` is the
    ``JOINS`` of the last character that is no mark.
    """

    __slots__ = ("alive", "last", "parts", "spaced", "words")

    def __init__(self, terms: Terms, last: int) -> None:
        self.words = terms.words
        self.parts = terms.parts
        self.alive: list[tuple[int, str, Table]] = []
        self.last = last
        self.spaced = False

    def feed(self, c: str, at: int) -> Match | None:
        """Read the raw character that stands at a place; the match that it decides, if any."""
        for folded in FOLDS[c]:
            if (match := self._step(folded, at)) is not None:
                return match
        return None

    def _step(self, c: str, at: int) -> Match | None:
        kind = JOINS[c]
        if (c == " " and self.spaced) or (kind == MARK and self.last < BEARER):
            return None  # a mark with no letter that it stays on is dropped
        boundary = kind != MARK and not kind & self.last & 1
        if kind != MARK:
            self.last = kind
        self.spaced = c == " "
        words, parts = self.words, self.parts
        alive: list[tuple[int, str, Table]] = []
        since = at
        for start, text, table in self.alive:
            if table is words and (match := words[text]) is not None:
                if boundary:
                    return match
                # Cut here and this word would stand alone: it stays with what begins here.
                since = min(since, start)
            longer = text + c
            if longer in table:
                if table is parts and (match := parts[longer]) is not None:
                    return match
                alive.append((start, longer, table))
        if c in parts:
            if (match := parts[c]) is not None:
                return match
            alive.append((since, c, parts))
            if since < at:
                alive.sort(key=lambda entry: entry[0])
        if boundary and c in words:
            alive.append((at, c, words))
        self.alive = alive
        return None

    def finish(self) -> Match | None:
        """The text ends here: that is a boundary."""
        for _, text, table in self.alive:
            if table is self.words and (match := table[text]) is not None:
                return match
        return None

    def held(self, end: int) -> int:
        """Place from which text may not leave; ``end`` (the next place) when all may."""
        return self.alive[0][0] if self.alive else end

    def same(self, other: Reading) -> bool:
        return self.last == other.last and self.spaced == other.spaced and self.alive == other.alive


_H = "[0-9a-fA-F]"
_PART = re.compile(
    rf"\\(?:u(?:{_H}{{0,3}}|[dD][89abAB]{_H}{{2}}(?:\\(?:u(?:[dD](?:[c-fC-F]{_H}?)?)?)?)?)?)?"
)
_HIGH = re.compile(rf"\\u[dD][89abAB]{_H}{{2}}")
_WHOLE = re.compile(rf'\\(?:u{_H}{{4}}(?:\\u{_H}{{4}})?|[bfnrt"/])')


class Decoding(Reading):
    """The text in its second reading (see ``fold.unescape``)."""

    __slots__ = ("pending", "places")

    def __init__(self, terms: Terms, plain: Reading) -> None:
        super().__init__(terms, plain.last)
        self.alive = plain.alive
        self.spaced = plain.spaced
        self.pending = ""  # a beginning of an escape, runs of backslashes as one
        self.places: list[int] = []

    def feed(self, c: str, at: int) -> Match | None:
        if not self.pending and c != "\\":
            return self._read(c, at)
        if c == "\\" and self.pending.endswith("\\"):
            return None
        self.pending += c
        self.places.append(at)
        if _PART.fullmatch(self.pending):
            return None
        if _WHOLE.fullmatch(self.pending):
            decoded, since = unescape(self.pending), self.places[0]
            self._forget()
            return self._read(decoded, since)
        return self._give_up()

    def _read(self, c: str, at: int) -> Match | None:
        for meant in DOUBLE.get(c, c):
            if (match := super().feed(meant, at)) is not None:
                return match
        return None

    def _give_up(self) -> Match | None:
        """No escape after all: what was pending is read as it stands."""
        text, places = self.pending, self.places
        self._forget()
        lone = _HIGH.match(text)
        used = lone.end() if lone else 1
        match = super().feed(REPLACEMENT if lone else "\\", places[0])
        for c, at in zip(text[used:], places[used:], strict=True):
            match = match or self.feed(c, at)
        return match

    def _forget(self) -> None:
        self.pending, self.places = "", []

    def finish(self) -> Match | None:
        while self.pending:
            if (match := self._give_up()) is not None:
                return match
        return super().finish()

    def held(self, end: int) -> int:
        return super().held(self.places[0] if self.pending else end)


class Scanner:
    """Follows the text of one channel.

    ``held`` is the raw text that has not left yet; ``match`` what ended the text, if anything did.
    """

    __slots__ = ("_decoding", "_end", "_machine", "_plain", "_quiet", "held", "match")

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._quiet: Quiet | None = machine.quiet[0]
        self._plain = Reading(machine.terms, 0)
        self._decoding: Decoding | None = None
        self._end = 0
        self.held = ""
        self.match: Match | None = None

    def push(self, text: str) -> str:
        """Append to the text; returns what may leave now (held text comes first)."""
        if self._quiet is not None:
            after = self._quiet.get(text)
            if after is not None:
                self._quiet = after
                return text
        return self._push(text)

    def close(self) -> str:
        """The text ends here. Returns what was held, or nothing when it is a match."""
        if self.match is None and self._quiet is None:
            self.match = self._plain.finish()
            if self.match is None and self._decoding is not None:
                self.match = self._decoding.finish()
        rest, self.held = self.held, ""
        self._quiet = None
        return "" if self.match is not None else rest

    def _push(self, text: str) -> str:
        if self.match is not None or not text:
            return ""
        quiet, skipped = self._quiet, 0
        if quiet is not None:
            skipped = self._skip(text) if len(text) >= LONG else 0
            last = JOINS[FOLDS[text[skipped - 1]][-1]] if skipped else quiet.last
            self._plain = Reading(self._machine.terms, last)
            self._quiet = None
        buffered = self.held + text
        base = self._end - len(self.held)
        at = self._end + skipped
        for c in text[skipped:]:
            before = self._held(at)
            if (match := self._feed(c, at)) is not None:
                self.match, self.held = match, ""
                return buffered[: before - base]
            at += 1
        self._end = at
        kept = self._held(at) - base
        self.held = buffered[kept:]
        if not self.held and self._decoding is None:
            self._quiet = self._machine.quiet[self._plain.last]
            if quiet is not None:
                quiet.learn(text, self._quiet)
        return buffered[:kept]

    def _feed(self, c: str, at: int) -> Match | None:
        if self._decoding is None:
            if c not in DOUBTFUL:
                return self._plain.feed(c, at)
            self._decoding = Decoding(self._machine.terms, self._plain)
        match = self._plain.feed(c, at) or self._decoding.feed(c, at)
        if not self._decoding.pending and self._decoding.same(self._plain):
            self._decoding = None
        return match

    def _held(self, end: int) -> int:
        held = self._plain.held(end)
        return held if self._decoding is None else min(held, self._decoding.held(end))

    def _skip(self, text: str) -> int:
        """How much of a long text need not be followed, as no match can end or begin there."""
        terms = self._machine.terms
        if terms.find(text) is not None:
            return 0
        need, cut = 2 * terms.longest + 16, len(text)
        while cut > 0:
            cut -= need
            need *= 2
            while cut > 0 and not _settled(text[cut - 1]):
                cut -= 1
            if cut > 0 and min(map(len, _readings(text[cut:]))) > terms.longest + 2:
                return cut
        return 0


def _settled(c: str) -> bool:
    """Whether both readings stand at the same place after this character, whatever came before."""
    folded = FOLDS[c]
    return (
        bool(folded)
        and JOINS[folded[-1]] != MARK
        and c not in DOUBTFUL
        and c not in '"/bnrtuU'
        and not _hex(c)
    )


def _hex(c: str) -> bool:
    return c in "0123456789abcdefABCDEF"


def _readings(text: str) -> tuple[str, str]:
    folded, doubtful = read(text)
    return folded, fold(unescape(text)) if doubtful else folded
