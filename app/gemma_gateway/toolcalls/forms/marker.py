"""``FUNCTION_CALL: name(a="b")``: the form that the preset ``function-calling`` asks for."""

from __future__ import annotations

import re

from gemma_gateway.toolcalls import syntax
from gemma_gateway.toolcalls.forms.form import Found, Sure
from gemma_gateway.toolcalls.literal import NotACall, Unfinished
from gemma_gateway.toolcalls.tool import Tools

_WORD = "function_call"
MARK = re.compile(r"function[_ ]calls?[ \t]*(?:\*\*|`)?[ \t]*:[ \t]*(?:\*\*|`)?\s*", re.IGNORECASE)
PART = re.compile(r"function[_ ]calls?[ \t]*(?:\*{0,2}|`)[ \t]*:?[ \t]*\**\s*", re.IGNORECASE)
_MORE = re.compile(r"[ \t]*[,;][ \t]*(?=[A-Za-z_{\[])")
_OPEN = re.compile(r"[ \t]*(?:[,;][ \t]*)?\Z")  # another call may follow on this line


class Marker:
    """The word, and one or several calls behind it."""

    openings: tuple[str, ...] = ("FUNCTION_CALL",)

    def read(self, text: str, at: int, tools: Tools, *, final: bool) -> Found:
        """See ``Form``."""
        mark = MARK.match(text, at)
        if PART.fullmatch(text, at) or _WORD.startswith(text[at:].lower().replace(" ", "_")):
            raise Unfinished
        if mark is None:
            raise NotACall
        calls, end = syntax.read_any(text, mark.end(), tools)
        while (more := _MORE.match(text, end)) is not None:
            try:
                further, end = syntax.read_any(text, more.end(), tools)
            except NotACall:
                break
            except Unfinished:
                if final:
                    break
                raise
            calls += further
        if _OPEN.match(text, end) is not None and not final:
            raise Unfinished
        return Found(calls, end, Sure.ANYWHERE)
