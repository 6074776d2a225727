"""Looking up the call that feedback is about: what it may cost."""

from __future__ import annotations

import time

import pytest

from gemma_gateway.core.buckets import Buckets
from gemma_gateway.core.call import Principal
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.monitoring.records import RequestLog
from gemma_gateway.quality.book import Book
from gemma_gateway.quality.feedback import (
    NEWEST,
    OLDER_BURST,
    OLDER_PER_SECOND,
    FeedbackService,
)
from gemma_gateway.settings import Tier
from gemma_gateway.storage.redis import Store
from tests.records import numbered

ME, OTHER = (Principal(c * 64, c, "default", Tier()) for c in "ab")


async def test_looks_at_old_calls_are_bounded_by_key(store: Store, prefix: str) -> None:
    request_log = RequestLog(store, prefix, records_max=10_000, records_seconds=86_400)
    for n in range(NEWEST + 100):
        more = {"key_id": ME.key_id, "time": time.time()}
        request_log.add(numbered(**more, **({"request_id": f"old-{n}"} if n < 5 else {})))
    request_log.add(numbered(**more, request_id="new"))
    await request_log.flush()
    service = FeedbackService(request_log, Book(store, prefix), lambda model, score: None)
    now = 0.0  # stands still: nothing flows back, however slow the machine
    service._older = Buckets(OLDER_BURST, OLDER_PER_SECOND, clock=lambda: now)

    async def look(who: Principal, name: str) -> Code | None:
        try:
            await service.take(who, name, 1.0, "")
        except GatewayError as error:
            return error.code
        return None

    assert await look(ME, "old-1") is None
    unknown = [await look(ME, f"nothing-{n}") for n in range(OLDER_BURST + 5)]
    found, refused = [Code.RESPONSE_NOT_FOUND], [Code.RATE_LIMIT_EXCEEDED]
    assert unknown == found * (OLDER_BURST - 1) + refused * 6
    assert await look(ME, "new") is None  # what is looked for among the newest isn't bounded
    assert await look(OTHER, "old-1") is Code.RESPONSE_NOT_FOUND  # neither is another key
    with pytest.raises(GatewayError) as raised:
        await service.take(ME, "old-1", 1.0, "")
    assert raised.value.headers["retry-after"] == "5"
    now = 5.0
    assert await look(ME, "old-1") is None
