"""What a check of one image or sound finds, as a worker tells it to the gateway."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

# How a check ended, for metrics: let through, as it is or made anew; or why it was refused.
Outcome = Literal[
    "ok", "cleaned",
    "base64", "bytes", "type", "pixels", "frames", "seconds", "rate", "empty", "broken", "memory",
    "timeout", "died", "unable",
    "modality", "count", "url", "fetch",
]  # fmt: skip
# By content; empty: it may not go on.
MediaType = Literal["", "image/png", "image/jpeg", "image/gif", "image/webp", "audio/wav"]
OUTCOMES: frozenset[str] = frozenset(get_args(Outcome))


class Checked(NamedTuple):
    """What may go on to an engine.

    Args:
        media_type: by its content, such as ``image/png``.
        data: the file, where it isn't as it was; None: byte for byte what was checked.
        seconds: of a sound.
    """

    media_type: MediaType
    data: bytes | None = None
    seconds: float = 0.0


class Refused(Exception):
    """It may not.

    Args:
        outcome: why, for metrics.
        text: why, for the client.
    """

    def __init__(self, outcome: Outcome, text: str) -> None:
        super().__init__(text)
        self.outcome = outcome
        self.text = text
