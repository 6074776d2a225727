"""Request bodies that are still arriving: how long one may take, and how much all may hold.

They hold no place in the process and no place in a rate limit yet, so these bounds are theirs.
"""

from __future__ import annotations

from gemma_gateway.core.errors import Code, GatewayError

SECONDS = 20.0  # for a call until its body is here, and one more for each ...
RATE = 16 * 1024  # ... bytes of it. Source of both: Apache's mod_reqtimeout, with a higher rate
CALLER_BYTES = 32 * 1024 * 1024  # of one key's bodies
BODIES = 4  # of the largest size that a key may always have under way
CALLERS = 4  # keys at their bound together fill the whole


def patience(size: int) -> float:
    """Seconds that a call may have taken when ``size`` bytes of its body are here."""
    return SECONDS + size / RATE


class Intake:
    """Counts the bytes of unfinished bodies by key; bodies that come in one piece aren't seen.

    Args:
        body_bytes: largest body.
        until_over: they count until their call is over: files, which are kept until then.
    """

    def __init__(self, body_bytes: int, *, until_over: bool = False) -> None:
        self.body_bytes = body_bytes
        self.until_over = until_over
        self._caller = max(CALLER_BYTES, BODIES * body_bytes)
        self._all = CALLERS * self._caller
        self._held: dict[str, int] = {}
        self.total = 0

    def take(self, key_id: str, size: int) -> None:
        """A part of a body is here, and more will come.

        Raises:
            GatewayError: it can't be held; nothing was counted.
        """
        held = self._held.get(key_id, 0) + size
        if held > self._caller:
            message = (
                f"Request bodies of this key hold {self._caller} bytes already; send fewer at once."
            )
            raise GatewayError(Code.RATE_LIMIT_EXCEEDED, message)
        if self.total + size > self._all:
            raise GatewayError(Code.ENGINE_OVERLOADED)
        self._held[key_id] = held
        self.total += size

    def give_back(self, key_id: str, size: int) -> None:
        """A body is whole, or won't be: what was taken for it counts no more."""
        self.total -= size
        left = self._held.get(key_id, 0) - size
        if left > 0:
            self._held[key_id] = left
        else:
            self._held.pop(key_id, None)
