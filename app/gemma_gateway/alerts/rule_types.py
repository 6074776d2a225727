"""What each kind of rule measures, and how it is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gemma_gateway.core.outcomes import FILTERED, LIMITED
from gemma_gateway.core.record import Record
from gemma_gateway.settings.alerts import KindName, Rule


@dataclass(frozen=True, slots=True)
class RuleType:
    """A measure over finished calls: what is summed over those that count, as an average or a sum.

    Args:
        words: what the value is; ``{calls}`` stands for the calls that are looked at, ``{at}`` for
            the server.
        calls: what these calls are called.
        unit: of value and threshold; ``%`` for a share, which is kept from 0 to 1.
        bad: on which side of the threshold the value is out of bounds.
        counts: whether a call is one of those that are looked at.
        amount: its part of the value; None: it is looked at, but has no part in the average.
        sums: the value is the sum of the amounts, not their average.
        by_upstream: one value for each server that took calls.
    """

    words: str
    calls: str
    unit: str
    bad: Literal["above", "below"]
    counts: Callable[[Record], bool]
    amount: Callable[[Record], float | None]
    sums: bool = False
    by_upstream: bool = False

    def breached(self, value: float, threshold: float) -> bool:
        """Whether a value is out of bounds."""
        return value > threshold if self.bad == "above" else value < threshold

    def expression(self, rule: Rule) -> str:
        """When the rule is out of bounds."""
        text = f"{self._subject(rule, ' one engine server')} {self._bound(rule)}"
        if rule.seconds is not None:
            text += f" (at least {rule.calls} calls)"
        return f"{text}, for {rule.for_seconds:g} s" if rule.for_seconds else text

    def message(self, rule: Rule, upstream: str, value: float) -> str:
        """What is wrong, as a sentence."""
        subject = self._subject(rule, f" {upstream}")
        return f"{subject[0].upper()}{subject[1:]} is {self._says(value)} ({self._bound(rule)})."

    def _subject(self, rule: Rule, at: str) -> str:
        if rule.seconds is None:
            calls = f"last {rule.calls} {self.calls}"
        else:
            calls = f"{self.calls} in the last {rule.seconds:g} s"
        return self.words.format(calls=calls, at=at)

    def _bound(self, rule: Rule) -> str:
        return f"{self.bad} {self._says(rule.threshold)}"

    def _says(self, number: float) -> str:
        return f"{number * 100:.4g} %" if self.unit == "%" else f"{number:.6g} {self.unit}".strip()


def _served(record: Record) -> bool:
    """The service either answered or failed; refusals and clients that left say nothing of it."""
    return record.success or record.failed


def _told(record: Record) -> float:
    """One for a call that the caller got the whole answer of."""
    return 1.0 if record.success else 0.0


RULE_TYPES: dict[KindName, RuleType] = {
    "response_time": RuleType(
        "average response time of the {calls}", "served calls",
        "s", "above", _served, lambda r: r.response_time,
    ),
    "memory": RuleType(
        "average memory of gateway and engine at the {calls}", "served calls",
        "MB", "above", _served, lambda r: r.memory_mb,
    ),
    "token_rate": RuleType(
        "average output of the {calls}", "served calls",
        "tokens/s", "below", _served, lambda r: r.tokens_per_second if r.output_tokens else None,
    ),
    "success_rate": RuleType(
        "share of successes among the {calls}", "served calls", "%", "below", _served, _told
    ),
    "no_success": RuleType(
        "number of successes among the {calls}", "served calls", "", "below", _served, _told,
        sums=True,
    ),
    "upstream_errors": RuleType(
        "share of failures of{at} among its {calls}", "served calls",
        "%", "above", lambda r: _served(r) and bool(r.upstream), lambda r: 1.0 - _told(r),
        by_upstream=True,
    ),
    "limited": RuleType(
        "share refused by the rate limiter among the {calls}", "calls",
        "%", "above", lambda r: True, lambda r: float(r.outcome in LIMITED),
    ),
    "filtered": RuleType(
        "share blocked by the content filter among the {calls}", "checked calls",
        "%", "above", lambda r: _served(r) or r.outcome in FILTERED,
        lambda r: float(r.outcome in FILTERED),
    ),
    "queue_time": RuleType(
        "average wait in the engine of the {calls}", "calls",
        "s", "above", lambda r: r.queue_time is not None, lambda r: r.queue_time,
    ),
    # Measured by alerts.outage in each process: where there is no store, there are no records.
    "store_away": RuleType(
        "time since Redis last served this gateway", "",
        "s", "above", lambda r: False, lambda r: None,
    ),
}  # fmt: skip
