"""The scanner against a whole-text reference, over policies, texts, disguises and cuts.

The reference knows nothing of automata, states or pieces: for every prefix of a text it looks at
every place and every term. PROPERTY_CASES sets the number of cases (2,000 by default).
"""

from __future__ import annotations

import os
import re
import unicodedata

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemma_gateway.safety.filter import PASSING
from gemma_gateway.safety.fold import DOUBLE, FOLDS
from gemma_gateway.safety.lookalikes import BEARERS
from gemma_gateway.safety.policy import Category, Policy
from gemma_gateway.safety.terms import variants

CASES = int(os.environ.get("PROPERTY_CASES", "2000"))

ESCAPE = re.compile(
    r"(\\+)(?:u([dD][89abAB]..)(?:\\+)u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|([bfnrt\"/]))"
)
UNFINISHED = re.compile(
    r"\\+(u[0-9a-fA-F]{0,3}|u[dD][89abAB][0-9a-fA-F]{2}(\\+(u([dD]([c-fC-F][0-9a-fA-F]?)?)?)?)?)?"
)


def escape_at(text: str, at: int, final: bool) -> tuple[str, int] | None:
    """The character that an escape at a place stands for and where it ends; None: no escape.

    ("", len(text)): it isn't complete, and more text may come.
    """
    rest = text[at:]
    if not final and UNFINISHED.fullmatch(rest):
        return "", len(text)
    found = ESCAPE.match(rest)
    if found is None:
        return None
    _, high, low, single, simple = found.groups()
    if high and re.fullmatch("[0-9a-fA-F]{4}", high):
        c = (bytes.fromhex(high) + bytes.fromhex(low)).decode("utf-16-be")
    elif single or high:
        code = int(single or high, 16)
        c = "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)
    else:
        c = simple if simple in '"/' else " "
    return c, at + found.end()


def read(text: str, decode: bool, final: bool) -> tuple[list[tuple[str, int]], int]:
    """Folded characters with the place each comes from; and where an unfinished escape begins."""
    out: list[tuple[str, int]] = []
    at = 0
    while at < len(text):
        c, since, end = text[at], at, at + 1
        if decode and c == "\\":
            found = escape_at(text, at, final)
            if found is not None:
                c, end = found
                if not c:
                    return out, since
            else:
                while end < len(text) and text[end] == "\\":
                    end += 1
        for folded in "".join(map(FOLDS.__getitem__, DOUBLE.get(c, c) if decode else c)):
            if is_mark(folded) and not stays(out):
                continue
            if folded != " " or not out or out[-1][0] != " ":
                out.append((folded, since))
        at = end
    return out, len(text)


def is_word(c: str) -> bool:
    spaceless = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
    return unicodedata.category(c)[0] in "LN" and not unicodedata.name(c, "").startswith(spaceless)


def is_mark(c: str) -> bool:
    return unicodedata.category(c)[0] == "M"


def stays(before: list[tuple[str, int]]) -> bool:
    """Whether a mark may stand after these characters: on a letter that marks spell words with."""
    base = next((c for c, _ in reversed(before) if not is_mark(c)), " ")
    return base in BEARERS


def between_words(left: str, right: str) -> bool:
    """Whether a word may end after ``left`` (all text before) and ``right`` may begin one."""
    if is_mark(right):
        return False
    base = next((c for c in reversed(left) if not is_mark(c)), " ")
    return not (is_word(base) and is_word(right))


def judge(text: str, words: set[str], parts: set[str], final: bool) -> tuple[bool, int]:
    """(some term is decided in the text, first place that may not leave)."""
    decided, hold = False, len(text)
    for decode in (False, True):
        pairs, pending = read(text, decode, final)
        folded = "".join(c for c, _ in pairs)
        hold = min(hold, pending)
        keeps: list[int | None] = []  # by start: the place that is held for what begins there
        for start, (first, place) in enumerate(pairs):
            begins = between_words(folded[:start], first)
            alive = False
            for term in parts | (words if begins else set()):
                tail = folded[start : start + len(term)]
                if tail == term and term in parts:
                    decided = True
                if tail == term and term in words and begins:
                    end = start + len(term)
                    if end == len(folded):
                        alive, decided = True, decided or final
                    elif between_words(folded[:end], folded[end]):
                        decided = True
                if len(folded) - start <= len(term) and term.startswith(folded[start:]):
                    alive = True
            keeps.append(place if alive else None)
        for start, keep in enumerate(keeps):
            if keep is None:
                continue
            hold = min(hold, keep)
            # What is cut off here must not leave a whole word standing in front of it.
            for before in range(start):
                word = folded[before:start]
                if word in words and between_words(folded[:before], word[0]):
                    hold = min(hold, pairs[before][1])
    return decided, hold


def expected(text: str, words: set[str], parts: set[str]) -> tuple[list[int], bool]:
    """For each prefix length from 0 how many characters may have left, until a match; and that."""
    out: list[int] = []
    for end in range(len(text) + 1):
        decided, hold = judge(text[:end], words, parts, final=False)
        if decided:
            return out, True
        out.append(hold)
    decided, _ = judge(text, words, parts, final=True)
    return out, decided


TERMS = ["hate", "at", "ate", "i hate you", "hate crime", "ha", "нет", "c++", "#x", "злой", "憎い",
         "か", "เกลียด", "terror", "bomb", "n't", "aab", "ab", "क्", "naïve", "u00", "xyz",
         "e", "मार", "ไม่", "kill"]  # fmt: skip
DISGUISES = ["һ", "а", "е", "т", "Т", "Н", "ｈ", "𝐡", "ĥ", "h\u0301", "\u200b", "\u00ad", "\ufe0f",
             "\\u0068", "\\u0061", "\\\\u0074", "\\n", "\\t", "\\", "\\\\", "\\u", "\\ud835",
             "\\udc21", "\\ud835\\udc21", "d835", "\\/", '\\"', "\n", "  ", "\u00a0", "ﬀ", "ß",
             "İ", "が", "\u3099", "\u093c", "क", "_", "-", "⒣", "\x00", "憎", "い", "ก", "N", "НЕТ",
             "НАТЕ", "\\b", "\U000e0068", "\U000e0061", "🇭", "🇦", "ก่", "\u0e48", "\u0e49", "ा", "म",
             "र", "े", "∪", "ட", "ഠ", "Ӏ", "І", "\u05b0", "\u0483", "🏻", "°", "l", "k"]  # fmt: skip
pieces = st.one_of(
    st.sampled_from(TERMS),
    st.sampled_from(DISGUISES),
    st.sampled_from(list("hateiyoucrmb+#x \\u0061n")),
    st.builds(lambda t, n: t[:n], st.sampled_from(TERMS), st.integers(1, 5)),
    st.characters(codec="utf-8"),
)
texts = st.lists(pieces, max_size=14).map("".join).map(lambda text: text[:48])
policies = st.tuples(
    st.lists(st.sampled_from(TERMS), max_size=4, unique=True),
    st.lists(st.sampled_from(TERMS), max_size=2, unique=True),
)


def build(words: list[str], parts: list[str]) -> Policy:
    named = (("words", words, "word"), ("parts", parts, "substring"))
    return Policy(
        tuple(
            Category.model_validate({"name": name, "terms": terms, "match": match})
            for name, terms, match in named
            if terms
        )
    )


def all_variants(terms: list[str]) -> set[str]:
    return {folded for term in terms for folded in variants(term)}


long_run = settings(max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@long_run
@given(policies, texts, st.lists(st.integers(0, 48), max_size=6))
def test_a_scanner_says_what_the_whole_text_says(
    policy: tuple[list[str], list[str]], text: str, cuts: list[int]
) -> None:
    built = build(*policy)
    may_leave, matches = expected(text, *map(all_variants, policy))
    assert (built.find(text) is not None) == matches

    if built.scanner() is PASSING:  # nothing ends a text: all of it leaves at once
        return
    for places in (
        sorted({0, len(text), *(c for c in cuts if c < len(text))}),
        range(len(text) + 1),
    ):
        scanner = built.scanner()
        released = ""
        for start, end in zip(places, [*places][1:], strict=False):
            released += scanner.push(text[start:end])
            if end >= len(may_leave):  # the match was decided in this piece
                assert scanner.match is not None
                assert (released, scanner.held) == (text[: may_leave[-1]], "")
                break
            assert scanner.match is None
            assert (released, scanner.held) == (text[: may_leave[end]], text[may_leave[end] : end])
        released += scanner.close()
        assert (scanner.match is not None) == matches
        assert released == (text[: may_leave[-1]] if matches else text)
        assert built.find(released) is None


@settings(max_examples=max(200, CASES // 20), deadline=None)
@given(policies, st.lists(pieces, max_size=40).map("".join), texts, st.lists(st.integers(1, 700)))
def test_a_long_text_may_be_skipped_but_not_misread(
    policy: tuple[list[str], list[str]], middle: str, end: str, sizes: list[int]
) -> None:
    built = build(*policy)
    text = ("w" * 150 + middle + " lorem ipsum " * 30 + end) * 2
    small, big = built.scanner(), built.scanner()
    one_by_one = "".join(map(small.push, text)) + small.close()
    at, out = 0, ""
    for size in [*sizes, len(text)]:
        out += big.push(text[at : at + size])
        at += size
    assert out + big.close() == one_by_one
    assert big.match == small.match
