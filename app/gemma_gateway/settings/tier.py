"""What the keys of one tier may use."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gemma_gateway.settings.fields import Strict

MOST_REQUESTS = 1_000_000  # in a window: 8 MB of the store for each key that makes so many
MOST_TOKENS = 100_000_000
MOST_STOPS = 64  # each is looked for at every token


class Window(Strict):
    """A sliding window: at most ``limit`` requests in any ``seconds`` long stretch of time."""

    limit: int = Field(ge=1, le=MOST_REQUESTS)
    seconds: int = Field(ge=1, le=31 * 86_400)


class Tier(Strict):
    """What the keys of one tier may use."""

    windows: tuple[Window, ...] = Field(
        default=(),
        max_length=8,
        description=("Sliding windows, all of which must have room; empty: requests_per_hour"),
    )
    max_tokens_default: int = Field(
        512, ge=1, le=MOST_TOKENS, description="Answer length when none is asked for, tokens"
    )
    max_tokens_cap: int = Field(
        1024, ge=1, le=MOST_TOKENS, description="Largest answer length, tokens"
    )
    temperature: float = Field(0.7, ge=0, le=2, description="Used where the client sends none")
    top_p: float = Field(0.9, gt=0, le=1, description="Used where the client sends none")
    repetition_penalty: float = Field(
        1.05, gt=0, le=2, description="Used where the client sends none"
    )
    max_messages: int = Field(50, ge=1, description="Messages, prompts or input items in one call")
    max_message_chars: int = Field(
        8192, ge=1, description="Characters of one message, after sanitising"
    )
    max_choices: int = Field(8, ge=1, description="Largest n, best_of and prompts in one call")
    max_stop: int = Field(
        4,
        ge=1,
        le=MOST_STOPS,
        description="Stop strings of one call; servers of vLLM take more than 4 where their "
        "VLLM_MAX_STOP_STRINGS says so",
    )
    max_in_flight: int = Field(
        256,
        ge=0,
        description="Calls of one key in flight in one process; 0: no limit but "
        "GATEWAY_MAX_IN_FLIGHT, which one key could then use up",
    )
    too_long: Literal["reject", "truncate"] = Field(
        "reject", description="What happens to a longer message"
    )
    thinking: Literal["pass", "drop"] = Field(
        "pass",
        description="What becomes of thinking: {type: enabled} and thinking_token_budget; pass: "
        "the engine refuses them where its model has no extended thinking",
    )
    grammars: bool = Field(
        False,
        description=(
            "Accept regular expressions and grammars that bind an answer, within bounds "
            "(docs/constraints.md)"
        ),
    )
    prompt_logprobs_tokens: int = Field(
        0,
        ge=0,
        description=(
            "Tokens of prompts with prompt_logprobs or echo that one key may have in flight in "
            "one process; each takes 3.7 MB of the engine's memory with Gemma's vocabulary; 0: "
            "refused"
        ),
    )
    quality_sample: float = Field(
        0.0, ge=0, le=1, description="Share of the calls whose answers are judged: 0 none, 1 all"
    )
