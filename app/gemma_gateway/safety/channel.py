"""One channel of a streamed answer, and the account of what was held back in all of them."""

from __future__ import annotations

import time

from gemma_gateway.safety.filter import Filter
from gemma_gateway.safety.logprobs import LogprobGuard


class ChannelState:
    """What is known of one channel.

    Attributes:
        scanner: follows its text.
        tokens: its logprob entries; None before any came.
        said: its text so far, for flag-only terms.
        held_since: perf_counter from which on some text has been held; 0: none is.
    """

    __slots__ = ("held_since", "said", "scanner", "tokens")

    def __init__(self, judge: Filter) -> None:
        self.scanner = judge.scanner()
        self.tokens: LogprobGuard | None = None
        self.said: list[str] = []
        self.held_since = 0.0


class Held:
    """How much text of a stream waited, and how long.

    Attributes:
        characters: the most that one channel had waiting at once.
        seconds: the longest time in which a channel always had some text waiting.
    """

    __slots__ = ("characters", "seconds")

    def __init__(self) -> None:
        self.characters = 0
        self.seconds = 0.0

    def note(self, state: ChannelState) -> None:
        """Look at a channel whose held text may have changed; none of the others need it."""
        if held := len(state.scanner.held):
            self.characters = max(self.characters, held)
            state.held_since = state.held_since or time.perf_counter()
        elif state.held_since:
            self.seconds = max(self.seconds, time.perf_counter() - state.held_since)
            state.held_since = 0.0
