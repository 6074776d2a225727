"""What can take new settings while the gateway runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gemma_gateway.settings import Settings


class Reloadable(Protocol):
    """A part that can go over to new settings."""

    async def prepare(self, settings: Settings) -> Callable[[], None]:
        """Make ready what the new settings need, and change nothing yet. Where it fails or is
        cancelled, it takes back what it has begun.

        Returns:
            Goes over to them, at once and without failing.

        Raises:
            ValueError: it can't go over to these; the text tells an operator why.
        """
        ...
