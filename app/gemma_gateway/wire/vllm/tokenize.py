"""vLLM's tokenizer routes: /tokenize and /detokenize. They generate nothing."""

from __future__ import annotations

from gemma_gateway.core.dialect import AnswerStream, Json, Message, Slot
from gemma_gateway.core.errors import GatewayError
from gemma_gateway.core.usage import Usage
from gemma_gateway.wire.openai import openai
from gemma_gateway.wire.openai.chat_request import read_messages

MAX_TOKENS = 131_072  # token ids in one call: Gemma's longest context
MAX_TOKEN_ID = 2**31 - 1


class _Tokenizer:
    """What both routes share."""

    generates = False
    sampling: frozenset[str] = frozenset()

    def max_tokens_key(self, body: Json) -> str:
        del body
        return ""

    def ask_usage(self, body: Json) -> bool:
        del body
        return False

    def usage(self, doc: Json) -> Usage | None:
        del doc
        return None

    def finish(self, doc: Json) -> str:
        del doc
        return ""

    def stream(self, hide_usage: bool) -> AnswerStream:
        """Never called: validation lets no ``stream`` through on these routes."""
        raise openai.invalid("This route does not stream.", "stream")

    def error(self, error: GatewayError, request_id: str) -> bytes:
        return openai.error_body(error, request_id)


class Tokenize(_Tokenizer):
    """The dialect of /tokenize: text to token ids."""

    name = "tokenize"
    path = "/tokenize"

    def messages(self, body: Json) -> list[Message]:
        if body.get("messages") is not None:
            if body.get("prompt") is not None:
                raise openai.invalid("Send either a prompt or messages, not both.", "prompt")
            return read_messages(body)
        if not isinstance(body.get("prompt"), str):
            raise openai.invalid("Send a prompt (a string) or messages.", "prompt")
        return [Message("prompt", "user", [Slot(body, "prompt", "prompt", "prompt")])]

    def answer(self, doc: Json) -> list[Slot]:
        """None: the answer says the client's own text again, token by token."""
        del doc
        return []

    def refuse(self, doc: Json, slot: Slot) -> None:
        """Nothing to end: ``answer`` gives no text."""


class Detokenize(_Tokenizer):
    """The dialect of /detokenize: token ids to text."""

    name = "detokenize"
    path = "/detokenize"

    def messages(self, body: Json) -> list[Message]:
        """One message without text: what the ids say is judged in the answer."""
        tokens = body.get("tokens")
        if not isinstance(tokens, list):
            raise openai.invalid("tokens must be a list of token ids.", "tokens")
        if len(tokens) > MAX_TOKENS:
            raise openai.invalid(f"tokens holds more than {MAX_TOKENS} ids.", "tokens")
        for place, token in enumerate(tokens):
            if token.__class__ is not int or not 0 <= token <= MAX_TOKEN_ID:
                raise openai.invalid("A token id must be an integer from 0.", f"tokens.{place}")
        return [Message("tokens", "user", [])]

    def answer(self, doc: Json) -> list[Slot]:
        return [Slot(doc, "prompt", "prompt", "prompt")] if "prompt" in doc else []

    def refuse(self, doc: Json, slot: Slot) -> None:
        """The text was cut already; say why it is short."""
        del slot
        doc["code"] = "RESPONSE_FILTERED"
