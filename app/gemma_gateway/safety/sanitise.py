"""Removing from text what acts or hides: the source document's system 7, without its regex.

``script``, ``iframe``, ``object`` and ``embed`` elements go, from the opening tag to the closing
one (or to the end of the text where there is none; an ``embed`` without a closing tag is only its
tag, as HTML gives it no content), and the schemes ``javascript:`` and ``data:text/html``, with any
tabs and line breaks in them, which browsers ignore (WHATWG URL Standard, basic URL parser).

Characters that nobody sees and a model reads go too: tag characters, which repeat ASCII (as JSON
escapes as well), except in the three flags that are spelled with them (England, Scotland, Wales:
Unicode Technical Standard #51), and runs of ``RUN`` or more other invisible characters, which can
spell anything. Shorter runs stay: emoji, Indic and Arabic scripts need joiners, selectors and marks
of direction.
"""

from __future__ import annotations

import re

from gemma_gateway.safety.lookalikes import IGNORABLE

PASSES = 8  # what is still there after so many removals was nested to come back
RUN = 4  # a family emoji has two in a row at most

_COLON = re.compile(r":(?<=[tTaA\t\r\n]:)")
_TAG = re.compile(r"<[sioeSIOE]")
_OPEN = re.compile(r"<(script|iframe|object|embed)(?=[\t\n\f\r />]|\Z)", re.I | re.A)
_CLOSE = {
    name: re.compile(rf"</{name}(?=[\t\n\f\r />]|\Z)[^>]*+>?", re.I | re.A)
    for name in ("script", "iframe", "object", "embed")
}
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
_MARKS = str.maketrans("", "", "<:\\")


def sanitise(text: str) -> str:
    """The text without active content and hidden characters; the same object when there is none.

    Sanitising the result again changes nothing. Time is linear in the text's length: a removal
    that puts together new active content is followed up at most ``PASSES`` times, then the text
    loses every ``<``, ``:`` and backslash instead.
    """
    if "<" not in text and ":" not in text and "\\" not in text and text.isascii():
        return text
    for _ in range(PASSES):
        clean = _HIDDEN.sub(_flag, text) if _INVISIBLE.search(text) else text
        if "\\" in clean:
            clean = _ESCAPED.sub(_flag, clean)
        if _TAG.search(clean):
            clean = _without_elements(clean)
        if _COLON.search(clean) and _may_hold_scheme(clean):
            clean = _SCHEME.sub(_nothing, clean)
        if len(clean) == len(text):
            return text
        text = clean
    return _HIDDEN.sub(_flag, text.translate(_MARKS))


def _may_hold_scheme(text: str) -> bool:
    """A quick look: the pattern takes 30 ms for a megabyte full of colons."""
    bare = text.lower().translate(_UNSEEN)
    return "javascript:" in bare or "data:text/html" in bare


def _flag(found: re.Match[str]) -> str:
    """A flag stays, all else goes; a function for the same reason as ``_nothing``."""
    return found[1] or ""


def _nothing(found: re.Match[str]) -> str:
    """The empty string; called for each match, so that other threads have their turn."""
    del found
    return ""


def _without_elements(text: str) -> str:
    kept: list[str] = []
    at = 0
    closed = dict.fromkeys(_CLOSE, True)  # False: no closing tag from here on
    while found := _OPEN.search(text, at):
        kept.append(text[at : found.start()])
        name = found[1].lower()
        close = _CLOSE[name].search(text, found.end()) if closed[name] else None
        if close:
            at = close.end()
        elif name == "embed":
            closed[name] = False
            at = text.find(">", found.end()) + 1 or len(text)
        else:
            at = len(text)
    if not kept:
        return text
    kept.append(text[at:])
    return "".join(kept)
