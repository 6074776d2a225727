"""The leader's work: from finished calls to what has changed about the alerts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import chain

import msgspec

from gemma_gateway.alerts.alert import Alert, advance, better, key
from gemma_gateway.alerts.conditions import Condition, readings
from gemma_gateway.alerts.rule_types import RULE_TYPES
from gemma_gateway.alerts.store import Changes, Silence, silenced_until
from gemma_gateway.alerts.webhook import Webhooks
from gemma_gateway.alerts.windows import RuleWindows
from gemma_gateway.monitoring.records import RequestLog
from gemma_gateway.settings.alerts import AlertSettings

BACKLOG = 1000  # calls that a new leader looks back at, and that are read at once

log = logging.getLogger(__name__)


class Evaluator:
    """Looks at the rules that are about calls and about the gateways' state.

    Args:
        settings: the rules, and when an alert resolves.
        request_log: the calls.
        webhooks: who is to be told.
    """

    def __init__(
        self, settings: AlertSettings, request_log: RequestLog, webhooks: Webhooks
    ) -> None:
        self._settings = settings
        self._request_log = request_log
        self._webhooks = webhooks
        self._windows = RuleWindows(settings.rules)
        self._cursor = ""  # where the request log was read up to; empty: it wasn't

    def rest(self) -> None:
        """Another process leads: its successor begins with a new look at the request log."""
        self._cursor = ""

    async def follow(self) -> bool:
        """Read the calls since the last time; False while the store is unavailable."""
        if not self._cursor:
            found = await self._request_log.look(BACKLOG)
            if found.degraded:
                return False
            self._windows.clear()
            self._windows.add(reversed(found.records))
            self._cursor = found.cursor
            return True
        while True:
            records, self._cursor = await self._request_log.after(self._cursor, BACKLOG)
            self._windows.add(records)
            if len(records) < BACKLOG:
                return True

    def evaluate(
        self,
        alerts: Mapping[str, Alert],
        stored: Mapping[str, Alert],
        silences: tuple[Silence, ...],
        conditions: Sequence[Condition],
        now: float,
    ) -> Changes:
        """What one more look at all rules changes.

        Args:
            alerts: pending and firing ones by key.
            stored: what the store holds of them.
            silences: those in the store.
            conditions: of all gateways.
            now: seconds since the epoch.
        """
        silenced = silenced_until(silences, now)
        changes = Changes(ended=[s.id for s in silences if s.ends <= now])
        for about, alert in self._advanced(alerts, conditions, now).items():
            if alert is not None and _is_news(alert, alerts.get(about)):
                log.warning("alert %s is %s: %s", about, alert.state, alert.message)
            if alert is None or alert.state == "resolved":
                if about in alerts:
                    changes.gone.append(about)
                if alert is not None:
                    self._end(alert, changes)
            else:
                told = self._tell(alert, changes) if alert.rule not in silenced else alert
                if told != stored.get(about):
                    changes.alerts[about] = told
        return changes

    def _tell(self, alert: Alert, changes: Changes) -> Alert:
        """Have the webhooks told of an alert that fires, if they weren't yet."""
        if alert.state != "firing" or alert.told:
            return alert
        changes.deliveries += self._webhooks.deliveries(alert)
        return msgspec.structs.replace(alert, told=True)

    def _end(self, alert: Alert, changes: Changes) -> None:
        changes.history.append(alert)
        if alert.told:
            changes.deliveries += self._webhooks.deliveries(alert)

    def _advanced(
        self, alerts: Mapping[str, Alert], conditions: Sequence[Condition], now: float
    ) -> dict[str, Alert | None]:
        """Every alert after a look at its value; None: nothing is wrong."""
        rules, seconds = self._settings.rules, self._settings.resolve_seconds
        found: dict[str, Alert | None] = {}
        for name, upstream, value, why in chain(
            self._windows.read(now), readings(rules, conditions)
        ):
            about = key(name, upstream)
            known = alerts.get(about)
            found[about] = advance(known, name, rules[name], upstream, value, now, seconds, why)
        for about, alert in alerts.items():
            if about not in found:
                rule = rules.get(alert.rule)
                if rule is None or not rule.enabled:
                    found[about] = better(alert, now, 0.0, "The rule is off now.")
                else:
                    recovery = RULE_TYPES[rule.kind].recovery(rule, alert.upstream, None)
                    found[about] = better(alert, now, seconds, recovery)
        return found


def _is_news(alert: Alert, before: Alert | None) -> bool:
    return before is None or before.state != alert.state
