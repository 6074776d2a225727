"""The values of the rules, kept up with each finished call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, Protocol

from gemma_gateway.alerts.rule_types import RULE_TYPES
from gemma_gateway.core.record import Record
from gemma_gateway.settings.alerts import STATES, Rule

Amount = Callable[[Record], float | None]

MOST_SERVERS = 100  # engine servers with a value of their own; names come from the configuration
STEPS = 60  # parts that a window of seconds is forgotten in


class Reading(NamedTuple):
    """One value.

    Args:
        rule: name of the rule.
        upstream: the server it is of; empty where the rule is of the whole service.
        value: None: too few calls to say.
        why: what is behind it, where that is known.
    """

    rule: str
    upstream: str
    value: float | None
    why: str = ""


class _Window(Protocol):
    def add(self, records: Sequence[Record], amount: Amount) -> None: ...

    def sums(self, now: float) -> tuple[int, int, float]:
        """Calls, those of them with an amount, and the sum of the amounts."""
        ...


def _by_upstream(records: Iterable[Record]) -> Iterable[tuple[str, list[Record]]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.upstream, []).append(record)
    return groups.items()


class _LastCalls:
    """The last ``calls`` calls."""

    def __init__(self, calls: int) -> None:
        self._amounts: deque[float | None] = deque(maxlen=calls)

    def add(self, records: Sequence[Record], amount: Amount) -> None:
        most = self._amounts.maxlen or 0
        self._amounts.extend(map(amount, records[-most:]))

    def sums(self, now: float) -> tuple[int, int, float]:
        known = [amount for amount in self._amounts if amount is not None]
        return len(self._amounts), len(known), sum(known)


class _LastSeconds:
    """The calls of the last ``seconds``, in steps: however many calls, ``STEPS`` sums."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._step = seconds / STEPS
        self._sums: dict[int, tuple[int, int, float]] = {}

    def add(self, records: Sequence[Record], amount: Amount) -> None:
        for step, some in groupby(records, lambda record: int(record.time / self._step)):
            amounts = list(map(amount, some))
            told = [one for one in amounts if one is not None]
            calls, known, total = self._sums.get(step, (0, 0, 0.0))
            self._sums[step] = (calls + len(amounts), known + len(told), total + sum(told))

    def sums(self, now: float) -> tuple[int, int, float]:
        first = int((now - self._seconds) / self._step)
        self._sums = {step: sums for step, sums in self._sums.items() if step > first}
        found = self._sums.values()
        return sum(s[0] for s in found), sum(s[1] for s in found), sum(s[2] for s in found)


class RuleWindows:
    """The values of all rules that look at calls.

    Args:
        rules: by name.
    """

    def __init__(self, rules: dict[str, Rule]) -> None:
        self._rules = {
            name: rule for name, rule in rules.items() if rule.enabled and rule.kind not in STATES
        }
        self._windows: dict[tuple[str, str], _Window] = {}

    def clear(self) -> None:
        """Forget all calls."""
        self._windows.clear()

    def add(self, records: Iterable[Record]) -> None:
        """Take calls in, oldest first."""
        records = list(records)
        counted: dict[Callable[[Record], bool], list[Record]] = {}  # most rules count the same ones
        for name, rule in self._rules.items():
            kind = RULE_TYPES[rule.kind]
            found = counted.get(kind.counts)
            if found is None:
                found = counted[kind.counts] = list(filter(kind.counts, records))
            for upstream, some in _by_upstream(found) if kind.by_upstream else [("", found)]:
                window = self._window(name, rule, upstream) if some else None
                if window is not None:
                    window.add(some, kind.amount)

    def read(self, now: float) -> Iterator[Reading]:
        """All values.

        Args:
            now: seconds since the epoch.
        """
        for (name, upstream), window in self._windows.items():
            rule = self._rules[name]
            kind = RULE_TYPES[rule.kind]
            calls, known, total = window.sums(now)
            value = None
            if calls >= rule.calls and (known or kind.sums):
                value = total if kind.sums else total / known
            yield Reading(name, upstream, value)

    def _window(self, name: str, rule: Rule, upstream: str) -> _Window | None:
        found = self._windows.get((name, upstream))
        if found is None and len(self._windows) < len(self._rules) + MOST_SERVERS:
            found = _LastCalls(rule.calls) if rule.seconds is None else _LastSeconds(rule.seconds)
            self._windows[name, upstream] = found
        return found
