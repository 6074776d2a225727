"""Code in a text, by CommonMark's rules (spec.commonmark.org/0.31.2): fences and code spans.

A fence opens with a line of three or more backticks or tildes (no backtick behind backticks), and
closes with a line of at least as many of the same and nothing else, no deeper than three spaces
beyond its opening; without that it goes on to the end of the text. It may stand in lists and
quotes, however deep: a line that is indented further is code as well. A code span lies between two
runs of equally many backticks of one paragraph, the first of which has no backslash before it.
"""

from __future__ import annotations

import re
from array import array
from io import StringIO

# What replaces code where one looks for what isn't: a fence keeps apart what stands around it.
SPAN, FENCE = "\ufffc", "\0"
_OPENING = re.compile(
    r"^((?:[ \t]*+(?:>|(?:[-+*]|[0-9]{1,9}[.)])(?=[ \t])))*+[ \t]*+)(`{3,}+(?=[^`\n]*$)|~{3,}+)",
    re.M,
)
_CLOSING = {mark: re.compile(rf"^([ \t>]*+)({mark}{{3,}}+)[ \t\r]*+$", re.M) for mark in "`~"}
_RUN_OR_BLANK = re.compile(r"`++|\n[ \t\r]*+\n")
_DEEPER = 3  # spaces


def masked(text: str) -> str:
    """The text with its code replaced, each character by one. Time is linear in its length."""
    if FENCE in text:
        text = text.replace(FENCE, SPAN)
    if "`" not in text and "~~~" not in text:
        return text
    out, at = StringIO(), 0
    while opening := _OPENING.search(text, at):
        start = opening.start(2)
        _copy(text[at:start], out)
        at = _end(text, opening)
        out.write(FENCE * (at - start))
    _copy(text[at:], out)
    return out.getvalue()


def _end(text: str, opening: re.Match[str]) -> int:
    """Where a fence ends, its closing line included."""
    for closing in _CLOSING[opening[2][0]].finditer(text, opening.end()):
        long_enough = len(closing[2]) >= len(opening[2])
        if long_enough and len(closing[1]) <= len(opening[1]) + _DEEPER:
            return closing.end()
    return len(text)


def _copy(text: str, out: StringIO) -> None:
    """Copy a text without fences, its code spans replaced."""
    if "`" not in text:
        out.write(text)
        return
    # Arrays: there may be a million of them.
    starts, lengths = array("q"), array("q")  # of runs of backticks; length 0: a paragraph ends
    escaped: set[int] = set()  # those with an odd number of backslashes before them
    for found in _RUN_OR_BLANK.finditer(text):
        start, end = found.span()
        if text[start] != "`":
            end = start
        elif start and text[start - 1] == "\\" and _escaped(text, start):
            escaped.add(len(starts))
        starts.append(start)
        lengths.append(end - start)
    partners = _partners(lengths, escaped)
    at = number = 0
    while number < len(starts):
        if (partner := partners[number]) >= 0:
            end = starts[partner] + lengths[partner]
            out.write(text[at : starts[number]])
            out.write(SPAN * (end - starts[number]))
            at, number = end, partner
        number += 1
    out.write(text[at:])


def _partners(lengths: array[int], escaped: set[int]) -> array[int]:
    """For each run of backticks the run that closes a span which it opens; -1: none does."""
    partners = array("q", [-1]) * len(lengths)
    following: dict[int, int] = {}  # by length, the next run in the same paragraph
    for number in range(len(lengths) - 1, -1, -1):
        if length := lengths[number]:
            partners[number] = following.get(length - (number in escaped), -1)
            following[length] = number
        else:
            following.clear()
    return partners


def _escaped(text: str, at: int) -> bool:
    """Whether an odd number of backslashes stands before a place."""
    start = at
    while start and text[start - 1] == "\\":
        start -= 1
    return (at - start) % 2 == 1
