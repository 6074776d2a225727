"""What each gateway sees of its own state, and what that says of all of them together.

A gateway tells its condition whenever it looks at the alerts; the one that leads reads them all. So
what is wrong is noticed without a call being made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

import msgspec

from gemma_gateway.alerts.windows import MOST_SERVERS, Reading
from gemma_gateway.core.engine import Engine
from gemma_gateway.monitoring.memory import Memory
from gemma_gateway.settings.alerts import Rule


class Condition(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of one gateway. Kept in the store as JSON: new fields get a default, so that gateways of two
    versions read each other's during a rollout.

    Args:
        engineless: seconds for which it has had no engine that takes calls; 0: it has one.
        ejected: by engine server, for how many seconds it has been ejected (0: it isn't), and why.
        memory_share: what it and its engine hold of the memory that they may use, 0 to 1.
    """

    engineless: float = 0.0
    ejected: dict[str, tuple[float, str]] = {}
    memory_share: float = 0.0


WELL = Condition()


class Conditions:
    """The condition of this gateway.

    Args:
        engine: where its calls go.
        memory: what it holds.
        clock: monotonic seconds.
    """

    def __init__(
        self, engine: Engine, memory: Memory, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._memory = memory
        self._clock = clock
        self._ready_at = clock()  # when an engine was last seen to take calls, or still loaded

    def now(self) -> Condition:
        """As it is now. To be asked again and again: only then is a missing engine noticed."""
        state, now = self._engine.state(), self._clock()
        if state.ready or state.starting:
            self._ready_at = now
        return Condition(
            now - self._ready_at,
            {s.name: (s.ejected_seconds, s.trouble) for s in islice(state.servers, MOST_SERVERS)},
            self._memory.share,
        )


def readings(rules: Mapping[str, Rule], conditions: Sequence[Condition]) -> Iterator[Reading]:
    """The values of the rules that look at the gateways' state.

    Args:
        rules: by name.
        conditions: of all gateways.
    """
    for name, rule in rules.items():
        if not rule.enabled or not conditions:
            continue
        if rule.kind == "no_engine":
            yield Reading(name, "", min(c.engineless for c in conditions))
        elif rule.kind == "memory_share":
            yield Reading(name, "", max(c.memory_share for c in conditions))
        elif rule.kind == "upstream_ejected":
            worst: dict[str, tuple[float, str]] = {}
            for condition in conditions:
                for upstream, ejected in condition.ejected.items():
                    worst[upstream] = max(worst.get(upstream, ejected), ejected)
            for upstream, (seconds, why) in worst.items():
                yield Reading(name, upstream, seconds, why)
