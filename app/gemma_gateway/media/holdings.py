"""What calls in flight hold of files that are larger here than they were in their requests."""

from __future__ import annotations

from gemma_gateway.core.call import Call
from gemma_gateway.core.errors import Code, GatewayError

CALLERS = 2  # keys at their bound together fill the whole


class Held:
    """What a call holds; a note of the call.

    Args:
        size: bytes.
    """

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0


class Holdings:
    """Counts the bytes of fetched images and decoded sounds, by key.

    Args:
        most: bytes that all calls may hold together.

    Attributes:
        total: bytes that they hold.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._callers: dict[str, int] = {}
        self.total = 0

    def take(self, call: Call, size: int) -> None:
        """A call holds so much more.

        Raises:
            GatewayError: that is too much; nothing was counted.
        """
        held = self._callers.get(call.caller, 0) + size
        if held > self._most // CALLERS:
            message = (
                f"The images by URL and the audio of this key's calls hold {self._most // CALLERS} "
                "bytes already; send fewer at once."
            )
            raise GatewayError(Code.RATE_LIMIT_EXCEEDED, message)
        if self.total + size > self._most:
            raise GatewayError(Code.ENGINE_OVERLOADED)
        self._callers[call.caller] = held
        self.total += size
        call.notes.setdefault(Held, Held()).size += size

    def give_back(self, call: Call) -> None:
        """A call is over."""
        note: Held | None = call.notes.pop(Held, None)
        if note is None:
            return
        self.total -= note.size
        left = self._callers[call.caller] - note.size
        if left:
            self._callers[call.caller] = left
        else:
            del self._callers[call.caller]
