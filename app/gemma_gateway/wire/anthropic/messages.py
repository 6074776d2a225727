"""Anthropic's Messages API (``POST /v1/messages``)."""

from __future__ import annotations

from gemma_gateway.core.dialect import AnswerStream, Json, Message, TextPart
from gemma_gateway.core.errors import Code
from gemma_gateway.core.usage import Usage
from gemma_gateway.wire.anthropic.errors import AnthropicDialect
from gemma_gateway.wire.anthropic.messages_stream import SKIP, MessagesStream, read_usage
from gemma_gateway.wire.anthropic.request import PROMPT_FIELDS, MessagesRequest, read_messages
from gemma_gateway.wire.openai import openai
from gemma_gateway.wire.place import place
from gemma_gateway.wire.walk import free_texts

CUT_BLOCKS = frozenset({"text", "thinking"})  # blocks that still make sense when cut short
# Key and type of what holds the text that is said, whole and in a stream.
SAID = (("text", "text"), ("text", "text_delta"))


class Messages(AnthropicDialect):
    """The Messages dialect; see Dialect."""

    name = "messages"
    path = "/v1/messages"
    request_model = MessagesRequest
    operation = "chat"
    fields = PROMPT_FIELDS | {
        *("max_tokens", "temperature", "top_p", "top_k", "stop_sequences", "metadata"),
    }
    streams = charged = judged = True
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'  # of the protocol, at any place
    max_tokens = ("max_tokens",)
    needs_bound = True
    # vLLM's AnthropicMessagesRequest has no repetition_penalty.
    sampling = frozenset({"temperature", "top_p"})

    def messages(self, body: Json) -> list[Message]:
        return read_messages(body)

    def answer(self, doc: Json) -> list[TextPart]:
        found: list[TextPart] = []
        content = doc.get("content")
        for i, block in enumerate(content if isinstance(content, list) else ()):
            if isinstance(block, dict):
                # Tool input is free-form: every string in it, whatever its key.
                own = {key: value for key, value in block.items() if key != "input"}
                texts = openai.leaves(own, f"content.{i}", SKIP)
                for part in texts:
                    if part.container is own:
                        part.container = block
                if isinstance(block.get("input"), dict | list):
                    texts += free_texts(block["input"], f"content.{i}.input")
                found += texts
        return found

    def usage(self, doc: Json) -> Usage | None:
        return read_usage(doc)

    def finish(self, doc: Json) -> str:
        return openai.short_name(doc.get("stop_reason"))

    def says(self, part: TextPart) -> bool:
        return (part.key, part.kind) in SAID

    def refuse(self, doc: Json, part: TextPart) -> None:
        """See Dialect. A tool use that is cut is removed: half a call must not run."""
        index = int(place(part.where).split(".")[1])
        content = doc["content"]
        del content[index + 1 :]
        if part.container is content[index] and part.key in CUT_BLOCKS:
            content[index].pop("citations", None)
        else:
            content.pop()
        doc["stop_reason"] = "refusal"
        doc["stop_sequence"] = None
        doc["code"] = Code.RESPONSE_FILTERED.name

    def stream(self, hide_usage: bool) -> AnswerStream:
        return MessagesStream()
