"""OpenAI's legacy completions: /v1/completions."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import msgspec
from pydantic import Field

from gemma_gateway.core.dialect import Json, Message, TextPart, Where
from gemma_gateway.core.usage import Usage
from gemma_gateway.wire.numbers import MAX_TOKENS, integral, token_ids
from gemma_gateway.wire.openai import openai
from gemma_gateway.wire.openai.choices import (
    ChoiceStream,
    answer_texts,
    finish_reason,
    refuse_choice,
)
from gemma_gateway.wire.openai.errors import OpenAIDialect
from gemma_gateway.wire.openai.request import GENERATION_FIELDS, Sampling
from gemma_gateway.wire.walk import Table, asides


class _Choice(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    index: int
    text: str
    finish_reason: Any = None
    logprobs: Any = None
    stop_reason: Any = None
    prompt_token_ids: Any = None
    token_ids: Any = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice]
    usage: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode

SHAPES = "a string, a list of strings, a list of token ids, or a list of such lists"
TABLE = Table(binding=("response_format", "structured_outputs", "stop"))


class CompletionStream(ChoiceStream):
    """Reads the events of one streamed completion."""

    object_name = "text_completion"

    def __init__(self, hide_usage: bool) -> None:
        super().__init__(hide_usage)
        self._channels: dict[int, Hashable] = {}

    def fast_text(self, raw: bytes) -> tuple[Hashable, str] | None:
        try:
            chunk = _decode(raw[6:])  # after "data: "
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if len(chunk.choices) != 1 or chunk.usage is not None or chunk.error is not None:
            return None
        choice = chunk.choices[0]
        if choice.finish_reason is not None or choice.logprobs is not None or not choice.text:
            return None
        self._last = raw
        try:
            return self._channels[choice.index], choice.text
        except KeyError:
            return self._open(choice.index), choice.text

    def _open(self, index: int) -> Hashable:
        channel: Hashable = (index, "text")
        self._seen.setdefault(index, {})[channel] = None
        self._channels[index] = channel
        return channel

    def _closing_choice(self, index: int) -> Json:
        return {"index": index, "text": "", "logprobs": None, "finish_reason": None}


class CompletionRequest(Sampling):
    """OpenAI text completion."""

    prompt: str | list[str] | list[int] | list[list[int]] = Field(
        description="A text or token ids, or several of one kind; none may be empty"
    )
    max_tokens: int | None = Field(
        None, ge=0, le=2**31 - 1, description="Default and cap: the key's tier; 0 only with echo"
    )
    repetition_penalty: float | None = Field(
        None, gt=0, le=2, description="Default: the key's tier"
    )
    n: int | None = Field(None, ge=1)
    stop: str | list[str] | None = None


class Completions(OpenAIDialect):
    """The dialect of /v1/completions."""

    name = "completions"
    path = "/v1/completions"
    request_model = CompletionRequest
    operation = "text_completion"
    # OpenAI documents best_of; vLLM has dropped it
    fields = GENERATION_FIELDS | {"prompt", "suffix", "best_of"}
    streams = charged = judged = batches = scores = True
    max_tokens = ("max_tokens",)
    sampling = frozenset({"temperature", "top_p", "repetition_penalty"})

    def messages(self, body: Json) -> list[Message]:
        """Each prompt counts as a message of the user; a suffix belongs to the first."""
        if body.get("prompt_embeds") is not None:
            raise openai.invalid(
                "prompt_embeds can't be checked by the content policy; send text.", "prompt_embeds"
            )
        messages = _prompts(body)
        suffix = body.get("suffix")
        if suffix is not None:
            if not isinstance(suffix, str):
                raise openai.invalid("suffix must be a string.", "suffix")
            messages[0].texts.append(TextPart(body, "suffix", "suffix", "suffix", spoken=True))
        return messages + asides(body, TABLE)

    def token_prompts(self, body: Json) -> list[tuple[Where, list[int]]]:
        """See Dialect."""
        prompt = body["prompt"]
        if prompt.__class__ is str or prompt[0].__class__ is str:
            return []
        if prompt[0].__class__ is int:
            return [("prompt", prompt)]
        return [(("prompt", place), ids) for place, ids in enumerate(prompt)]

    def ask_usage(self, body: Json) -> bool:
        return openai.ask_usage(body)

    def answer(self, doc: Json) -> list[TextPart]:
        return answer_texts(doc)

    def usage(self, doc: Json) -> Usage | None:
        return openai.read_usage(doc)

    def finish(self, doc: Json) -> str:
        return finish_reason(doc)

    def says(self, part: TextPart) -> bool:
        return part.channel == (0, "text")

    def refuse(self, doc: Json, part: TextPart) -> None:
        refuse_choice(doc, part)

    def stream(self, hide_usage: bool) -> CompletionStream:
        return CompletionStream(hide_usage)


def _prompts(body: Json) -> list[Message]:
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        part = TextPart(body, "prompt", "prompt", "prompt", spoken=True)
        return [Message("prompt", "user", [part])]
    if not isinstance(prompt, list):
        raise openai.invalid(f"prompt must be {SHAPES}.", "prompt")
    if not prompt:
        raise openai.invalid("prompt must hold something.", "prompt")
    if integral(prompt[0]) is not None:
        body["prompt"] = token_ids(prompt, "prompt")
        return [Message("prompt", "user", [])]
    messages = []
    left = MAX_TOKENS
    for place, entry in enumerate(prompt):
        where = f"prompt.{place}"
        if entry.__class__ is not prompt[0].__class__ or not isinstance(entry, str | list):
            raise openai.invalid(f"prompt must be {SHAPES}.", where)
        texts = []
        if isinstance(entry, str):
            texts = [TextPart(prompt, place, where, where, spoken=True)]
        elif not entry:
            raise openai.invalid("A prompt must hold a token id at least.", where)
        else:
            prompt[place] = token_ids(entry, where, left)
            left -= len(entry)
        messages.append(Message(where, "user", texts))
    return messages
