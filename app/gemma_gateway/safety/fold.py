"""Text as the policy reads it: one fold for terms and for what is judged.

``FOLDS[c]`` is the fold of one character, and the fold of a text is the fold of its characters in
a row. One rule looks further back: a mark that some script spells with (``MARKS``) stays on a
letter of such a script and is dropped elsewhere. The scanner applies the same rule character by
character, so cutting a text anywhere changes nothing. Folding takes case, compatibility forms,
accents, invisible characters and look-alike letters away.

``unescape`` gives the second reading of a text: what it says once a JSON or JavaScript reader has
decoded its escapes, with what only may be meant for a letter read as one (``DOUBLE``): regional
indicators, symbols, the ASCII that tag characters stand for.

Sources: Unicode NFKD and full case folding (``unicodedata``, ``str.casefold``); ``lookalikes.txt``
(names, categories, scripts, Default_Ignorable_Code_Point; Technical Standard #39, confusables.txt:
skeletons that are ASCII letters, accents aside); Unicode Standard Annex #29 (word boundaries);
RFC 8259 section 7 (escapes).
"""

from __future__ import annotations

import re
import unicodedata

from gemma_gateway.safety.lookalikes import BEARERS, DROPPED, LETTERS, MARKS, SECOND

CACHED = 1 << 15  # characters remembered; far more than one call's text uses
REPLACEMENT = "\ufffd"
MARK, BEARER = 2, 4  # see _Joins
# Notes in a folded text; folding drops these characters from the text itself.
_DOUBT = "\0"  # what follows has a second reading
_BEARS = "\1"  # a mark stays on what stands before this
_MARK = "\2"  # what follows is a mark

# Tag characters repeat ASCII. A backslash among them begins no escape.
DOUBLE = {**{chr(0xE0000 + i): chr(i) for i in range(0x20, 0x7F) if i != 0x5C}, **SECOND}
DOUBTFUL = frozenset({*DOUBLE, "\\"})  # what the second reading may read otherwise
_DOUBLE = str.maketrans(DOUBLE)

# Scripts written without spaces between words: Thai and Lao, Myanmar, Khmer, Han and Kana.
_SPACELESS = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x19E0, 0x19FF),
    (0x2E80, 0x2FDF),
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3040, 0x30FF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF),
    (0x1AFF0, 0x1B16F),
    (0x20000, 0x3FFFF),
)


def _within(c: str, ranges: tuple[tuple[int, int], ...]) -> bool:
    code = ord(c)
    return any(low <= code <= high for low, high in ranges)


def _letter(c: str) -> str:
    """One decomposed character, its case still on."""
    if c.isspace():
        return " "
    if c in DROPPED or unicodedata.category(c) in ("Cf", "Cc"):
        return ""
    if "\ud800" <= c <= "\udfff":
        return REPLACEMENT
    return LETTERS.get(c, c)


class _Folds(dict[str, str]):
    """Character to its fold: nothing, one character or a few. Filled as characters turn up."""

    def __missing__(self, c: str) -> str:
        folded = LETTERS.get(c)
        if folded is None:
            first = (_letter(d) for d in unicodedata.normalize("NFKD", c))
            lower = unicodedata.normalize("NFKD", "".join(first).casefold())
            folded = "".join(map(_letter, lower))
        if len(self) >= CACHED:
            self.clear()
        self[c] = folded
        return folded


class _Joins(dict[str, int]):
    """Folded character to how it joins its neighbours into a word.

    0: not at all; 1: with another 1 (letters and numbers); ``MARK``: with whatever stands before
    it (a mark belongs to its base, UAX #29 rule WB4). ``BEARER`` is added for letters that marks
    stay on. Connector punctuation is 0: ``hate_speech`` holds the word hate. Scripts without spaces
    are 0: there any place may be a boundary.
    """

    def __missing__(self, c: str) -> int:
        kind = 0
        if c in MARKS or unicodedata.category(c)[0] == "M":
            kind = MARK
        elif c.isalnum() or unicodedata.category(c)[0] in "LN":
            kind = 0 if _within(c, _SPACELESS) else 1
        if c in BEARERS:
            kind += BEARER
        if len(self) >= CACHED:
            self.clear()
        self[c] = kind
        return kind


FOLDS = _Folds()
JOINS = _Joins()


class _Noted(dict[str, str]):
    """Character to its fold with notes, from which ``settle`` makes the fold of a text."""

    def __missing__(self, c: str) -> str:
        noted = _DOUBT if c in DOUBTFUL else ""
        for d in FOLDS[c]:
            kind = JOINS[d]
            noted += (_MARK + d if kind == MARK else d) + (_BEARS if kind >= MARK else "")
        if len(self) >= CACHED:
            self.clear()
        self[c] = noted
        return noted


NOTED = _Noted()

_ASCII = bytes(ord(FOLDS[chr(i)] or "\0") if i < 128 else 0 for i in range(256))
_ASCII_DROPPED = bytes(i for i in range(128) if not FOLDS[chr(i)])


_STRAY = re.compile(f"{_MARK}[^{_BEARS}]*{_BEARS}")  # marks that nothing bears


def fold(text: str) -> str:
    """The folded text, runs of white space as one space.

    Time is linear: about 1 ns a character, 20 ns outside ASCII.
    """
    return read(text)[0]


def read(text: str) -> tuple[str, bool]:
    """The folded text, and whether its second reading may say something else."""
    if text.isascii():
        folded = text.encode().translate(_ASCII, _ASCII_DROPPED).decode()
        return " ".join(folded.split()) if "  " in folded else folded, "\\" in text
    noted = "".join(map(NOTED.__getitem__, text))
    doubtful = _DOUBT in noted
    return settle(noted), doubtful


def settle(noted: str) -> str:
    """Characters of ``NOTED`` put together, as a folded text."""
    if _DOUBT in noted:
        noted = noted.replace(_DOUBT, "")
    if _BEARS in noted:
        noted = noted.replace(_BEARS + _MARK, "")
        if _MARK in noted:
            noted = _STRAY.sub("", noted)
        noted = noted.replace(_BEARS, "")
    return " ".join(noted.split()) if "  " in noted else noted


SIMPLE = {"n": " ", "r": " ", "t": " ", "b": " ", "f": " ", '"': '"', "/": "/"}
_HIGH, _LOW, _HEX = "[dD][89abAB][0-9a-fA-F]{2}", "[dD][c-fC-F][0-9a-fA-F]{2}", "[0-9a-fA-F]{4}"
# A run of backslashes reads as one: JSON within JSON doubles them.
_ESCAPE = re.compile(rf'\\++(?:u({_HIGH})\\++u({_LOW})|u({_HEX})|([bfnrt"/]))?')


def _decode(found: re.Match[str]) -> str:
    high, low, single, simple = found.groups()
    if simple:
        return SIMPLE[simple]
    if high:
        return chr(0x10000 + ((int(high, 16) & 0x3FF) << 10) + (int(low, 16) & 0x3FF))
    if single:
        c = chr(int(single, 16))
        return REPLACEMENT if "\ud800" <= c <= "\udfff" else c
    return "\\"


def unescape(text: str) -> str:
    """The second reading of a text, before folding; linear time.

    JSON escapes are decoded: ``\\uXXXX`` (two of them where they are a surrogate pair), ``\\n \\r
    \\t \\b \\f`` as white space, ``\\" \\/``; any other run of backslashes is one backslash.
    Characters of ``DOUBLE`` become what they may be meant for.
    """
    decoded = _ESCAPE.sub(_decode, text) if "\\" in text else text
    return decoded if decoded.isascii() else decoded.translate(_DOUBLE)
