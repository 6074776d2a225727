"""Anthropic's token counting (``POST /v1/messages/count_tokens``): Messages without an answer."""

from __future__ import annotations

from gemma_gateway.core.dialect import Json, Message
from gemma_gateway.wire.anthropic.errors import AnthropicDialect
from gemma_gateway.wire.anthropic.request import PROMPT_FIELDS, CountTokensRequest, read_messages


class CountTokens(AnthropicDialect):
    """The prompt of Messages; the answer is a number. See Dialect."""

    name = "count_tokens"
    path = "/v1/messages/count_tokens"
    request_model = CountTokensRequest
    fields = PROMPT_FIELDS

    def messages(self, body: Json) -> list[Message]:
        """See Dialect."""
        return read_messages(body)
