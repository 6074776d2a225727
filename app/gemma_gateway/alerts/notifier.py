"""Delivers what evaluations have put into the outbox, in whichever process leads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable

import msgspec

from gemma_gateway.alerts.store import MOST_DEAD, AlertStore, DeadLetter, Delivery, text
from gemma_gateway.alerts.webhook import Webhooks, pause
from gemma_gateway.core.periodic import Periodic
from gemma_gateway.settings.alerts import AlertSettings
from gemma_gateway.storage import Argument, StoreError

MOST_AT_ONCE = 16
CLAIM_MARGIN = 2.0  # seconds a claim outlives the attempt: time to tell the store what came of it

log = logging.getLogger(__name__)


class Notifier:
    """Sends notifications that are due, and tries again later what fails.

    A notification is sent at least once. It could be sent twice only where the leader dies between
    the receiver's answer and the next command to the store; it has the same id then.

    Args:
        settings: attempts, pauses, time-out.
        alert_store: where the notifications are.
        webhooks: where they go.
        leads: whether this process leads.

    Attributes:
        results: attempts of this process by ``delivered``, ``failed`` (is tried again) and ``dead``
            (given up).
    """

    def __init__(
        self,
        settings: AlertSettings,
        alert_store: AlertStore,
        webhooks: Webhooks,
        leads: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._alert_store = alert_store
        self._webhooks = webhooks
        self._leads = leads
        self._unsettled: list[tuple[Delivery, tuple[Argument, ...]]] = []
        failure = "notifications could not be sent"
        self._rounds = Periodic(self._work, settings.interval_seconds, failure)
        self.results: Counter[str] = Counter(delivered=0, failed=0, dead=0)

    async def start(self) -> None:
        """Begin."""
        await self._rounds.start()

    async def stop(self) -> None:
        """Finish the attempts that have begun (``timeout_seconds`` at most). Idempotent."""
        await self._rounds.finish()

    def wake(self) -> None:
        """There is something to send."""
        self._rounds.wake()

    async def _work(self) -> None:
        if self._leads():
            with contextlib.suppress(StoreError):  # claims end by themselves
                await self._round()

    async def _round(self) -> None:
        while self._unsettled:
            delivery, verdict = self._unsettled[0]
            await self._alert_store.settle(delivery, *verdict)
            del self._unsettled[0]
        before = asyncio.get_running_loop().time() + self._settings.timeout_seconds
        claimed = await self._alert_store.claim(
            self._settings.timeout_seconds + CLAIM_MARGIN, MOST_AT_ONCE
        )
        await asyncio.gather(*(self._deliver(delivery, before) for delivery in claimed))

    async def _deliver(self, delivery: Delivery, before: float) -> None:
        error = await self._webhooks.send(delivery, before)
        verdict = self._verdict(delivery, error)
        try:
            await self._alert_store.settle(delivery, *verdict)
        except StoreError:
            self._unsettled.append((delivery, verdict))

    def _verdict(self, delivery: Delivery, error: str) -> tuple[Argument, ...]:
        if not error:
            self.results["delivered"] += 1
            return ("done",)
        failed = msgspec.structs.replace(delivery, attempts=delivery.attempts + 1)
        if failed.attempts < self._settings.attempts:
            self.results["failed"] += 1
            seconds = pause(self._settings.retry_seconds, failed.attempts)
            return "retry", text(failed), int(seconds * 1000)
        self.results["dead"] += 1
        log.warning("gave up notifying webhook %s of %s: %s", delivery.webhook, delivery.id, error)
        return "dead", text(DeadLetter(failed, error, time.time())), MOST_DEAD
