"""Anthropic's token counting (``POST /v1/messages/count_tokens``): Messages without an answer."""

from __future__ import annotations

from gemma_gateway.core.dialect import Json, Slot
from gemma_gateway.core.usage import Usage
from gemma_gateway.wire.anthropic.messages import Messages


class CountTokens(Messages):
    """The same request as Messages; the answer is a number. See Dialect."""

    name = "count_tokens"
    path = "/v1/messages/count_tokens"
    generates = False
    sampling: frozenset[str] = frozenset()

    def answer(self, doc: Json) -> list[Slot]:
        return []

    def usage(self, doc: Json) -> Usage | None:
        """Counting reads a prompt but generates nothing that is charged."""
        return None

    def finish(self, doc: Json) -> str:
        del doc
        return ""
