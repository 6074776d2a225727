"""Bounds on logprobs of a prompt.

For them vLLM holds the logits of every prompt token over the whole vocabulary at once, several
times over: 3.7 MB a token with Gemma's, so an ordinary prompt can end the engine's process.
"""

from __future__ import annotations

from typing import Any

import orjson

from gemma_gateway.core.dialect import Dialect, Json
from gemma_gateway.settings import Tier
from gemma_gateway.validation.parameters import invalid

_PROMPT = ("prompt", "suffix", "messages", "tools", "documents", "chat_template_kwargs")
_TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal", "thinking"})


def check_prompt_logprobs(dialect: Dialect, body: Json, tier: Tier) -> int:
    """Refuse logprobs of the prompt, or bound the prompt where the tier takes them.

    Returns:
        How many tokens the prompt has at most, times ``n``; 0: nobody asks for their logprobs.

    Raises:
        GatewayError: VALIDATION_ERROR naming the field that asks for them.
    """
    field = _asked(dialect, body)
    if not field:
        return 0
    most = tier.prompt_logprobs_tokens
    if not most:
        raise invalid(
            f"{field}: logprobs of the prompt are off for this key: leave it out, or have the "
            "operator set prompt_logprobs_tokens in its tier.",
            field,
        )
    if any(map(_holds_media, body.get("messages") or ())):
        raise invalid(f"{field} is accepted only for prompts of text alone.", field)
    # No text has more tokens than bytes; its quotes pay for the tokens of the chat template.
    size: int = len(orjson.dumps({key: body[key] for key in _PROMPT if key in body}))
    size *= max(body.get("n") or 1, body.get("best_of") or 1)
    if size > most:
        raise invalid(
            f"{field}: the prompt as JSON, times n, may have {most} bytes, and has {size}.",
            field,
        )
    return size


def _asked(dialect: Dialect, body: Json) -> str:
    """The field that asks for logprobs of the prompt; empty: none does."""
    if body.get("prompt_logprobs") is not None:  # 0 asks for those of the prompt's own tokens
        return "prompt_logprobs"
    if not body.get("echo"):
        return ""
    # Where there is top_logprobs (chat), vLLM goes by that, 0 by default; else by logprobs.
    by_default = dialect.fields.issuperset(("echo", "top_logprobs"))
    return "echo" if by_default or body.get("logprobs") is not None else ""


def _holds_media(message: Any) -> bool:
    content = message.get("content") if isinstance(message, dict) else None
    parts = content if isinstance(content, list) else ()
    return any(isinstance(part, dict) and part.get("type") not in _TEXT_PARTS for part in parts)
