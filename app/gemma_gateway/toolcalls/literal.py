"""Values as models write them in calls: Python's literals and JSON's, mixed. Nothing is evaluated.

More is taken than either language allows, where it can only mean one thing: a line break within
quotes, ``true`` beside ``True``, a comma before a closing bracket.
"""

from __future__ import annotations

import math
import re
from typing import Any

MAX_DEPTH = 32  # lists and objects within each other

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"[+-]?(?:\d[\d_]{0,99})?(?:\.\d{0,99})?(?:[eE][+-]?\d{1,4})?")
_NUMBER_PART = re.compile(r"[-+\w.]*\Z", re.ASCII)  # up to the end of the text
_WORD = re.compile(r"[A-Za-z_]\w*")
_WORDS = {"True": True, "true": True, "False": False, "false": False, "None": None, "null": None}
_BODY = {
    '"': re.compile(r'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL),
    "'": re.compile(r"[^'\\]*(?:\\.[^'\\]*)*", re.DOTALL),
    '"""': re.compile(r'(?:[^"\\]|\\.|"(?!""))*', re.DOTALL),
    "'''": re.compile(r"(?:[^'\\]|\\.|'(?!''))*", re.DOTALL),
}
_ESCAPE = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})"
    r"|x([0-9a-fA-F]{2})|U([0-9a-fA-F]{8})|(.))",
    re.DOTALL,
)
_SIMPLE = {
    **{"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0", "\n": ""},
    **{sign: sign for sign in "\\'\"/"},
}


class Unfinished(Exception):
    """The text ends before the value does."""


class NotACall(Exception):
    """This is no value, or no call."""


def space(text: str, at: int) -> int:
    """Where the blanks and line breaks that begin at ``at`` end."""
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def expect(text: str, at: int, sign: str) -> int:
    """The place behind ``sign``, which must stand at ``at``.

    Raises:
        Unfinished, NotACall: it doesn't.
    """
    if text.startswith(sign, at):
        return at + len(sign)
    raise Unfinished if sign.startswith(text[at : at + len(sign)]) else NotACall


def read(text: str, at: int, depth: int = 0) -> tuple[Any, int]:
    """The value that begins at ``at``, and where it ends.

    Raises:
        Unfinished: ``text`` ends first.
        NotACall: there is none.
    """
    if at >= len(text):
        raise Unfinished
    sign = text[at]
    if sign in "\"'":
        return _string(text, at)
    if sign in "[(":
        return _list(text, at, "]" if sign == "[" else ")", depth)
    if sign == "{":
        return _object(text, at, depth)
    if sign in "+-." or sign.isdecimal():
        return _number(text, at)
    return _word(text, at)


def _string(text: str, at: int) -> tuple[str, int]:
    quote = text[at]
    if text.startswith(quote * 3, at):
        quote *= 3
    elif text.startswith(quote * 2, at):
        if at + 2 == len(text):  # an empty text, or the first two of three quotes
            raise Unfinished
        return "", at + 2
    body = _BODY[quote].match(text, at + len(quote))
    assert body is not None
    if not text.startswith(quote, body.end()):
        raise Unfinished
    said = body[0]
    return (_ESCAPE.sub(_unescaped, said) if "\\" in said else said), body.end() + len(quote)


def _unescaped(found: re.Match[str]) -> str:
    high, low, four, two, eight, other = found.groups()
    if high:
        return chr(0x10000 + ((int(high, 16) & 0x3FF) << 10) + (int(low, 16) & 0x3FF))
    if other is not None:
        return _SIMPLE.get(other, found[0])
    code = int(four or two or eight, 16)
    return "\ufffd" if 0xD800 <= code < 0xE000 or code > 0x10FFFF else chr(code)


def _number(text: str, at: int) -> tuple[int | float, int]:
    found = _NUMBER.match(text, at)
    assert found is not None
    written, end = found[0], found.end()
    if _NUMBER_PART.match(text, at) is not None:
        raise Unfinished
    if text[end].isalnum() or text[end] in "._":
        raise NotACall
    try:
        value = float(written) if set(written) & set(".eE") else int(written)
    except ValueError:
        raise NotACall from None
    if not math.isfinite(value):
        raise NotACall
    return value, end


def _word(text: str, at: int) -> tuple[Any, int]:
    found = _WORD.match(text, at)
    if found is None:
        raise NotACall
    if found.end() == len(text) and any(word.startswith(found[0]) for word in _WORDS):
        raise Unfinished
    if found[0] not in _WORDS:
        raise NotACall
    return _WORDS[found[0]], found.end()


def _list(text: str, at: int, end: str, depth: int) -> tuple[list[Any], int]:
    values: list[Any] = []
    at = _inside(text, at + 1, depth)
    while not text.startswith(end, at):
        value, at = read(text, at, depth + 1)
        values.append(value)
        at = comma(text, space(text, at), end)
    return values, at + 1


def _object(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    values: dict[str, Any] = {}
    at = _inside(text, at + 1, depth)
    while not text.startswith("}", at):
        if at < len(text) and text[at] not in "\"'":
            raise NotACall
        key, at = read(text, at)
        at = space(text, expect(text, space(text, at), ":"))
        values[key], at = read(text, at, depth + 1)
        at = comma(text, space(text, at), "}")
    return values, at + 1


def _inside(text: str, at: int, depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise NotACall
    return space(text, at)


def comma(text: str, at: int, end: str) -> int:
    """The place behind a comma and its blanks; ``at``, where ``end`` stands there."""
    return at if text.startswith(end, at) else space(text, expect(text, at, ","))
