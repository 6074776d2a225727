"""Feedback of callers on their own calls."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

from gemma_gateway.core.buckets import Buckets
from gemma_gateway.core.call import Principal
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.record import Record
from gemma_gateway.monitoring.records import RequestLog
from gemma_gateway.quality.book import Book, Feedback

# An engine's answer carries the id that the gateway gave the call: vLLM puts a prefix before it
# (``chatcmpl-``, ``cmpl-``), and for completions the number of the choice behind it.
_ENGINE_ID = re.compile(r"call-[0-9a-f]{16}-[0-9a-f]{1,16}")
NEWEST = 500  # records that every look-up reads: feedback mostly comes soon
OLDER = 10_000  # that a second look reads, one of them at a time in this process: 20 ms of CPU
OLDER_BURST, OLDER_PER_SECOND = 10, 0.2  # such looks for each key


class FeedbackService:
    """Takes feedback for calls that the request log knows.

    Args:
        request_log: the finished calls.
        book: where feedback is kept.
        observe: told each score, with the model's name.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        request_log: RequestLog,
        book: Book,
        observe: Callable[[str, float], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._request_log = request_log
        self._book = book
        self._observe = observe
        self._clock = clock
        self._looking = asyncio.Lock()
        self._older = Buckets(OLDER_BURST, OLDER_PER_SECOND)

    async def take(
        self, principal: Principal, response_id: str, score: float, comment: str
    ) -> Feedback:
        """Keep what a caller says of one of its calls; of the same call the last word counts.

        Args:
            principal: the caller.
            response_id: ``x-request-id`` of the answer, or the answer's own ``id``.
            score: 0 (bad) to 1 (good).
            comment: for operators; may be empty.

        Raises:
            GatewayError: RESPONSE_NOT_FOUND: no such call, or not this caller's; ENGINE_OVERLOADED:
                too many look-ups of old calls at once; RATE_LIMIT_EXCEEDED: too many of this
                caller's.
        """
        record = await self._find(principal.key_id, response_id)
        if record is None:
            raise GatewayError(Code.RESPONSE_NOT_FOUND, param="response_id")
        columns = record.columns() | {"time": self._clock()}
        feedback = Feedback(**columns, score=score, comment=comment)
        self._book.hear(feedback)
        self._observe(record.model, score)
        return feedback

    async def _find(self, key_id: str, response_id: str) -> Record | None:
        found = _ENGINE_ID.search(response_id)
        names = {response_id, found.group() if found else response_id}

        def pick(records: list[Record]) -> Record | None:
            """The newest one: a client may use a request id twice."""
            return next(
                (r for r in records if r.key_id == key_id and names & {r.id, r.request_id}), None
            )

        records = await self._request_log.recent(NEWEST)
        record = pick(records)
        if record is not None or len(records) < NEWEST:
            return record
        if wait := self._older.take(key_id):
            raise GatewayError(
                Code.RATE_LIMIT_EXCEEDED,
                "Too much feedback on old answers, or on none; try again later.",
                wait=wait,
            )
        if self._looking.locked():
            raise GatewayError(Code.ENGINE_OVERLOADED)
        async with self._looking:
            return pick(await self._request_log.recent(OLDER))
