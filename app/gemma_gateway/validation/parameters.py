"""Bounds on the plain fields of a request: numbers, switches, and lists of short things."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.wire.numbers import integral, token_ids

MAX_STRING_CHARS = 256  # a stop string or bad word
MOST_NAMED = 5  # in an error's text
_STREAM_OPTIONS = frozenset({"include_usage", "continuous_usage_stats", "include_obfuscation"})

# Returns the value as engines get it; None: as if the field had not been sent.
Check = Callable[[str, Any], Any]


def invalid(message: str, param: str, reason: str = "invalid_value") -> GatewayError:
    """A VALIDATION_ERROR about one field; for ``reason`` see ``GatewayError``."""
    return GatewayError(Code.VALIDATION_ERROR, message, param=param, reason=reason)


def integer(low: int, high: int) -> Check:
    """A whole number within bounds; a JSON boolean is none."""

    def check(key: str, value: Any) -> int:
        whole = integral(value)
        if whole is None or not low <= whole <= high:
            raise invalid(f"{key} must be an integer from {low} to {high}.", key)
        return whole

    return check


def number(low: float, high: float, *, above: bool = False) -> Check:
    """A finite number within bounds; ``above``: greater than ``low``."""

    def check(key: str, value: Any) -> Any:
        plain = value.__class__ is float or value.__class__ is int
        if not plain or not isfinite(value) or not low <= value <= high or (above and value <= low):
            start = f"above {low:g}" if above else f"from {low:g}"
            raise invalid(f"{key} must be a number {start} to {high:g}.", key)
        return value

    return check


def boolean(key: str, value: Any) -> Any:
    if value.__class__ is not bool:
        raise invalid(f"{key} must be true or false.", key)
    return value


def flag_or_count(key: str, value: Any) -> Any:
    """``logprobs``: a boolean in chat, how many in completions."""
    return value if value.__class__ is bool else integer(0, 20)(key, value)


def strings(most: int, more: str = "") -> Check:
    """A short string, or a list of at most ``most`` of them. Empty ones say nothing.

    Args:
        more: how to have more of them.
    """

    def check(key: str, value: Any) -> Any:
        listed = [value] if value.__class__ is str else value
        if listed.__class__ is not list or len(listed) > most:
            raise invalid(f"{key} must hold at most {most} strings{more}.", key)
        for text in listed:
            if text.__class__ is not str or len(text) > MAX_STRING_CHARS:
                raise invalid(
                    f"{key} accepts strings of at most {MAX_STRING_CHARS} characters.", key
                )
        return value if all(listed) and listed else [text for text in listed if text] or None

    return check


def token_list(key: str, value: Any) -> list[int]:
    return token_ids(value, key, 1024)


def logit_bias(key: str, value: Any) -> Any:
    if value.__class__ is not dict or len(value) > 1024:
        raise invalid(f"{key} must be an object with at most 1024 entries.", key)
    wrong = [token for token in value if not token.isdecimal() or len(token) > 10]
    if wrong:
        named = ", ".join(repr(token[:32]) for token in wrong[:MOST_NAMED])
        words = f"{key} must map token ids to numbers, and has keys that are none: {named}."
        raise invalid(words, f"{key}.{wrong[0]}")
    for token, bias in value.items():
        number(-100, 100)(f"{key}.{token}", bias)
    return value


def stream_options(key: str, value: Any) -> Any:
    if value.__class__ is not dict:
        raise invalid(f"{key} must be an object.", key)
    for name, item in value.items():
        if name not in _STREAM_OPTIONS:
            raise invalid(f"{key} accepts {', '.join(sorted(_STREAM_OPTIONS))}.", key)
        if item is not None:
            boolean(f"{key}.{name}", item)
    return value


def repetition_detection(key: str, value: Any) -> Any:
    """Each new token is compared with patterns up to that size, in the engine's own loop: with 32
    that takes 0.4 ms a token at worst, with 256 it takes 6."""
    if value.__class__ is not dict:
        raise invalid(f"{key} must be an object.", key)
    return {
        name: integer(0, 32 if name.endswith("_size") else 256)(f"{key}.{name}", item)
        for name, item in value.items()
        if item is not None
    }


def thinking(key: str, value: Any) -> Any:
    """Anthropic's ``{type: enabled, budget_tokens: 1024}``: the engine knows its types."""
    if value.__class__ is not dict:
        raise invalid(f"{key} must be an object.", key)
    if value.get("budget_tokens") is None:
        return value
    budget = integer(1024, 2**31 - 1)(f"{key}.budget_tokens", value["budget_tokens"])
    return {**value, "budget_tokens": budget}


# Bounds of OpenAI's and vLLM's documentation; where vLLM takes "all" (-1 logprobs: the whole
# vocabulary for each token), ours end at 20.
CHECKS: dict[str, Check] = {
    "temperature": number(0, 2),
    "top_p": number(0, 1, above=True),
    "min_p": number(0, 1),
    "repetition_penalty": number(0, 2, above=True),
    "presence_penalty": number(-2, 2),
    "frequency_penalty": number(-2, 2),
    "length_penalty": number(-10, 10),
    "top_k": integer(-1, 2**31 - 1),
    "seed": integer(-(2**63), 2**63 - 1),
    "logprobs": flag_or_count,
    "top_logprobs": integer(0, 20),
    "prompt_logprobs": integer(0, 20),
    "truncate_prompt_tokens": integer(-1, 2**31 - 1),
    "stream_interval": integer(1, 1024),
    "bad_words": strings(128),
    "stop_token_ids": token_list,
    "allowed_token_ids": token_list,
    "logit_bias": logit_bias,
    "stream": boolean,
    "stream_options": stream_options,
    "repetition_detection": repetition_detection,
    "thinking": thinking,
    "max_tool_calls": integer(0, 2**31 - 1),
    "ignore_eos": boolean,
    "echo": boolean,
    "skip_special_tokens": boolean,
    "include_stop_str_in_output": boolean,
}
