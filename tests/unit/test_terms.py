"""Whole words by Unicode's rules, substrings on request."""

from __future__ import annotations

import pytest

from gemma_gateway.safety.terms import Entry, Match, Terms, variants


def terms(*words: str, parts: tuple[str, ...] = ()) -> Terms:
    return Terms(
        [
            *(Entry(Match("word", word)) for word in words),
            *(Entry(Match("part", part), substring=True) for part in parts),
        ]
    )


@pytest.mark.parametrize(
    "text",
    [
        "hate",
        "I HATE it",
        "hate!",
        "(hate)",
        "hate_speech",
        "no-hate",
        "«hate»",
        "hate\u0301",
        "漢hate字",
        "hate\nhate",
        'x="hate"',
        r"\u0068\u0061te",
        r"\nhate\n",
        "😀hate😀",
    ],
)
def test_a_word_is_found(text: str) -> None:
    assert terms("hate").find(text) == Match("word", "hate")


@pytest.mark.parametrize(
    "text",
    ["whatever", "hated", "chateau", "hate2", "éhate", "hateж", "ha te", "h-a-t-e", "", "hat"],
)
def test_a_longer_word_is_another_word(text: str) -> None:
    assert terms("hate").find(text) is None


def test_a_substring_is_found_anywhere() -> None:
    assert terms(parts=("hat",)).find("WHATEVER") == Match("part", "hat")


def test_the_first_match_is_told() -> None:
    assert terms("bad", "worse").find("good worse bad") == Match("word", "worse")
    assert terms("bad thing", "bad").find("a bad thing") == Match("word", "bad")


def test_phrases_cross_any_white_space() -> None:
    assert terms("hate  crime").find("Hate\n\u00a0crime.") is not None
    assert terms("hate crime").find("hatecrime") is None


def test_scripts_without_spaces_need_no_boundary() -> None:
    assert terms("憎い").find("彼が憎いです") is not None
    assert terms("เกลียด").find("ฉันเกลียดเขา") is not None
    assert terms("ばか").find("ばが") is None, "a voiced kana is another letter"


def test_letters_that_look_latin_in_one_case_only() -> None:
    for text in ("нет", "НЕТ", "Нет", "нЕТ"):
        assert terms("нет").find(text) is not None
    assert terms("hate").find("нате") is None, "a Russian word that doesn't look like hate"
    assert terms("hate").find("НАТЕ") is not None, "this one does"


def test_a_letter_after_a_backslash_is_read_both_ways() -> None:
    both = terms("terror", "error")
    assert both.find(r"\terror") is not None
    assert terms("terror").find(r"\terror") is not None
    assert terms("error").find(r"\terror") is not None


def test_all_matches() -> None:
    found = terms("hate", parts=("ate",)).all("hate")
    assert found == {Match("word", "hate"), Match("part", "ate")}


def test_a_term_of_nothing_is_refused() -> None:
    for empty in ("", " \t", "\u200b", "\u0301"):
        with pytest.raises(ValueError, match="nothing of this term"):
            variants(empty)


def test_variants_are_bounded() -> None:
    assert len(variants("в" * 100)) <= 4
    assert variants("Violence") == {"violence"}


def test_no_terms_match_nothing() -> None:
    assert Terms([]).find("anything") is None
    assert Terms([]).all("anything") == set()
