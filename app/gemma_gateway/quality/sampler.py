"""A share of the calls, listened to and judged once they are over."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable

from gemma_gateway.core.background import cancelled
from gemma_gateway.core.call import Call, Client
from gemma_gateway.core.errors import Code
from gemma_gateway.quality.book import Book, Rating
from gemma_gateway.quality.judge import Judge
from gemma_gateway.quality.scores import NAMES, Scores
from gemma_gateway.quality.transcript import item_of
from gemma_gateway.telemetry.log import logger

QUEUE = 64  # calls that wait to be judged
MAX_BYTES = 256 * 1024  # of a request and of an answer; longer ones are not judged
JUDGED = ("ok", Code.RESPONSE_FILTERED.name)  # outcomes with an answer

Observe = Callable[[str, str, float], None]


class Listener:
    """A client that hears along: everything goes on to the client itself at once.

    Args:
        call: the call.
        client: who gets the answer.
        offer: told when the call is over.
    """

    __slots__ = ("_client", "_offer", "answer_bytes", "call", "ended", "filtered", "parts")

    def __init__(self, call: Call, client: Client, offer: Callable[[Listener], None]) -> None:
        self.call = call
        self.parts: list[bytes] = []
        self.answer_bytes = 0
        self.filtered = False
        self.ended = 0.0  # seconds since the epoch
        self._client = client
        self._offer = offer

    async def body(self) -> bytes:
        """See ``Client.body``."""
        return await self._client.body()

    def expect(self) -> None:
        """See ``Client.expect``."""
        self._client.expect()

    async def answer(self, call: Call, status: int, body: bytes) -> None:
        """See ``Client.answer``."""
        self._hear(body)
        await self._client.answer(call, status, body)

    async def begin(self, call: Call) -> None:
        """See ``Client.begin``."""
        await self._client.begin(call)

    async def write(self, data: bytes) -> None:
        """See ``Client.write``."""
        self._hear(data)
        await self._client.write(data)

    async def end(self) -> None:
        """See ``Client.end``."""
        await self._client.end()

    def done(self, outcome: str) -> None:
        """The call is over, and not by an error that ended it on its way."""
        if outcome in JUDGED:
            self.filtered = outcome != "ok"
            self.ended = time.time()
            self._offer(self)

    def _hear(self, data: bytes) -> None:
        self.answer_bytes += len(data)
        if self.answer_bytes <= MAX_BYTES:
            self.parts.append(data)
        else:
            self.parts.clear()


class Sampler:
    """Chooses calls, and has one worker judge them, one after another.

    No call waits for it, and none fails by it: what it can't take it drops and counts. Content is
    in memory until it is judged, and goes nowhere but to the engine that wrote it.

    Args:
        judge: gives the scores.
        book: keeps them.
        busy: whether the engine has enough to do; such calls are dropped.
        observe: told each score: model, name, value.
        chance: gives numbers from 0 to 1.

    Attributes:
        counts: sampled calls by what became of them.
    """

    def __init__(
        self,
        judge: Judge,
        book: Book,
        busy: Callable[[], bool],
        observe: Observe,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._judge = judge
        self._book = book
        self._busy = busy
        self._observe = observe
        self._chance = chance
        self._queue: asyncio.Queue[Listener] = asyncio.Queue(QUEUE)
        self._task: asyncio.Task[None] | None = None
        outcomes = ("judged", "queue_full", "engine_busy", "too_long", "no_text", "failed")
        self.counts: Counter[str] = Counter(dict.fromkeys(outcomes, 0))

    async def start(self) -> None:
        """Begin to judge."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop, and forget what was not judged. Idempotent."""
        await cancelled(self._task)
        self._task = None
        while not self._queue.empty():
            self._queue.get_nowait()

    def listen(self, call: Call, client: Client) -> Listener | None:
        """Who the answer goes to instead of ``client``; None: this call is not in the sample."""
        if call.principal is None or not call.dialect.judged:
            return None
        share = call.principal.tier.quality_sample
        if not share or self._chance() >= share:
            return None
        return Listener(call, client, self._offer)

    def _offer(self, heard: Listener) -> None:
        if max(heard.answer_bytes, len(heard.call.request.raw)) > MAX_BYTES:
            self.counts["too_long"] += 1
            return
        try:
            self._queue.put_nowait(heard)
        except asyncio.QueueFull:
            self.counts["queue_full"] += 1

    async def _run(self) -> None:
        while True:
            heard = await self._queue.get()
            try:
                self.counts[await self._judged(heard)] += 1
            except Exception as error:  # of any kind: a score is never worth more than the service
                self.counts["failed"] += 1
                logger.warning("a call could not be judged: %s", type(error).__name__)

    async def _judged(self, heard: Listener) -> str:
        """Judge a call; what became of it."""
        if self._busy():
            return "engine_busy"
        call = heard.call
        answer = b"".join(heard.parts)
        # in a thread: reading thousands of events would hold the other calls up
        item = await asyncio.to_thread(item_of, call, answer, heard.filtered)
        if item is None:
            return "no_text"
        scores = await self._judge.score(item)
        self._book.rate(_rating(call, heard.ended, scores))
        for name in NAMES:
            value = getattr(scores, name)
            if value is not None:
                self._observe(call.request.model, name, value)
        return "judged"


def _rating(call: Call, ended: float, scores: Scores) -> Rating:
    principal = call.principal
    assert principal is not None  # ``listen`` takes no other
    return Rating(
        time=ended,
        id=call.engine_id,
        request_id=call.id,
        key_id=principal.key_id,
        tier=principal.tier_name,
        route=call.path,
        model=call.request.model,
        scores=scores,
    )
