"""What the keys of one tier may use."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from gemma_gateway.settings.fields import Strict

MOST_REQUESTS = 1_000_000  # in a window: 8 MB of the store for each key that makes so many
MOST_TOKENS = 100_000_000
MOST_STOPS = 64  # each is looked for at every token


def _off(value: Any) -> Any:
    """YAML 1.1 reads a bare ``off`` as false."""
    return "off" if value is False else value


Sanitising = Annotated[Literal["strip", "flag", "off"], BeforeValidator(_off)]
PolicyMode = Annotated[Literal["block", "flag", "off"], BeforeValidator(_off)]


class Window(Strict):
    """A sliding window: at most ``limit`` requests in any ``seconds`` long stretch of time."""

    limit: int = Field(ge=1, le=MOST_REQUESTS)
    seconds: int = Field(ge=1, le=31 * 86_400)


class AudioWindow(Window):
    """A sliding window of audio: at most ``audio_seconds`` of it in any ``seconds``."""

    limit: int = Field(alias="audio_seconds", ge=1, le=MOST_REQUESTS)


class Tier(Strict):
    """What the keys of one tier may use."""

    windows: tuple[Window, ...] = Field(
        default=(),
        max_length=8,
        description=("Sliding windows, all of which must have room; empty: requests_per_hour"),
    )
    audio_windows: tuple[AudioWindow, ...] = Field(
        default=(),
        max_length=8,
        description="Sliding windows of seconds of audio, such as {audio_seconds: 36000, seconds: "
        "3600}, ten hours of it in any hour; empty: no bound",
    )
    max_tokens_default: int | None = Field(
        512,
        ge=1,
        le=MOST_TOKENS,
        description="Answer length when none is asked for, tokens; null: max_tokens_cap",
    )
    max_tokens_cap: int | None = Field(
        1024,
        ge=1,
        le=MOST_TOKENS,
        description="Largest answer length, tokens; null: what the model's context holds",
    )
    temperature: float | None = Field(
        0.7, ge=0, le=2, description="Used where the client sends none; null: the model's own"
    )
    top_p: float | None = Field(
        0.9, gt=0, le=1, description="Used where the client sends none; null: the model's own"
    )
    repetition_penalty: float | None = Field(
        1.05, gt=0, le=2, description="Used where the client sends none; null: the model's own"
    )
    max_messages: int | None = Field(
        50, ge=1, description="Messages, prompts or input items in one call; null: any number"
    )
    max_message_chars: int | None = Field(
        8192, ge=1, description="Characters of one message, after sanitising; null: any number"
    )
    max_images: int = Field(8, ge=0, le=256, description="Images in one call; 0: none")
    max_audio_seconds: int = Field(
        600, ge=0, description="Seconds of all sounds in one call together; 0: no sound"
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
    sanitise: Sanitising = Field(
        "strip",
        description=(
            "Active content and hidden characters in messages: strip removes them, flag only "
            "tells of them, off leaves them (docs/api.md)"
        ),
    )
    policy: PolicyMode = Field(
        "block",
        description=(
            "The term policy: block does what the policy file says, flag only notes what would be "
            "blocked, off judges nothing"
        ),
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


# The tiers that are always there. One that an operator sets under such a name starts from these
# fields, and changes those that it names.
BUILT_IN: dict[str, dict[str, Any]] = {
    "default": {},
    # For agents, retrieval and development: the body's size and the model's context are the bounds.
    "open": {
        "windows": ({"limit": 100_000, "seconds": 3600},),
        "max_tokens_default": None,
        "max_tokens_cap": None,
        "temperature": None,
        "top_p": None,
        "repetition_penalty": None,
        "max_messages": None,
        "max_message_chars": None,
        "sanitise": "off",
        "policy": "flag",
    },
}
