"""How many calls this process takes at once."""

from __future__ import annotations

from gemma_gateway.core.call import Call, Client
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.stage import End


class Inside:
    """The note of a call that has its place."""


INSIDE = Inside()


class Room:
    """Places of the process, each for a call whose body is here and whose answer isn't out yet:
    whoever sends nothing takes none.

    Args:
        most: places.

    Attributes:
        most: as given.
        taken: places that are taken.
    """

    name = "body"

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0

    def enter(self, call: Call, client: Client) -> None:
        """See ``Stage``; raises ENGINE_OVERLOADED."""
        if self.taken >= self.most:
            raise GatewayError(Code.ENGINE_OVERLOADED)
        self.taken += 1
        call.notes[Inside] = INSIDE

    def settle(self, call: Call, end: End) -> None:
        """See ``Observer``."""
        if call.notes.pop(Inside, None) is not None:
            self.taken -= 1
