"""How many calls each caller has in flight in this process."""

from __future__ import annotations

from app.call import Call, Principal
from app.errors import Code, GatewayError


class Places:
    """A place for each call in flight, as many for each key as its tier's ``max_in_flight``.

    A call holds its place from the moment at which its key is known, so that bodies that arrive
    slowly count too. Keys without a call in flight take no memory.

    Attributes:
        refused: calls that found no place, since the start.
    """

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self.refused = 0

    def take(self, call: Call, principal: Principal) -> None:
        """Give a call a place.

        Raises:
            GatewayError: RATE_LIMIT_EXCEEDED: its key has too many calls in flight already.
        """
        key_id, most = principal.key_id, principal.tier.max_in_flight
        held = self._held.get(key_id, 0)
        if most and held >= most:
            self.refused += 1
            raise GatewayError(
                Code.RATE_LIMIT_EXCEEDED,
                f"This key has {held} calls in flight, and its tier allows {most} at once; try "
                "again when one of them is over.",
                headers={"retry-after": "1"},
            )
        self._held[key_id] = held + 1
        call.placed = True

    def leave(self, call: Call) -> None:
        """The call is over, however it ended; one without a place changes nothing."""
        if not call.placed or call.principal is None:
            return
        call.placed = False
        key_id = call.principal.key_id
        held = self._held[key_id]
        if held > 1:
            self._held[key_id] = held - 1
        else:
            del self._held[key_id]

    def held(self, principal: Principal) -> int:
        """Calls of this key that are in flight in this process."""
        return self._held.get(principal.key_id, 0)

    def __len__(self) -> int:
        return len(self._held)
