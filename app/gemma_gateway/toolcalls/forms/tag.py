"""``<tool_call>{...}</tool_call>``: what templates of other families teach, and many prompts."""

from __future__ import annotations

from gemma_gateway.toolcalls import literal, syntax
from gemma_gateway.toolcalls.forms.form import Found, Sure
from gemma_gateway.toolcalls.literal import NotACall, Unfinished
from gemma_gateway.toolcalls.tool import Tools

_TAGS = ("tool_call", "function_call", "tool_calls", "function_calls")


class Tag:
    """Calls between two tags; the second one may be missing at the end of an answer."""

    openings: tuple[str, ...] = tuple(f"<{tag}>" for tag in _TAGS)

    def read(self, text: str, at: int, tools: Tools, *, final: bool) -> Found:
        """See ``Form``."""
        for tag in _TAGS:
            if text.startswith(f"<{tag}>", at):
                return self._within(text, at + len(tag) + 2, f"</{tag}>", tools, final)
        if any(opening.startswith(text[at:]) for opening in self.openings):
            raise Unfinished
        raise NotACall

    def _within(self, text: str, at: int, closing: str, tools: Tools, final: bool) -> Found:
        calls, at = syntax.read_any(text, literal.space(text, at), tools)
        while True:
            at = literal.space(text, at)
            rest = text[at : at + len(closing)]
            if rest == closing or (final and closing.startswith(rest)):
                return Found(calls, at + len(rest), Sure.ANYWHERE)
            if closing.startswith(rest):
                raise Unfinished
            further, at = syntax.read_any(text, at, tools)
            calls += further
