"""What a key has used and may still use: the answer of ``/v1/usage``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from pydantic import BaseModel, Field

_COUNTS = ("calls", "prompt", "completion", "cached")


class Tokens(BaseModel):
    """Calls and tokens that the engines really read and wrote."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    total_tokens: int = Field(0, description="prompt_tokens + completion_tokens")


class Period(Tokens):
    """The same over a stretch of time, and by model."""

    models: dict[str, Tokens] = Field(default_factory=dict)


class WindowUsage(BaseModel):
    """One limit of the caller's tier."""

    limit: int
    seconds: int
    remaining: int
    reset_seconds: float = Field(description="Until its oldest request leaves; 0 when empty")


class UsageReport(BaseModel):
    """What a key has used and may still use."""

    requests_last_hour: int
    remaining_requests: int = Field(description="Of the tightest window")
    reset_time: str | None = Field(
        description=(
            "When the oldest request in the tightest window expires: ISO 8601, UTC; "
            "null when nothing is counted"
        )
    )
    windows: list[WindowUsage]
    audio_windows: list[WindowUsage] = Field(
        description="The same of seconds of audio; empty: the tier has none"
    )
    in_flight: int = Field(0, description="Its calls in flight in the answering process")
    max_in_flight: int = Field(0, description="Most it may have; 0: the tier sets no limit")
    today: Period = Field(description="Since midnight UTC")
    all_time: Period
    degraded: bool = Field(
        description="The store is unavailable: this process's own counts, not those of the others"
    )


def period(counts: Mapping[str, int]) -> Period:
    """The sums in a caller's counts.

    Args:
        counts: by ``KIND:MODEL``; kinds are ``calls``, ``prompt``, ``completion``, ``cached``.
    """
    models: dict[str, Counter[str]] = {}
    for name, amount in counts.items():
        kind, _, model = name.partition(":")
        models.setdefault(model, Counter())[kind] += amount
    whole: Counter[str] = Counter()
    for sums in models.values():
        whole.update(sums)
    by_model = {model: Tokens(**_fields(sums)) for model, sums in sorted(models.items())}
    return Period(**_fields(whole), models=by_model)


def _fields(sums: Counter[str]) -> dict[str, int]:
    calls, prompt, completion, cached = (sums[kind] for kind in _COUNTS)
    return {
        "calls": calls,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "cached_tokens": cached,
        "total_tokens": prompt + completion,
    }
