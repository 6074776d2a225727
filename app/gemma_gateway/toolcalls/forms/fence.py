"""Calls in a Markdown fence: Gemma's ``tool_code``, and what it takes for it."""

from __future__ import annotations

import re

from gemma_gateway.toolcalls import literal, syntax
from gemma_gateway.toolcalls.call import Call
from gemma_gateway.toolcalls.forms.form import Found, Sure
from gemma_gateway.toolcalls.forms.marker import MARK, PART
from gemma_gateway.toolcalls.literal import NotACall, Unfinished
from gemma_gateway.toolcalls.tool import Tools

# By language; in others nothing is a call.
SURE = {
    **dict.fromkeys(("tool_code", "tool_call", "tool_calls", "function_call"), Sure.ANYWHERE),
    **dict.fromkeys(("json", "json5", "jsonc"), Sure.ANYWHERE),
    **dict.fromkeys(("python", "py", "tool", "tools"), Sure.END),
    **dict.fromkeys(("", "text", "plaintext"), Sure.OUTSIDE),
}
_OPEN = re.compile(r"(`{3,})[ \t]*([\w-]*)[ \t]*(?:\n|$)")
_ONE_LINE = re.compile(r"(`{3,})[ \t]*(tool_code|tool_call)[ \t]+(?=\S)")
_PASSED = re.compile(r"(?:#[^\n]*|(?:import|from)[ \t][^\n]*)(?=\n)")
_ASSIGNED = re.compile(r"([A-Za-z_]\w*)[ \t]*=[ \t]*(?!=)")
_SHOWN = re.compile(r"(?:print[ \t]*\([ \t]*([A-Za-z_]\w*)[ \t]*\)|([A-Za-z_]\w*))[ \t]*(?=\n)")
# Beginnings of lines that may become one of these.
_LINE = re.compile(r"[A-Za-z_]\w*[ \t]*=?[ \t]*|(?:import|from)[ \t][^\n]*|#[^\n]*")
_SHOWING = re.compile(r"print[ \t]*\([ \t]*([A-Za-z_]\w*)?[ \t]*\)?[ \t]*")
_BETWEEN = re.compile(r"[ \t\r\n;,]*")


class Fence:
    """A fence that holds calls and nothing else but their like: prints, comments, assignments."""

    openings: tuple[str, ...] = ("```tool_code", "```tool_call")

    def read(self, text: str, at: int, tools: Tools, *, final: bool) -> Found:
        """See ``Form``."""
        literal.expect(text, at, "```")
        opened = _OPEN.match(text, at)
        if opened is None:
            # A call on the line of the fence: ```tool_code f(a=1)```
            opened = _ONE_LINE.match(text, at)
            if opened is None:
                raise NotACall
        elif not opened[0].endswith("\n"):
            raise Unfinished
        language = opened[2].lower()
        if language not in SURE:
            raise NotACall
        calls, end = _Block(text, opened[1], tools).read(opened.end(), final)
        return Found(calls, end, SURE[language])


class _Block:
    """The lines of one fence.

    Args:
        fence: what ends it.
    """

    def __init__(self, text: str, fence: str, tools: Tools) -> None:
        self._text = text
        self._fence = fence
        self._tools = tools
        self._variables: set[str] = set()
        self._calls: list[Call] = []

    def read(self, at: int, final: bool) -> tuple[list[Call], int]:
        """All calls, and where the fence ends; at the end of an answer it may be left open."""
        text, fence = self._text, self._fence
        while True:
            between = _BETWEEN.match(text, at)
            assert between is not None
            at = between.end()
            if text.startswith(fence, at):
                if not self._calls:
                    raise NotACall
                return self._calls, at + len(fence)
            if at == len(text) and final and self._calls:
                return self._calls, at
            if len(text) - at < len(fence) and fence.startswith(text[at:]):
                raise Unfinished
            at = self._statement(at)

    def _statement(self, at: int) -> int:
        """Where the statement that begins at ``at`` ends."""
        text = self._text
        if (passed := _PASSED.match(text, at)) is not None:
            return passed.end()
        shown = _SHOWN.match(text, at)
        if shown is not None and (shown[1] or shown[2]) in self._variables:
            return shown.end()
        try:
            return self._called(at)
        except NotACall:
            rest = text[at:]
            if "\n" not in rest and _may_become(rest, self._variables):
                raise Unfinished from None
            raise

    def _called(self, at: int) -> int:
        text = self._text
        assigned = _ASSIGNED.match(text, at)
        if assigned is not None:
            self._variables.add(assigned[1])
            at = assigned.end()
        elif (mark := MARK.match(text, at)) is not None:
            at = mark.end()
        elif (printed := syntax.read_printed(text, at, self._tools)) is not None:
            call, end = printed
            self._calls.append(call)
            return end
        calls, end = syntax.read_any(text, at, self._tools)
        self._calls += calls
        return end


def _may_become(rest: str, variables: set[str]) -> bool:
    """Whether the beginning of a line may still become what a fence holds beside calls."""
    if _LINE.fullmatch(rest) or PART.fullmatch(rest):
        return True
    shown = _SHOWING.fullmatch(rest)
    return shown is not None and (not shown[1] or any(v.startswith(shown[1]) for v in variables))
