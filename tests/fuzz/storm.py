"""All kinds of hostile requests at once, from several connections."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from itertools import count

from tests.fuzz import SEED, wide
from tests.fuzz.raw import Conversation
from tests.fuzz.target import Target
from tests.process import Gateway

RULE_TYPES = ("bodies", "bodies", "answers", "sockets")


class Storm:
    """Threads that fire until told to stop, or so many requests each.

    Args:
        cases: requests of each thread; 0: until ``stop``.
        seconds: longest wait for one answer.

    Attributes:
        statuses: how often each came, by kind.
    """

    def __init__(self, gateway: Gateway, cases: int = 0, seconds: float = 60) -> None:
        self.statuses: dict[str, Counter[int]] = {kind: Counter() for kind in RULE_TYPES}
        self._gateway = gateway
        self._cases = cases
        self._seconds = seconds
        self._over = threading.Event()
        self._errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(kind, n), daemon=True)
            for n, kind in enumerate(RULE_TYPES)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Fire no more."""
        self._over.set()

    def join(self) -> None:
        """Wait for the end.

        Raises:
            AssertionError: an answer was not as it should be.
        """
        for thread in self._threads:
            thread.join()
        for error in self._errors:
            raise AssertionError(f"FUZZ_SEED={SEED}: {error!r}"[:8000]) from error

    @property
    def well(self) -> bool:
        """Whether all answers have been as they should be."""
        return not self._errors

    def _run(self, kind: str, number: int) -> None:
        chance = random.Random(f"{SEED} {number}")
        fire = self._sockets if kind == "sockets" else self._requests(kind)
        try:
            for n in count():
                if self._over.is_set() or (self._cases and n >= self._cases):
                    return
                fire(chance, n)
        except BaseException as error:  # told by join
            self._errors.append(error)
            self._over.set()

    def _requests(self, kind: str) -> Callable[[random.Random, int], None]:
        target = Target(self._gateway, self._seconds)
        target.statuses = self.statuses[kind]
        make = wide.body if kind == "bodies" else wide.answer

        def fire(chance: random.Random, number: int) -> None:
            target.fire(make(chance))

        return fire

    def _sockets(self, chance: random.Random, number: int) -> None:
        self.statuses["sockets"] += Conversation(chance, number).hold(chance, self._gateway)
