"""Removing from text what acts or hides: the source document's system 7, without its regex.

``script``, ``iframe``, ``object`` and ``embed`` elements go, and the schemes ``javascript:`` and
``data:text/html``, with any tabs and line breaks in them, which browsers ignore (WHATWG URL
Standard, basic URL parser).

An element goes only as a whole, from its start tag to its own end tag. A tag is HTML's: ``<``, the
name in any case, then white space, ``/`` or ``>``, up to the next ``>``. One without its partner is
text, such as the ``<Object>`` of ``List<Object>``, and stays with all that follows. Only an
``embed`` with attributes goes by itself: HTML gives it no end tag. Code (``safety.code``) stays as
it is: no tag in it counts, and no element reaches across a fence.

Characters that nobody sees and a model reads go too: tag characters, which repeat ASCII (as JSON
escapes as well), except in the three flags that are spelled with them (England, Scotland, Wales:
Unicode Technical Standard #51), and runs of ``RUN`` or more other invisible characters, which can
spell anything. Shorter runs stay: emoji, Indic and Arabic scripts need joiners, selectors and marks
of direction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from gemma_gateway.safety.code import FENCE, SPAN, masked
from gemma_gateway.safety.lookalikes import IGNORABLE

PASSES = 8  # what is still there after so many removals was nested to come back
RUN = 4  # a family emoji has two in a row at most

Span = tuple[int, int]  # of what goes: start and end

_COLON = re.compile(r":(?<=[tTaA\t\r\n]:)")
_TAG = re.compile(r"<[sioeSIOE]")
_TAGS = re.compile(r"<(/?)((?ia:script|iframe|object|embed))(?=[\t\n\f\r />])")
_ATTRIBUTE = re.compile(r"[^\t\n\f\r />]")
_GAP = r"[\t\r\n]*+"
_SCHEME = re.compile(_GAP.join("javascript:") + "|" + _GAP.join("data:text/html"), re.I | re.A)
_UNSEEN = str.maketrans("", "", "\t\r\n")
_FLAGS = ("gbeng\x7f", "gbsct\x7f", "gbwls\x7f")
_INVISIBLE = re.compile(f"[{IGNORABLE.pattern}]")
_HIDDEN = re.compile(
    "(\U0001f3f4(?:"
    + "|".join("".join(chr(0xE0000 + ord(c)) for c in flag) for flag in _FLAGS)
    + f"))|[{IGNORABLE.pattern}]{{{RUN},}}|[\U000e0000-\U000e007f]+"
)
# Tag characters in JSON, as most writers put them: a pair of surrogates.
_ESCAPED = re.compile(
    r"((?:\U0001f3f4|(?<!\\)\\++ud83c\\++udff4)(?:"
    + "|".join("".join(rf"\\++udb40\\++udc{ord(c):02x}" for c in flag) for flag in _FLAGS)
    + r"))|(?<!\\)(?:\\++udb40\\++udc[0-7][0-9a-f])+",
    re.I,
)
_PAIR = re.compile(r"\\udb40", re.I)
_MARKS = str.maketrans("", "", "<:\\")


def sanitise(texts: list[str]) -> list[str]:
    """Texts that are read side by side, without active content and hidden characters, also where
    these only show across a seam; the same list when there is none.

    Sanitising the result again changes nothing. Time is linear in the texts' length: a removal
    that puts together new active content is followed up at most ``PASSES`` times, then the texts
    lose every ``<``, ``:`` and backslash, and their code its protection.
    """
    if not any(map(may_act, texts)):
        return texts
    for _ in range(PASSES):
        clean = texts
        for look, find in _REMOVALS:
            joined = "".join(clean).replace(FENCE, SPAN)
            # Code only hides what goes, so it is looked for where there is something.
            if look(joined) and any(True for _ in find(joined)):
                clean = _without(clean, find("".join(map(masked, clean))))
        if clean is texts:
            return texts
        texts = clean
    texts = [text.translate(_MARKS) for text in texts]
    return _without(texts, _hidden("".join(texts)))


def may_act(text: str) -> bool:
    """A quick look: whether a text may hold any of it."""
    return "<" in text or ":" in text or "\\" in text or not text.isascii()


def _may_hold_scheme(text: str) -> bool:
    """A quick look: the pattern takes 30 ms for a megabyte full of colons."""
    if not _COLON.search(text):
        return False
    bare = text.lower().translate(_UNSEEN)
    return "javascript:" in bare or "data:text/html" in bare


def _hidden(text: str) -> Iterator[Span]:
    return (found.span() for found in _HIDDEN.finditer(text) if not found[1])  # a flag stays


def _escaped(text: str) -> Iterator[Span]:
    return (found.span() for found in _ESCAPED.finditer(text) if not found[1])


def _schemes(text: str) -> Iterator[Span]:
    return (found.span() for found in _SCHEME.finditer(text))


def _elements(text: str) -> Iterator[Span]:
    """Elements, in the order of their ends."""
    opened: dict[str, list[int]] = {}  # start tags without an end so far, by name
    end = 0  # behind the next ">"
    fence = text.find(FENCE)  # the next one; -1: there is none
    for found in _TAGS.finditer(text):
        if 0 <= fence < found.start():
            opened.clear()
            fence = text.find(FENCE, found.start())
        if end <= found.end():
            end = text.find(">", found.end()) + 1
            if not end:
                return
        if 0 <= fence < end:
            continue
        name = found[2].lower()
        starts = opened.setdefault(name, [])
        if not found[1]:
            starts.append(found.start())
            if name == "embed" and _ATTRIBUTE.search(text, found.end(), end):
                yield found.start(), end
        elif starts:
            yield starts.pop(), end


# A quick look at a text, and the places of what goes in it.
_REMOVALS: tuple[tuple[Callable[[str], object], Callable[[str], Iterable[Span]]], ...] = (
    (_INVISIBLE.search, _hidden),
    (_PAIR.search, _escaped),
    (_TAG.search, _elements),
    (_may_hold_scheme, _schemes),
)


def _without(texts: list[str], spans: Iterable[Span]) -> list[str]:
    """The texts without some spans of all of them joined; the same list where there are none."""
    holes = _merged(spans)
    if not holes:
        return texts
    clean: list[str] = []
    base = number = 0
    for text in texts:
        kept: list[str] = []
        at, end = base, base + len(text)
        while number < len(holes) and holes[number][0] < end:
            start, stop = holes[number]
            kept.append(text[at - base : max(at, start) - base])
            at = min(stop, end)
            if stop > end:
                break
            number += 1
        kept.append(text[at - base :])
        clean.append("".join(kept))
        base = end
    return clean


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Spans that come in the order of their ends, in order, none touching another."""
    merged: list[Span] = []
    for span in spans:
        start, end = span
        while merged and merged[-1][1] >= start:
            start = min(start, merged.pop()[0])
        merged.append((start, end))
    return merged
