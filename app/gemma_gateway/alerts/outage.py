"""The one alert that can't be kept in the store: that the store is unavailable, or refuses.

Each process looks by itself. What it tells has an id that all processes make alike, from the
generation that they read from the store before, so that a receiver knows repetitions. The process
that led tells at once; the others only ``holdback_seconds`` later, in case that one is gone, too.
Once the store is back, whoever comes first writes the alert down and has its end told; the others
find that done.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import msgspec

from gemma_gateway.alerts.alert import Alert, advance, alert_id
from gemma_gateway.alerts.store import AlertStore
from gemma_gateway.alerts.webhook import Webhooks, pause
from gemma_gateway.core.background import cancelled
from gemma_gateway.settings.alerts import AlertSettings, Rule


class Outage:
    """Watches the store for one rule of the kind ``store_away``.

    Args:
        name: of the rule.
        rule: the rule.
        settings: pauses and hold-back.
        alert_store: the store's part, for when it is back.
        webhooks: where to tell of it.
        count: told the result of each attempt, see ``Notifier.results``.

    Attributes:
        alert: what is wrong now; None: nothing.
    """

    def __init__(
        self,
        name: str,
        rule: Rule,
        settings: AlertSettings,
        alert_store: AlertStore,
        webhooks: Webhooks,
        count: Callable[[str], None],
    ) -> None:
        self._name = name
        self._rule = rule
        self._settings = settings
        self._alert_store = alert_store
        self._webhooks = webhooks
        self._count = count
        self._since = 0.0  # when the store went away, seconds since the epoch; 0: it is there
        self._done: set[str] = set()  # webhooks that know
        self._telling: asyncio.Task[None] | None = None
        self._over: list[tuple[float, Alert]] = []  # to be written down, and when
        self.alert: Alert | None = None

    async def look(
        self, away: bool, *, first: bool, silenced: bool, nonce: str, now: float
    ) -> None:
        """One more look.

        Args:
            away: whether the store did not answer just now.
            first: whether this process tells at once.
            silenced: whether nothing is to be told.
            nonce: the generation; the same in all processes, another one for each outage.
            now: seconds since the epoch.
        """
        self._since = (self._since or now) if away else 0.0
        value = now - self._since if away else 0.0
        before = self.alert
        alert = advance(
            before, self._name, self._rule, "", value, now, self._settings.resolve_seconds
        )
        if before is None and alert is not None:
            alert = msgspec.structs.replace(alert, id=alert_id(alert.key, nonce))
        self.alert = alert
        if alert is None:
            return
        if alert.state == "firing" and away and not silenced:
            self._tell(alert, 0.0 if first else self._settings.holdback_seconds)
        elif not away:
            await self._hush()
        if alert.state == "resolved":
            # Those that have told nobody leave it to those that have.
            wait = 0.0 if self._done or first else 2 * self._settings.lease_seconds
            told = msgspec.structs.replace(alert, told=bool(self._done))
            self._over.append((now + wait, told))
            self.alert, self._done = None, set()

    async def write_down(self, now: float) -> bool:
        """Write what is over into the store; whether there is something new to send.

        Raises:
            StoreError: it is away again; what is left is kept for later.
        """
        news = False
        while self._over and self._over[0][0] <= now:
            alert = self._over[0][1]
            news |= await self._alert_store.report(alert, self._webhooks.deliveries(alert))
            del self._over[0]
        return news

    async def stop(self) -> None:
        """Tell no more."""
        await self._hush()

    def _tell(self, alert: Alert, holdback: float) -> None:
        if self._telling is None:
            self._telling = asyncio.create_task(self._keep_telling(alert, holdback))

    async def _hush(self) -> None:
        await cancelled(self._telling)
        self._telling = None

    async def _keep_telling(self, alert: Alert, holdback: float) -> None:
        """Until every webhook knows, or the store is back."""
        await asyncio.sleep(holdback * (1 + random.random()))  # noqa: S311 - no secret
        attempts = 0
        while True:
            left = [d for d in self._webhooks.deliveries(alert) if d.webhook not in self._done]
            if not left:
                return
            errors = await asyncio.gather(*map(self._webhooks.send, left))
            for delivery, error in zip(left, errors, strict=True):
                self._count("failed" if error else "delivered")
                if not error:
                    self._done.add(delivery.webhook)
            attempts += 1
            if any(errors):
                await asyncio.sleep(pause(self._settings.retry_seconds, attempts))
