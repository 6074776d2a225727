"""OpenAI's chat completions: /v1/chat/completions."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import msgspec
from pydantic import Field

from gemma_gateway.core.dialect import Json, Message, TextPart
from gemma_gateway.core.usage import Usage
from gemma_gateway.wire.openai import openai
from gemma_gateway.wire.openai.chat_request import ChatMessage, prepend, read_messages
from gemma_gateway.wire.openai.choices import (
    ChoiceStream,
    answer_texts,
    finish_reason,
    refuse_choice,
)
from gemma_gateway.wire.openai.errors import OpenAIDialect
from gemma_gateway.wire.openai.request import GENERATION_FIELDS, Prompt, Sampling

# Where the first choice keeps what is said, whole and in a stream.
SAID = ((0, "message", "content"), (0, "delta", "content"))


class _Delta(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Any = None
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    index: int
    delta: _Delta
    finish_reason: Any = None
    logprobs: Any = None
    stop_reason: Any = None
    token_ids: Any = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice]
    usage: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


class ChatStream(ChoiceStream):
    """Reads the events of one streamed chat answer."""

    object_name = "chat.completion.chunk"

    def __init__(self, hide_usage: bool) -> None:
        super().__init__(hide_usage)
        self._channels: dict[tuple[int, str], Hashable] = {}

    def fast_text(self, raw: bytes) -> tuple[Hashable, str] | None:
        try:
            chunk = _decode(raw[6:])  # after "data: "
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None  # a tool call, a field that is new to us, [DONE]
        if len(chunk.choices) != 1 or chunk.usage is not None or chunk.error is not None:
            return None
        choice = chunk.choices[0]
        delta, field = choice.delta, "content"
        text = delta.content
        if delta.reasoning is not None or delta.reasoning_content is not None:
            both = text is not None or delta.reasoning_content is not None
            text, field = ("", "") if both else (delta.reasoning, "reasoning")
        if not text or choice.finish_reason is not None or choice.logprobs is not None:
            return None
        self._last = raw
        try:
            return self._channels[choice.index, field], text
        except KeyError:
            return self._open(choice.index, field), text

    def _open(self, index: int, field: str) -> Hashable:
        channel: Hashable = (index, "delta", field)
        self._seen.setdefault(index, {})[channel] = None
        self._channels[index, field] = channel
        return channel

    def _closing_choice(self, index: int) -> Json:
        return {"index": index, "delta": {}, "logprobs": None, "finish_reason": None}


class ChatCompletionRequest(Sampling):
    """OpenAI chat completion; vLLM's own parameters are allowed too."""

    messages: list[ChatMessage] | None = Field(
        None, min_length=1, description="May only be left out with prompt"
    )
    prompt: Prompt | None = Field(None, description="A preset: its messages come first")
    max_completion_tokens: int | None = Field(
        None, ge=1, le=2**31 - 1, description="Default and cap: the key's tier"
    )
    max_tokens: int | None = Field(None, ge=1, le=2**31 - 1, description="Older name of this field")
    repetition_penalty: float | None = Field(
        None, gt=0, le=2, description="Default: the key's tier"
    )
    n: int | None = Field(None, ge=1)
    stop: str | list[str] | None = None
    seed: int | None = None
    logprobs: bool | None = None
    tools: list[dict[str, Any]] | None = None
    response_format: dict[str, Any] | None = None
    stream_options: dict[str, Any] | None = None


class Chat(OpenAIDialect):
    """The dialect of /v1/chat/completions."""

    name = "chat"
    path = "/v1/chat/completions"
    request_model = ChatCompletionRequest
    operation = "chat"
    fields = GENERATION_FIELDS | {
        *("messages", "max_completion_tokens", "top_logprobs", "reasoning_effort"),
        *("include_reasoning", "tools", "tool_choice", "parallel_tool_calls", "documents"),
        *("chat_template_kwargs", "add_generation_prompt", "continue_final_message"),
        "prompt",  # the preset to begin with: it ends here
        "metadata",  # of OpenAI: labels for whoever reads the server's log
    }
    streams = charged = judged = presets = True
    # vLLM goes by the newer one, Ollama knows only the older.
    max_tokens = ("max_tokens", "max_completion_tokens")
    sampling = frozenset({"temperature", "top_p", "repetition_penalty"})

    def messages(self, body: Json) -> list[Message]:
        return read_messages(body)

    def prepend(self, body: Json, messages: list[Message], turns: list[Json]) -> dict[str, str]:
        return prepend(body, messages, turns)

    def ask_usage(self, body: Json) -> bool:
        return openai.ask_usage(body)

    def answer(self, doc: Json) -> list[TextPart]:
        return answer_texts(doc)

    def usage(self, doc: Json) -> Usage | None:
        return openai.read_usage(doc)

    def finish(self, doc: Json) -> str:
        return finish_reason(doc)

    def says(self, part: TextPart) -> bool:
        return part.channel in SAID

    def refuse(self, doc: Json, part: TextPart) -> None:
        refuse_choice(doc, part)

    def stream(self, hide_usage: bool) -> ChatStream:
        return ChatStream(hide_usage)
