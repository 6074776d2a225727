"""Prompts that don't fit a model's context: how servers say so, and how clients hear of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gemma_gateway.core.errors import Code, GatewayError

# OpenAI's code, and llama.cpp's type.
CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
# Texts of vLLM 0.32 (renderers/params.py, v1/engine/input_processor.py, entrypoints), SGLang,
# llama.cpp, Ollama, TGI and Anthropic.
_TEXT = re.compile(
    r"maximum context length|maximum model length|exceeds the max_model_len|model's context length"
    r"|max context length|available context size|exceeds? the context (?:length|window|size)"
    r"|exceeds? context limit|`inputs` tokens \+ `max_new_tokens`|prompt is too long",
    re.IGNORECASE,
)
_MAXIMUM = re.compile(
    r"(?:(?:context|model) length(?: is| of)?|max_model_len|context size|must be <=|tokens >)"
    r" \(?(\d{1,9})\b",
    re.IGNORECASE,
)
# All that was asked for; or else the prompt, and what the answer may add to it.
_TOTAL = re.compile(r"requested (?:a total of )?(\d{1,9}) tokens", re.IGNORECASE)
_PROMPT = re.compile(
    r"(\d{1,9}) (?:input tokens|tokens >)|length \(?(\d{1,9})\)? (?:is|exceeds)"
    r"|(?:resulted in|prompt contains(?: at least)?|request \(|input \(|Given:) ?(\d{1,9}) "
    r"(?:tokens|`inputs`)",
    re.IGNORECASE,
)
_ANSWER = re.compile(r"(\d{1,9}) (?:output tokens|`max_new_tokens`)", re.IGNORECASE)


class ContextExceeded(GatewayError):
    """CONTEXT_LENGTH_EXCEEDED, with its figures, in the words that OpenAI's clients look for.

    Args:
        maximum: tokens of the context; 0: not told.
        prompt: tokens of the prompt, or all that were asked for; 0: not told. It may be less than
            it really is: most servers stop counting.
        answer: tokens that were asked for besides; 0: not told.
    """

    def __init__(self, maximum: int = 0, prompt: int = 0, answer: int = 0) -> None:
        self.maximum = maximum
        self.tokens = max(prompt + answer, maximum + 1)
        if not maximum:
            words = "is exceeded. Please shorten the prompt."
        elif prompt and answer:
            words = (
                f"is {maximum} tokens. However, you requested {self.tokens} tokens ({prompt} in "
                f"the prompt, {answer} for the answer). Please shorten the prompt or the answer."
            )
        else:
            words = (
                f"is {maximum} tokens. However, your prompt resulted in {self.tokens} tokens. "
                "Please shorten it."
            )
        super().__init__(
            Code.CONTEXT_LENGTH_EXCEEDED, f"This model's maximum context length {words}"
        )


def find(error: Mapping[str, Any]) -> ContextExceeded | None:
    """What a server's error object says of the context; None: it is about something else."""
    text = error.get("message")
    text = text[:2000] if isinstance(text, str) else ""
    told = [error.get(name) for name in ("code", "type")]
    if not any(isinstance(t, str) and t in CODES for t in told) and not _TEXT.search(text):
        return None
    maximum = _number(_MAXIMUM, text)
    if not maximum:
        return ContextExceeded()
    if total := _number(_TOTAL, text):
        return ContextExceeded(maximum, total)
    return ContextExceeded(maximum, _number(_PROMPT, text), _number(_ANSWER, text))


def _number(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.search(text)
    return next((int(group) for group in found.groups() if group), 0) if found else 0
