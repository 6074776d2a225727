"""Which preset a call was made with."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

NO_PLACES: Mapping[str, str] = MappingProxyType({})


class UsedPrompt(NamedTuple):
    """A note of a call (``Call.notes``) whose ``prompt`` names a preset.

    Args:
        id: of the preset, at most 64 letters, digits and hyphens.
        version: of it, at most 32 characters.
        places: of messages in the body as the engine gets it; each with the place by which the
            client knows it.
    """

    id: str
    version: str
    places: Mapping[str, str] = NO_PLACES


NO_PROMPT = UsedPrompt("", "")
