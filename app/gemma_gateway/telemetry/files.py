"""Tells when the process has run out of file descriptors.

Neither uvloop nor its callers do: it accepts the new connection with a descriptor kept for that,
closes it at once, and the client sees a reset.
"""

from __future__ import annotations

from gemma_gateway.core import openfiles
from gemma_gateway.core.periodic import Periodic
from gemma_gateway.telemetry.log import logger

INTERVAL = 1.0  # seconds between two looks
LINE_EVERY = 60  # looks between two lines in the log while it lasts


class OpenFiles:
    """Looks once a second whether one more could be opened.

    Attributes:
        exhausted: looks that found none left, since the start: about the seconds that it lasted.
    """

    def __init__(self) -> None:
        self._in_a_row = 0
        self._looking = Periodic(self._look, INTERVAL, "open files can't be looked at")
        self.exhausted = 0

    async def start(self) -> None:
        """Begin to look."""
        await self._looking.start()

    async def stop(self) -> None:
        """Look no more. Idempotent."""
        await self._looking.stop()

    async def _look(self) -> None:
        if not openfiles.exhausted():
            self._in_a_row = 0
            return
        if self._in_a_row % LINE_EVERY == 0:
            logger.error(
                "no file descriptor is left: new connections are reset; raise the limit "
                "(ulimit -n; systemd: LimitNOFILE), or lower GATEWAY_MAX_IN_FLIGHT"
            )
        self._in_a_row += 1
        self.exhausted += 1
