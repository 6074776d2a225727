"""Access tokens of a Google identity, for model servers on Vertex AI (extra ``google``)."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

from gemma_gateway.core.periodic import Periodic

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
MARGIN = 300.0  # seconds before its end that a token is replaced; they live for an hour
RETRY = 10.0  # seconds after a failed try

log = logging.getLogger("gateway")


class GoogleToken:
    """A token that is always fresh: found by google-auth's rules (Application Default Credentials,
    on GKE the workload's own identity), fetched in a thread, replaced before it ends.

    Raises:
        RuntimeError: google-auth isn't installed.
    """

    def __init__(self) -> None:
        try:
            import google.auth
            from google.auth.transport.requests import Request
        except ImportError:
            raise RuntimeError(
                "GATEWAY_UPSTREAM_CREDENTIALS=google needs: pip install 'gemma-gateway[google]'"
            ) from None
        self._find = google.auth.default
        self._errors = google.auth.exceptions.GoogleAuthError
        self._request = Request
        self._credentials: Any = None
        self._pause = RETRY  # seconds until the next try
        failure = "a Google access token can't be fetched"
        self._renewing = Periodic(self._renew, lambda: self._pause, failure)
        self.header = ""  # value of the Authorization header; empty before the first token

    async def start(self) -> None:
        """Fetch the first token; where that fails, keep trying in the background."""
        await self._renew()
        await self._renewing.start()

    async def stop(self) -> None:
        """Stop refreshing. Idempotent."""
        await self._renewing.stop()

    async def _renew(self) -> None:
        self._pause = RETRY  # should this try raise something
        self._pause = await self._fetch()

    async def _fetch(self) -> float:
        """One try; seconds until the next one. A token that still holds is kept when it fails."""
        try:
            await asyncio.to_thread(self._refresh)
        except self._errors as error:
            log.warning("no Google access token: %s", type(error).__name__)
            return RETRY
        self.header = f"Bearer {self._credentials.token}"
        return max(RETRY, self._seconds_left() - MARGIN)

    def _refresh(self) -> None:
        if self._credentials is None:
            self._credentials, _ = self._find(scopes=[SCOPE])
        self._credentials.refresh(self._request())

    def _seconds_left(self) -> float:
        expiry: datetime | None = self._credentials.expiry  # UTC, without a zone
        if expiry is None:
            return 0.0
        return (expiry.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()
