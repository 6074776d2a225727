"""vLLM's tokenizer routes: /tokenize and /detokenize. They generate nothing."""

from __future__ import annotations

from gemma_gateway.core.dialect import Json, Message, TextPart
from gemma_gateway.wire.numbers import token_ids
from gemma_gateway.wire.openai import openai
from gemma_gateway.wire.openai.chat_request import ChatMessage, read_messages
from gemma_gateway.wire.openai.errors import OpenAIDialect
from gemma_gateway.wire.request import Body


class TokenizeRequest(Body):
    """vLLM's tokenizer: a prompt or a chat."""

    prompt: str | None = None
    messages: list[ChatMessage] | None = None


class DetokenizeRequest(Body):
    """vLLM's tokenizer, backwards."""

    tokens: list[int]


class Tokenize(OpenAIDialect):
    """The dialect of /tokenize: text to token ids, which say the client's own text again."""

    name = "tokenize"
    path = "/tokenize"
    request_model = TokenizeRequest
    fields = frozenset(
        {
            *("model", "prompt", "messages", "tools", "add_special_tokens", "return_token_strs"),
            *("add_generation_prompt", "continue_final_message", "chat_template_kwargs"),
            "stream",
        }
    )

    def messages(self, body: Json) -> list[Message]:
        if body.get("messages") is not None:
            if body.get("prompt") is not None:
                raise openai.invalid("Send either a prompt or messages, not both.", "prompt")
            return read_messages(body)
        if not isinstance(body.get("prompt"), str):
            raise openai.invalid("Send a prompt (a string) or messages.", "prompt")
        part = TextPart(body, "prompt", "prompt", "prompt", spoken=True)
        return [Message("prompt", "user", [part])]


class Detokenize(OpenAIDialect):
    """The dialect of /detokenize: token ids to text."""

    name = "detokenize"
    path = "/detokenize"
    request_model = DetokenizeRequest
    fields = frozenset({"model", "tokens", "stream"})

    def messages(self, body: Json) -> list[Message]:
        """One message without text: what the ids say is judged in the answer."""
        body["tokens"] = token_ids(body.get("tokens"), "tokens")
        return [Message("tokens", "user", [])]

    def answer(self, doc: Json) -> list[TextPart]:
        return [TextPart(doc, "prompt", "prompt", "prompt")] if "prompt" in doc else []

    def refuse(self, doc: Json, part: TextPart) -> None:
        """The text was cut already; say why it is short."""
        del part
        doc["code"] = "RESPONSE_FILTERED"
