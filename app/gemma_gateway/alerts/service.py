"""Alerting as one part: evaluates while it leads, and answers the operator's questions."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from gemma_gateway.alerts.alert import Alert
from gemma_gateway.alerts.conditions import WELL, Condition
from gemma_gateway.alerts.evaluator import Evaluator
from gemma_gateway.alerts.notifier import Notifier
from gemma_gateway.alerts.outage import Outage
from gemma_gateway.alerts.store import AlertStore, DeadLetter, Look, Silence, silenced_until
from gemma_gateway.alerts.view import AlertsReport, AlertView, rule_views
from gemma_gateway.alerts.webhook import Webhooks
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.periodic import Periodic
from gemma_gateway.monitoring.records import RequestLog
from gemma_gateway.settings.alerts import SEVERITIES, AlertSettings
from gemma_gateway.storage import Store, StoreError
from gemma_gateway.telemetry.metrics import Metrics

MOST_SILENCES = 100
SILENCE_ID = re.compile(r"[0-9a-f]{16}")


class Alerts:
    """The alerts of one gateway process.

    All processes look at the store every ``interval_seconds``. The one that gets the lease
    evaluates the rules over the request log and sends; when it dies or hangs, another one takes
    over within ``lease_seconds``, with all that is known about each alert.

    Args:
        settings: rules, webhooks and times.
        store: shared by all gateways.
        prefix: first part of the store's key names.
        request_log: the calls.
        condition: of this gateway, now.
        clock: seconds since the epoch.

    Attributes:
        leads: whether this process evaluates.
    """

    def __init__(
        self,
        settings: AlertSettings,
        store: Store,
        prefix: str,
        request_log: RequestLog,
        condition: Callable[[], Condition] = lambda: WELL,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._store = store
        self._condition = condition
        self._clock = clock
        self._alert_store = AlertStore(store, prefix, settings.lease_seconds)
        self._webhooks = Webhooks(settings.webhooks, settings.timeout_seconds)
        self._notifier = Notifier(settings, self._alert_store, self._webhooks, lambda: self.leads)
        self._evaluator = Evaluator(settings, request_log, self._webhooks)
        self._outages = {
            name: Outage(name, rule, settings, self._alert_store, self._webhooks, self._count)
            for name, rule in settings.rules.items()
            if rule.enabled and rule.kind == "store_away"
        }
        self._seen: Look | None = None  # the last look at the store
        self._lost: dict[str, Alert] = {}  # to be written into a store that was empty
        self._lease_ends = 0.0  # of the last look, monotonic seconds
        self._away = False
        failure = "alerts could not be evaluated"
        self._looking = Periodic(self._look, settings.interval_seconds, failure)
        self.leads = False

    # ---- life

    async def start(self) -> None:
        """Begin, in the background."""
        await self._notifier.start()
        await self._looking.start()
        self._looking.wake()

    async def stop(self) -> None:
        """Finish what is being sent and let another process lead. Idempotent."""
        await self._looking.stop()
        await asyncio.gather(self._notifier.stop(), *(o.stop() for o in self._outages.values()))
        self.leads = False
        with contextlib.suppress(StoreError):
            await self._alert_store.release()

    async def _look(self) -> None:
        now, started = self._clock(), time.monotonic()
        before, look = self._seen, None
        with contextlib.suppress(StoreError):
            look = await self._alert_store.beat(self._condition())
        if look is not None:
            self._seen, self.leads = look, look.leads
            self._lease_ends = started + self._settings.lease_seconds
        elif not self._away and started > self._lease_ends:
            self.leads = False  # another process may lead by now: see Outage.look's ``first``
        self._away = look is None
        await self._look_at_the_store(now, away=look is None or not self._store.available)
        if look is None:
            return
        if not look.leads:
            self._evaluator.rest()
            self._lost = {}
            return
        if look.fresh and before is not None:  # an empty store has lost what we still know
            self._lost |= before.alerts
        with contextlib.suppress(StoreError):  # the next look begins with what was written
            if await self._evaluator.follow():
                await self._evaluate(look, self._lost | look.alerts, now)

    async def _evaluate(self, look: Look, alerts: dict[str, Alert], now: float) -> None:
        changes = self._evaluator.evaluate(alerts, look.alerts, look.silences, look.conditions, now)
        if await self._alert_store.commit(changes):
            self._lost = {}
            self._seen = replace(look, alerts=changes.applied(alerts))
            if changes.deliveries:
                self._notifier.wake()

    async def _look_at_the_store(self, now: float, away: bool) -> None:
        seen = self._seen
        silenced = silenced_until(seen.silences if seen else (), now)
        for name, outage in self._outages.items():
            await outage.look(
                away,
                first=self.leads or seen is None,
                silenced=name in silenced,
                nonce=seen.generation if seen else self._alert_store.token,
                now=now,
            )
            if not away:
                with contextlib.suppress(StoreError):
                    if await outage.write_down(now):
                        self._notifier.wake()

    def _count(self, result: str) -> None:
        self._notifier.results[result] += 1

    # ---- for metrics

    @property
    def firing(self) -> int:
        """Alerts that fire now, as this process saw last."""
        return len(self._firing())

    def watch(self, metrics: Metrics) -> None:
        """Have what is known here shown among the metrics."""
        metrics.watch_each(
            "gateway_alerts_firing",
            "Alerts firing now; every gateway shows those of all gateways.",
            "severity",
            self._by_severity,
        )
        metrics.watch(
            "gateway_alerts_leader",
            "1 in the one gateway that evaluates the alerts.",
            lambda: self.leads,
        )
        metrics.watch_each(
            "gateway_alert_notifications_total",
            "Attempts to notify: delivered, failed (tried again), dead (given up).",
            "result",
            lambda: self._notifier.results,
        )

    def _by_severity(self) -> dict[str, float]:
        counts = Counter(alert.severity for alert in self._firing())
        return {severity: float(counts[severity]) for severity in SEVERITIES}

    def _firing(self) -> list[Alert]:
        known = [] if self._seen is None else list(self._seen.alerts.values())
        return [alert for alert in [*known, *self._own()] if alert.state == "firing"]

    def _own(self) -> list[Alert]:
        """What only this process can know."""
        return [o.alert for o in self._outages.values() if o.alert is not None]

    # ---- for the operator

    async def report(self, most: int) -> AlertsReport:
        """All alerts and rules. Never raises StoreError.

        Args:
            most: most alerts that are over.
        """
        try:
            alerts, over, silences = await asyncio.gather(
                self._alert_store.alerts(),
                self._alert_store.history(most),
                self._alert_store.silences(),
            )
            degraded = False
        except StoreError:
            alerts = list(self._seen.alerts.values()) if self._seen else []
            silences = list(self._seen.silences) if self._seen else []
            over, degraded = [], True
        alerts += self._own()
        silenced = silenced_until(silences, self._clock())
        firing = sorted((a for a in alerts if a.state == "firing"), key=lambda a: -a.started)
        return AlertsReport(
            data=[AlertView.of(a, silenced.get(a.rule, 0.0)) for a in firing]
            + [AlertView.of(a) for a in over],
            rules=rule_views(self._settings.rules, alerts),
            degraded=degraded,
        )

    async def silence(self, rule: str, seconds: float, comment: str, by: str) -> Silence:
        """Have webhooks hear nothing of a rule for a while. What fires and hasn't been told when
        the silence ends is told then; the end of what was told before it is told at any time.

        Args:
            rule: name of a rule.
            seconds: from now.
            comment: why.
            by: name of the operator's key.

        Raises:
            GatewayError: VALIDATION_ERROR, ALERT_STORE_UNAVAILABLE.
        """
        if rule not in self._settings.rules:
            raise GatewayError(Code.VALIDATION_ERROR, "There is no such rule.", param="rule")
        now = self._clock()
        silence = Silence(secrets.token_hex(8), rule, comment, by, now, now + seconds)
        with _stored():
            if len(await self._alert_store.silences()) >= MOST_SILENCES:
                most = f"There are {MOST_SILENCES} silences already: remove some."
                raise GatewayError(Code.VALIDATION_ERROR, most)
            await self._alert_store.silence(silence)
        return silence

    async def silences(self) -> list[Silence]:
        """Those that have not ended, in the order of their end.

        Raises:
            GatewayError: ALERT_STORE_UNAVAILABLE.
        """
        now = self._clock()
        with _stored():
            found = [s for s in await self._alert_store.silences() if s.ends > now]
        return sorted(found, key=lambda s: s.ends)

    async def unsilence(self, silence_id: str) -> None:
        """End a silence now.

        Raises:
            GatewayError: NOT_FOUND, ALERT_STORE_UNAVAILABLE.
        """
        with _stored():
            found = SILENCE_ID.fullmatch(silence_id) and await self._alert_store.unsilence(
                silence_id
            )
        if not found:
            raise GatewayError(Code.NOT_FOUND, "There is no such silence.", param="silence_id")

    async def dead_letters(self) -> list[DeadLetter]:
        """Notifications that were given up, latest first.

        Raises:
            GatewayError: ALERT_STORE_UNAVAILABLE.
        """
        with _stored():
            return await self._alert_store.dead()


@contextlib.contextmanager
def _stored() -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise GatewayError(Code.ALERT_STORE_UNAVAILABLE) from None
