"""Calls on lines of their own, without any mark: a list, JSON, or just ``name(a=1)``."""

from __future__ import annotations

import re

from gemma_gateway.toolcalls import syntax
from gemma_gateway.toolcalls.call import Call
from gemma_gateway.toolcalls.forms.form import Found, Sure
from gemma_gateway.toolcalls.literal import NotACall, Unfinished
from gemma_gateway.toolcalls.tool import Tools

_REST = re.compile(r"([ \t]*[,;.]?)[ \t]*(?:`|\*\*|__)?[ \t]*(?:\r?\n|\Z)")
_REST_PART = re.compile(r"[ \t]*[,;.]?[ \t]*(?:`|\*{0,2}|_{0,2})[ \t]*\r?\Z")


class Line:
    """A list or JSON counts anywhere, since nothing else looks like it; a bare call doesn't: prose
    and code have such lines, too. Bare calls that don't fit their schema don't count at all."""

    openings: tuple[str, ...] = ()

    def read(self, text: str, at: int, tools: Tools, *, final: bool) -> Found:
        """See ``Form``."""
        if text.startswith(("[", "{"), at):
            calls, end = syntax.read_any(text, at, tools)
            return Found(calls, _line_end(text, end, final), Sure.ANYWHERE)
        call, end = _bare(text, at, tools)
        if call.faults:
            raise NotACall
        return Found([call], _line_end(text, end, final), Sure.OUTSIDE)


def _bare(text: str, at: int, tools: Tools) -> tuple[Call, int]:
    if "print".startswith(text[at:]) and at < len(text):
        raise Unfinished
    return syntax.read_printed(text, at, tools) or syntax.read_call(text, at, tools)


def _line_end(text: str, at: int, final: bool) -> int:
    """Where a call's line goes on, which must be nowhere."""
    if not final and _REST_PART.match(text, at) is not None:
        raise Unfinished
    rest = _REST.match(text, at)
    if rest is None:
        raise NotACall
    return rest.end(1)
