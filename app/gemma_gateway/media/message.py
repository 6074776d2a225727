"""What the gateway and a worker say to each other; see ``media.worker``."""

from __future__ import annotations

import msgspec

from gemma_gateway.media.check import MediaType, Outcome


class Question(msgspec.Struct, omit_defaults=True):
    """A file to be checked.

    Args:
        kind: ``image`` or ``audio``.
        size: bytes that follow.
        base64: they are base64.
        plain: what may go on is wanted as it is, not in base64.
    """

    kind: str
    size: int
    base64: bool = False
    plain: bool = False


class Answer(msgspec.Struct, omit_defaults=True):
    """What it is.

    Args:
        outcome: of the check.
        media_type: of what may go on.
        text: why it is refused.
        size: bytes that follow: what is to go on. 0: what came, as it is.
        seconds: of a sound.
    """

    outcome: Outcome
    media_type: MediaType = ""
    text: str = ""
    size: int = 0
    seconds: float = 0.0
