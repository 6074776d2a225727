"""Notifications over HTTP: bodies, signature, and one attempt to deliver.

The signature is made as Stripe makes its own: HMAC-SHA256 over the time, a dot and the body, so
that neither can be changed, and an old notification can't be sent again unnoticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import random
import socket
import time
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

import orjson

from gemma_gateway import __version__
from gemma_gateway.alerts.alert import Alert
from gemma_gateway.alerts.store import Delivery
from gemma_gateway.alerts.view import AlertView, moment, title
from gemma_gateway.engines.upstream.http1 import Broken, Connection
from gemma_gateway.engines.upstream.origin import ConnectFailed, Origin
from gemma_gateway.settings.alerts import SEVERITIES, Severity, Webhook

LONGEST_PAUSE = 300.0  # seconds between two attempts
LAST_WORDS = 1.0  # seconds that a receiver may take for the body of its answer
MOST_WORDS = 16 * 1024  # bytes of it
COLOURS = {"high": "#c62828", "medium": "#ef6c00", "low": "#f9a825"}
RESOLVED_COLOUR = "#2e7d32"
HOST = socket.gethostname()


def pause(first: float, attempts: int) -> float:
    """Seconds until the next attempt: doubled after each, and half of it by chance, so that
    notifications that failed together don't come back together.

    Args:
        first: pause after the first failed attempt, in seconds.
        attempts: failed so far, at least 1.
    """
    whole = min(first * 2.0 ** (attempts - 1), LONGEST_PAUSE)
    return whole * (0.5 + random.random() / 2)  # noqa: S311 - no secret


def signature(secret: str, stamp: int, body: bytes) -> str:
    """Value of ``x-gateway-signature``: ``t=STAMP,v1=HEX``.

    Args:
        secret: shared with the receiver.
        stamp: seconds since the epoch.
        body: as it is sent.
    """
    signed = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256)
    return f"t={stamp},v1={signed.hexdigest()}"


def json_body(delivery: Delivery, now: float) -> bytes:
    """The alert as the API shows it, with the notification's id, time and sender."""
    view = AlertView.of(delivery.alert).model_dump(exclude={"id", "silenced_until"})
    return orjson.dumps(
        {
            "id": delivery.id,
            "timestamp": moment(now),
            "sender": HOST,
            "alert_id": delivery.alert.id,
            **view,
        }
    )


def slack_body(delivery: Delivery, now: float) -> bytes:
    """Slack's incoming webhook: a line of text, and an attachment with a coloured edge."""
    alert = delivery.alert
    state = alert.severity if alert.state == "firing" else alert.state
    heading = f"[{state}] {title(alert.rule, alert.kind)}"
    if alert.upstream:
        heading += f": {alert.upstream}"
    colour = RESOLVED_COLOUR if alert.state == "resolved" else COLOURS[alert.severity]
    attachment = {
        "color": colour,
        "text": _escaped(alert.message),
        "fallback": _escaped(f"{heading}: {alert.message}"),
        "footer": _escaped(HOST),
        "ts": int(now),
    }
    return orjson.dumps({"text": f"*{_escaped(heading)}*", "attachments": [attachment]})


def _escaped(text: str) -> str:
    """Slack's three special characters."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


BODIES: dict[str, Callable[[Delivery, float], bytes]] = {"json": json_body, "slack": slack_body}


class Webhooks:
    """The webhooks of the settings. No redirect is followed, of an answer only the status counts,
    TLS is verified, and no proxy is used.

    Args:
        webhooks: where to send.
        timeout: longest wait for an answer, in seconds.
    """

    def __init__(self, webhooks: Iterable[Webhook], timeout: float) -> None:
        self._timeout = timeout
        self._receivers = {webhook.name: _Receiver(webhook, timeout) for webhook in webhooks}

    def for_severity(self, severity: Severity) -> list[str]:
        """Names of the webhooks that want alerts of this severity."""
        rank = SEVERITIES.index(severity)
        return [
            name for name, r in self._receivers.items() if rank >= SEVERITIES.index(r.min_severity)
        ]

    def deliveries(self, alert: Alert) -> list[Delivery]:
        """The notifications of an alert's present state."""
        return [Delivery.of(alert, name) for name in self.for_severity(alert.severity)]

    async def send(self, delivery: Delivery, before: float | None = None) -> str:
        """One attempt.

        Args:
            delivery: what to send where.
            before: loop time after which it must not be sent any more: a process that has been
                stopped for a while must not do what another one has done meanwhile.

        Returns:
            Why it failed; empty when the receiver has taken it (status 2xx).
        """
        receiver = self._receivers.get(delivery.webhook)
        if receiver is None:
            return "no such webhook in the settings"
        now = asyncio.get_running_loop().time()
        until = now + self._timeout if before is None else min(before, now + self._timeout)
        if now >= until:
            return "too late"
        try:
            async with asyncio.timeout_at(until):
                connection = await receiver.post(delivery)
        except TimeoutError:
            return f"no answer in {self._timeout:g} s"
        except ConnectFailed:
            return "no connection"
        except Broken:
            return "the connection broke"
        await _leave(connection)
        return "" if 200 <= connection.status < 300 else f"status {connection.status}"


class _Receiver:
    def __init__(self, webhook: Webhook, timeout: float) -> None:
        url = urlsplit(webhook.url.get_secret_value())
        self.min_severity = webhook.min_severity
        self._secret = webhook.secret.get_secret_value()
        self._body = BODIES[webhook.format]
        self._path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        headers = {
            "content-type": "application/json",
            "user-agent": f"gemma-gateway/{__version__}",
            "connection": "close",
        }
        self._origin = Origin(f"{url.scheme}://{url.netloc}", headers, timeout)

    async def post(self, delivery: Delivery) -> Connection:
        """Send it; the connection once the answer's head has come.

        Raises:
            ConnectFailed, Broken: see ``engines.upstream.origin``.
        """
        now = time.time()
        body = self._body(delivery, now)
        headers = {"x-gateway-delivery": delivery.id}
        if self._secret:
            headers["x-gateway-signature"] = signature(self._secret, int(now), body)
        return await self._origin.request("POST", self._path, headers, body, fresh=True)


async def _leave(connection: Connection) -> None:
    """Let the receiver finish its few words, which don't matter, and close."""
    with contextlib.suppress(TimeoutError, Broken):
        async with asyncio.timeout(LAST_WORDS):
            left = MOST_WORDS
            while left > 0 and (words := await connection.read()):
                left -= len(words)
    connection.abort()
