"""What the composition root starts and stops."""

from __future__ import annotations

from typing import Protocol


class Part(Protocol):
    """A part of the gateway that lives from ``start`` to ``stop``.

    A part whose ``start`` raises is not stopped: it cleans up after itself.
    """

    async def start(self) -> None:
        """Begin; what goes on in the background goes on until ``stop``."""
        ...

    async def stop(self) -> None:
        """End what ``start`` began, and wait until it has ended. Idempotent."""
        ...
