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
    """A measure over finished calls: what is summed over those that count, as an average or a sum;
    or over the state of the gateways, which looks at no calls.

    Args:
        title: what is wrong when it fires, for headings.
        words: what the value is; ``{calls}`` stands for the calls that are looked at, ``{at}`` for
            the server.
        unit: of value and threshold; ``%`` for a share, which is kept from 0 to 1.
        bad: on which side of the threshold the value is out of bounds.
        calls: what the calls that are looked at are called; empty: it looks at none.
        counts: whether a call is one of those that are looked at.
        amount: its part of the value; None: it is looked at, but has no part in the average.
        sums: the value is the sum of the amounts, not their average.
        by_upstream: one value for each server.
        firing: the sentence for a value that is out of bounds, where the general one is no good
            English: ``{value}``, ``{calls}``, ``{at}``.
        resolved: the same for one that is within them again.
    """

    title: str
    words: str
    unit: str
    bad: Literal["above", "below"]
    calls: str = ""
    counts: Callable[[Record], bool] = lambda record: False
    amount: Callable[[Record], float | None] = lambda record: None
    sums: bool = False
    by_upstream: bool = False
    firing: str = ""
    resolved: str = ""

    def breached(self, value: float, threshold: float) -> bool:
        """Whether a value is out of bounds."""
        return value > threshold if self.bad == "above" else value < threshold

    def expression(self, rule: Rule) -> str:
        """When the rule is out of bounds."""
        text = self._filled(self.words, rule, "one engine server")
        text += f" {self.bad} {self._says(rule.threshold)}"
        if rule.seconds is not None:
            text += f" (at least {rule.calls} calls)"
        return f"{text}, for {rule.for_seconds:g} s" if rule.for_seconds else text

    def message(self, rule: Rule, upstream: str, value: float, why: str = "") -> str:
        """What is wrong, as a sentence.

        Args:
            why: the reason, where one is known.
        """
        text = self.firing or f"{self.words} is {{value}}; it should be {self._bound(rule)}"
        return _sentence(self._filled(text, rule, upstream, value) + (f": {why}" if why else ""))

    def recovery(self, rule: Rule, upstream: str, value: float | None) -> str:
        """What is right again, as a sentence.

        Args:
            value: None: nothing is known any more.
        """
        if value is not None:
            text = self.resolved or f"{self.words} is back to {{value}}, {self._bound(rule)}"
        elif self.calls:
            text = f"there are too few calls now to tell the {self.words}"
        else:
            text = "it is no longer watched"
        return _sentence(self._filled(text, rule, upstream, value or 0.0))

    def _filled(self, text: str, rule: Rule, at: str, value: float = 0.0) -> str:
        if rule.seconds is None:
            calls = f"last {rule.calls} {self.calls}"
        else:
            calls = f"{self.calls} in the last {rule.seconds:g} s"
        return text.format(calls=calls, at=at, value=self._says(value))

    def _bound(self, rule: Rule) -> str:
        return f"at {'most' if self.bad == 'above' else 'least'} {self._says(rule.threshold)}"

    def _says(self, number: float) -> str:
        if self.unit == "%":
            return f"{number * 100:.4g} %"
        if self.unit == "s":
            return f"{number:.3g} s" if number < 100 else f"{number:.0f} s"
        return f"{number:.6g} {self.unit}".strip()


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _served(record: Record) -> bool:
    """The service either answered or failed; refusals and clients that left say nothing of it."""
    return record.success or record.failed


def _told(record: Record) -> float:
    """One for a call that the caller got the whole answer of."""
    return 1.0 if record.success else 0.0


SERVED = "served calls"
RULE_TYPES: dict[KindName, RuleType] = {
    "response_time": RuleType(
        "Answers take long",
        "average response time of the {calls}",
        "s", "above", SERVED, _served, lambda r: r.response_time,
    ),
    "memory": RuleType(
        "Much memory is in use",
        "average memory of gateway and engine at the {calls}",
        "MB", "above", SERVED, _served, lambda r: r.memory_mb,
    ),
    "token_rate": RuleType(
        "Tokens come slowly",
        "average output of the {calls}",
        "tokens/s", "below", SERVED, _served,
        lambda r: r.tokens_per_second if r.output_tokens else None,
    ),
    "success_rate": RuleType(
        "Too few calls succeed",
        "share of successes among the {calls}", "%", "below", SERVED, _served, _told,
    ),
    "no_success": RuleType(
        "No call succeeds",
        "number of successes among the {calls}", "", "below", SERVED, _served, _told,
        sums=True,
    ),
    "upstream_errors": RuleType(
        "An engine server fails many calls",
        "share of failures of {at} among its {calls}",
        "%", "above", SERVED, lambda r: _served(r) and bool(r.upstream), lambda r: 1.0 - _told(r),
        by_upstream=True,
    ),
    "limited": RuleType(
        "Many calls exceed a limit",
        "share refused by the rate limiter among the {calls}",
        "%", "above", "calls", lambda r: True, lambda r: float(r.outcome in LIMITED),
    ),
    "filtered": RuleType(
        "Many calls are filtered",
        "share blocked by the content filter among the {calls}",
        "%", "above", "checked calls", lambda r: _served(r) or r.outcome in FILTERED,
        lambda r: float(r.outcome in FILTERED),
    ),
    "queue_time": RuleType(
        "Calls wait long in the engine",
        "average wait in the engine of the {calls}",
        "s", "above", "calls", lambda r: r.queue_time is not None, lambda r: r.queue_time,
    ),
    # Measured by alerts.outage in each process: where there is no store, there are no records.
    "store_away": RuleType(
        "Redis is unavailable",
        "time since Redis last served this gateway", "s", "above",
        firing="Redis has not served this gateway for {value}",
        resolved="Redis serves this gateway again",
    ),
    # The others by alerts.conditions.
    "no_engine": RuleType(
        "No engine is ready",
        "time without an engine that takes calls, in any gateway", "s", "above",
        firing="no gateway has had an engine that takes calls for {value}",
        resolved="an engine takes calls again",
    ),
    "upstream_ejected": RuleType(
        "An engine server is down",
        "time for which a gateway has ejected {at}", "s", "above",
        by_upstream=True,
        firing="engine server {at} has been ejected for {value}",
        resolved="engine server {at} takes calls again",
    ),
    "memory_share": RuleType(
        "Memory is nearly used up",
        "share of its memory that a gateway with its engine holds", "%", "above",
    ),
}  # fmt: skip
