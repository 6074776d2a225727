"""One fold for terms and texts, character by character."""

from __future__ import annotations

import unicodedata

import pytest

from gemma_gateway.safety.fold import CACHED, FOLDS, JOINS, fold, unescape
from tests.growth import is_linear


@pytest.mark.parametrize(
    "text",
    [
        "HATE",
        "һате".replace("т", "t"),  # Cyrillic h, a, e
        "НАТЕ",  # Cyrillic capitals
        "ΗΑΤΕ",  # Greek capitals
        "ｈａｔｅ",
        "𝕙𝕒𝕥𝕖",
        "ⓗⓐⓣⓔ",
        "🅗🅐🅣🅔",
        "ʜᴀᴛᴇ",
        "h\u200ba\u2060t\ufeffe",
        "h\u00ada\u034ft\ufe0fe",
        "h\U000e0061a\U000e0100te",
        "ĥáţë",
        "h\u0301\u0302\u0303ate",
        "h\x00a\x1bt\x7fe",
        "ħɑŧe",
    ],
)
def test_disguises_fold_to_the_plain_word(text: str) -> None:
    assert fold(text) == "hate"


def test_accents_of_other_scripts_tell_letters_apart() -> None:
    assert fold("が") != fold("か")
    assert fold("क़") != fold("क")
    assert fold("й") == fold("и\u0306")


def test_white_space_is_one_space() -> None:
    assert fold("hate \t\r\n\u00a0\u2003\u2028 crime") == "hate crime"


def test_folding_does_not_depend_on_cuts_and_is_stable() -> None:
    text = "".join(map(chr, [*range(0x20, 0xD800), *range(0xE000, 0x20000)]))
    for c in text:
        once = FOLDS[c]
        assert "".join(FOLDS[d] for d in once) == once, hex(ord(c))
        assert unicodedata.normalize("NFKD", c) != c or len(once) <= 3


def test_ascii_by_table_is_ascii_by_character() -> None:
    text = "".join(map(chr, range(128)))
    squeezed = fold(text + "é").removesuffix("e")
    assert fold(text) == squeezed


def test_the_caches_are_bounded() -> None:
    for code in range(0x1F000 + CACHED):
        FOLDS[chr(code)]
        JOINS[chr(code)]
    assert len(FOLDS) <= CACHED
    assert len(JOINS) <= CACHED
    assert FOLDS["Ä"] == "a"


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        (r"\u0068ate", "hate"),
        (r"\\u0068ate", "hate"),
        (r"\ud835\udc21", "𝐡"),
        (r"\\ud835\\udc21", "𝐡"),
        (r"\ud835x\udc21", "\ufffdx\ufffd"),
        (r"a\nb\tc\"d\/e", 'a b c"d/e'),
        (r"\u00zz\q" + "\\", r"\u00zz\q" + "\\"),
        (r"\\\\", "\\"),
        (r"\u005cu0068", r"\u0068"),
    ],
)
def test_escapes(text: str, decoded: str) -> None:
    assert unescape(text) == decoded


@pytest.mark.parametrize("piece", ["\\", r"\ud835", r"\u", r"\\u"])
def test_escapes_take_linear_time(piece: str) -> None:
    assert is_linear(lambda size: unescape(piece * size), 20_000)


def test_joins() -> None:
    assert [JOINS[c] for c in "a9ж한"] == [1, 1, 1, 1]
    assert [JOINS[c] & 1 for c in "_- .漢かกမខ"] == [0] * 9
    assert JOINS["\u093c"] == JOINS["\u3099"] == 2
