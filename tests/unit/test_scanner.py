"""What may leave a stream, and when."""

from __future__ import annotations

import pytest

from gemma_gateway.safety.scanner import MEMO_CHARS, MEMO_ENTRIES, Machine, Scanner
from gemma_gateway.safety.terms import Entry, Match, Terms
from tests.growth import is_linear


def machine(*words: str, parts: tuple[str, ...] = ()) -> Machine:
    return Machine(
        Terms(
            [
                *(Entry(Match("word", word)) for word in words),
                *(Entry(Match("part", part), substring=True) for part in parts),
            ]
        )
    )


def scan(scanner: Scanner, *texts: str) -> list[str]:
    return [scanner.push(text) for text in texts]


def test_clean_text_leaves_at_once_as_the_same_object() -> None:
    scanner = Scanner(machine("hate"))
    token = "".join([" kind", "ness"])
    for _ in range(2):
        assert scanner.push(token) is token
        assert scanner.held == ""


def test_only_a_possible_beginning_is_held() -> None:
    scanner = Scanner(machine("hate"))
    assert scan(scanner, "I ha", "ve ", "h", "at", "s and w", "hat") == [
        "I ", "have ", "", "", "hats and w", "hat",
    ]  # fmt: skip
    assert scanner.close() == ""
    assert scanner.match is None


def test_a_complete_word_waits_for_one_character() -> None:
    scanner = Scanner(machine("hate"))
    assert scan(scanner, "hate") == [""]
    assert scanner.held == "hate"
    assert scanner.push("d it") == "hated it"


@pytest.mark.parametrize("end", [" ", ".", "\n", "_", "漢", "\\"])
def test_a_match_drops_the_word_and_the_rest(end: str) -> None:
    scanner = Scanner(machine("hate"))
    assert scan(scanner, "I h", "ate", end + "you", "more") == ["I ", "", "", ""]
    assert scanner.match == Match("word", "hate")
    assert (scanner.held, scanner.close()) == ("", "")


def test_the_end_of_the_text_ends_a_word() -> None:
    scanner = Scanner(machine("hate"))
    assert scan(scanner, "I hate") == ["I "]
    assert scanner.close() == ""
    assert scanner.match == Match("word", "hate")
    scanner = Scanner(machine("hate"))
    assert scan(scanner, "I hat") == ["I "]
    assert scanner.close() == "hat"
    assert scanner.match is None


def test_a_substring_needs_no_more() -> None:
    scanner = Scanner(machine(parts=("hat",)))
    assert scan(scanner, "w", "h", "at") == ["w", "", ""]
    assert scanner.match == Match("part", "hat")


def test_invisible_characters_are_held_with_what_they_hide_in() -> None:
    scanner = Scanner(machine("hate"))
    assert scan(scanner, "\u200b", "h\u200b", "a\u0301", "\u2060te", "\u200b", "!") == [
        "\u200b", "", "", "", "", "",
    ]  # fmt: skip
    assert scanner.match is not None


def test_escapes_are_held_until_they_are_read() -> None:
    scanner = Scanner(machine("hate"))
    assert scan(scanner, '{"a":"', "\\", "u00", "68", "\\u0061t", 'e"}') == ['{"a":"'] + [""] * 5
    assert scanner.match is not None
    scanner = Scanner(machine("hate"))
    assert scan(scanner, "a\\", "u00", "zz", "\\\\\\", "x") == ["a", "", "\\u00zz", "", "\\\\\\x"]
    assert scan(scanner, "\\ud835", "\\udc1", "a") == ["", "", "\\ud835\\udc1a"]


def test_an_escape_before_a_word_does_not_hide_it() -> None:
    for text in ("\\nhate ", "\\bomb ", "\\thate"):
        scanner = Scanner(machine("hate", "bomb"))
        "".join(map(scanner.push, text))
        scanner.close()
        assert scanner.match is not None, text


def test_what_is_left_never_ends_with_a_blocked_word() -> None:
    scanner = Scanner(machine("hate", parts=("xyz",)))
    assert scan(scanner, "a hate", "xy", "z") == ["a ", "", ""]
    assert scanner.match == Match("part", "xyz")
    scanner = Scanner(machine("hate", parts=("xyz",)))
    assert scan(scanner, "a hate", "xy", "q") == ["a ", "", "hatexyq"]


def test_long_texts_are_followed_from_near_their_end_only() -> None:
    scanner = Scanner(machine("hate", "violence"))
    text = "base64" * 200_000
    assert scanner.push(text + " viol") == text + " "
    found = machine("hate", "violence")
    assert is_linear(lambda size: Scanner(found).push("base64" * size + " viol"), 12_500)
    assert scan(scanner, "ins ", "hate\u200b" + "\u200b" * 5000) == ["violins ", ""]
    assert scanner.push(".") == ""


def test_a_long_text_that_ends_in_disguise() -> None:
    for spread in (3, 40, 400):
        text = "x" * 1000 + " "
        scanner = Scanner(machine("hate"))
        hidden = "h" + "\u200b" * spread + "\\u0061" + "\\u0074"
        assert scanner.push(text + hidden) == text
        assert scanner.push("e ") == ""
        assert scanner.match is not None


def test_backslashes_take_linear_time() -> None:
    def push(pieces: int) -> None:
        scanner = Scanner(machine("hate"))
        for _ in range(pieces):
            scanner.push("\\" * 1000)
            scanner.push("x")

    assert is_linear(push, 4)

    def push_one(size: int) -> None:
        Scanner(machine("hate")).push("\\" * size)

    assert is_linear(push_one, 1000)


def test_the_memo_is_bounded() -> None:
    shared = machine("hate")
    scanner = Scanner(shared)
    for number in range(MEMO_ENTRIES + 100):
        scanner.push(f" {number}")
    scanner.push("long" * MEMO_CHARS)
    for quiet in shared.quiet.values():
        assert len(quiet) <= MEMO_ENTRIES
        assert max(map(len, quiet), default=0) <= MEMO_CHARS


def test_no_terms_hold_nothing() -> None:
    scanner = Scanner(machine())
    assert scan(scanner, "any", " thing" * 100, "") == ["any", " thing" * 100, ""]
