"""Finds calls in an answer as it is written, and lets all other text through at once.

A call is a tool's name with literal arguments, in one of ``forms.FORMS``. What might still become
one is held back; what turns out to be none is text again, to the letter. What is found doesn't
depend on how the answer was cut into pieces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gemma_gateway.toolcalls import syntax
from gemma_gateway.toolcalls.call import Call
from gemma_gateway.toolcalls.forms import FORMS
from gemma_gateway.toolcalls.forms.form import Found, Sure
from gemma_gateway.toolcalls.literal import NotACall, Unfinished
from gemma_gateway.toolcalls.tool import Tools

MAX_HELD = 256 * 1024  # characters that are held back; what is longer is text
AT_ONCE = 64  # characters: so much is read again with every piece
OFTEN = 1024  # and so much with every piece that may end a call

_OPENINGS = tuple(opening for form in FORMS for opening in form.openings)
_PARTS = {opening[:length] for opening in _OPENINGS for length in range(1, len(opening))}
_LONGEST = max(map(len, _PARTS))
_BULLET = r"[ \t]*(?:(?:[-*+•>]|\d{1,3}[.)])[ \t]+)?"
# Where a call may begin: on a line, behind a sentence, and within one at a list of calls or an
# opening. A bullet or mark before it goes with it.
_PLACE = re.compile(
    rf"(?<=\n){_BULLET}(?:\*\*|__|`(?!`))?(?=\S)|(?<=[.:!?])[ \t]+(?:`(?!`))?(?=[A-Za-z_])"
    rf"|(?=\[\s*[A-Za-z_][\w.:/-]*\s*\()|(?={'|'.join(map(re.escape, _OPENINGS))})"
)
# An end of the text that may still become a place.
_LINE = re.compile(rf"(?<=\n){_BULLET}(?:[-*+•>]|\d{{1,3}}[.)]?|\*{{1,2}}|__?|`{{1,2}})?\Z")
_LIST = re.compile(r"\[\s*([A-Za-z_][\w.:/-]*)?\s*\Z")
_FENCE = re.compile(r"`{3,}")
_ENDS = re.compile(r"[)\]}>`\n]")
_MARKS = ("**", "__", "`")


class Parser:
    """The parser of one answer.

    Args:
        tools: that the client declared.
    """

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._text = "\n"  # from the last line on; before the first one stands a line break, too
        self._at = 1  # everything before is told
        self._search = 1  # where the search for the next place begins
        self._maybe: list[Call] = []  # up to ``_search``: these count if nothing but calls follows
        self._block = ""  # the fence of a block of code
        self._held = 0  # characters of what may still become a call
        self._next_try = 0  # length of the text at which they are read again
        self._blank = ""  # white space, told once a text follows
        self._said = self._called = False

    def feed(self, piece: str) -> list[str | Call]:
        """What a further piece of the answer tells: texts, and calls that are complete."""
        self._text += piece
        if len(self._text) < self._next_try:
            return []
        if self._held > AT_ONCE and not _ENDS.search(piece):
            return []
        found = list(self._read(final=False))
        self._forget()
        return found

    def finish(self) -> list[str | Call]:
        """The rest, once the answer has ended."""
        found = list(self._read(final=True))
        if self._blank and not self._called:
            found.append(self._blank)
        return found

    def _read(self, *, final: bool) -> Iterator[str | Call]:
        self._held = self._next_try = 0
        while (place := self._place(final)) is not None:
            if self._text[self._search : place.start()].strip():
                self._maybe = []  # examples: an explanation follows
            begin = place.end() - len(place[0].lstrip())
            try:
                found = self._find(place, final)
            except NotACall:
                self._pass(place)
                continue
            except Unfinished:
                yield from self._tell(begin)
                self._hold(place.end())
                return
            yield from self._tell(begin)
            if found.sure is Sure.ANYWHERE or (found.sure is Sure.OUTSIDE and not self._said):
                yield from self._accept(found.calls, found.end)
            else:
                self._maybe += found.calls
                self._search = found.end
        yield from self._rest(final)

    def _rest(self, final: bool) -> Iterator[str | Call]:
        """What is told where no further place is in sight."""
        safe = self._safe(final)
        if self._text[self._search : safe].strip():
            self._maybe = []
        if self._maybe and final:
            yield from self._accept([], self._search)
        if not self._maybe and not self._block:
            # White space before a place belongs to it, but for earlier lines'.
            line = self._text.rfind("\n", 0, safe) + 1
            self._search = max(self._search, line, line + len(self._text[line:safe].rstrip()))
        yield from self._tell(safe)

    def _place(self, final: bool) -> re.Match[str] | None:
        """The next place where a call may begin; None: none, up to now."""
        if self._block and not self._block_ends(final):
            return None
        place = _PLACE.search(self._text, self._search)
        if place is not None and not final and _LINE.match(self._text, place.start()) is not None:
            return None  # the beginning of a mark before one
        return place

    def _find(self, place: re.Match[str], final: bool) -> Found:
        """The calls at a place.

        Raises:
            Unfinished: more text has to tell; never at the end of an answer.
            NotACall: there are none.
        """
        text, at = self._text, place.end()
        if (word := syntax.NAME.match(text, at)) is not None and not self._may_call(word[0]):
            raise NotACall
        more = False
        for form in FORMS:
            try:
                found = form.read(text, at, self._tools, final=final)
            except Unfinished:
                more = True
            except NotACall:
                pass
            else:
                mark = next((m for m in _MARKS if place[0].endswith(m)), None)
                if mark and text.startswith(mark, found.end):
                    found = found._replace(end=found.end + len(mark))
                if text[place.start() - 1] != "\n" and not form.openings:
                    found = found._replace(sure=Sure.END)
                return found
        if more and not final and len(text) - at <= MAX_HELD:
            raise Unfinished
        raise NotACall

    def _may_call(self, word: str) -> bool:
        """Whether a call may begin with a word: most places are prose."""
        plain = word.lower()
        return syntax.may_name(word, self._tools) or any(
            known.startswith(plain) or plain.startswith(known) for known in ("print", "function")
        )

    def _pass(self, place: re.Match[str]) -> None:
        """Go on behind a place where no call begins."""
        self._maybe = []
        self._search = place.end() + 1
        if self._text[place.start() - 1] == "\n":
            fence = _FENCE.match(self._text, place.end())
            if fence is not None:
                self._block, self._search = fence[0], fence.end()

    def _block_ends(self, final: bool) -> bool:
        """Whether the block of code that we are in has ended; then the search goes on behind it."""
        end = r"\n|\Z" if final else r"\n"
        last = re.compile(rf"\n[ \t]*{self._block}[ \t]*(?={end})")
        found = last.search(self._text, self._search - 1)
        if found is None:
            self._search = max(self._search, self._text.rfind("\n", self._search) + 1)
            return False
        self._block, self._search = "", found.end()
        return True

    def _accept(self, calls: list[Call], end: int) -> Iterator[str | Call]:
        yield from (*self._maybe, *calls)
        self._maybe = []
        self._called = True
        self._at = self._search = end

    def _tell(self, end: int) -> Iterator[str]:
        """Text up to ``end``; white space behind it only with the text that follows."""
        if self._maybe:
            return
        piece, self._at = self._text[self._at : end], max(self._at, end)
        body = piece.rstrip()
        if not body:
            self._blank += piece
            return
        said = self._blank + body
        self._blank = piece[len(body) :]
        yield said if self._said or not self._called else said.lstrip()
        self._said = True

    def _safe(self, final: bool) -> int:
        """Up to where the text can't become a call any more, whatever follows."""
        text = self._text
        if final or self._block:
            return len(text)
        found = _LINE.match(text, text.rfind("\n") + 1)
        if found is not None:
            return found.start()
        found = _LIST.search(text, max(self._search, len(text) - 300))
        if found is not None and (not found[1] or syntax.may_name(found[1], self._tools)):
            return found.start()
        end = len(text)
        for begin in range(max(self._search, end - _LONGEST), end):
            if text[begin:] in _PARTS:
                return begin
        return end

    def _hold(self, at: int) -> None:
        """Read what begins at ``at`` again with more text: often while it is short, and not again
        and again once it is long."""
        self._held = len(self._text) - at
        if self._held > OFTEN:
            self._next_try = len(self._text) + self._held // 8

    def _forget(self) -> None:
        """Keep the line that is being read, and of a long one what a place looks back at."""
        done = min(self._at, self._search)
        begin = max(self._text.rfind("\n", 0, done), done - 300 if done > 1200 else 0)
        if begin > 0:
            self._text = self._text[begin:]
            self._at, self._search = self._at - begin, self._search - begin
            if self._next_try:
                self._next_try -= begin


def parse(answer: str, tools: Tools) -> tuple[list[Call], str]:
    """The calls of a whole answer, and all its other text."""
    parser = Parser(tools)
    told = [*parser.feed(answer), *parser.finish()]
    calls = [each for each in told if isinstance(each, Call)]
    return calls, "".join(each for each in told if isinstance(each, str))
