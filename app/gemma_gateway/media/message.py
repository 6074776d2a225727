"""What the gateway and a worker say to each other; see ``media.worker``."""

from __future__ import annotations

import msgspec

from gemma_gateway.media.check import MediaType, Outcome


class Question(msgspec.Struct, omit_defaults=True):
    """A file to be checked.

    Args:
        kind: ``image``.
        size: bytes that follow.
        base64: they are base64.
    """

    kind: str
    size: int
    base64: bool = False


class Answer(msgspec.Struct, omit_defaults=True):
    """What it is.

    Args:
        outcome: of the check.
        media_type: of what may go on.
        text: why it is refused.
        size: bytes that follow: in base64, what is to go on. 0: what came, as it is.
    """

    outcome: Outcome
    media_type: MediaType = ""
    text: str = ""
    size: int = 0
