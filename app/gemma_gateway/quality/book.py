"""The book of scores and feedback, shared by all gateway processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec

from gemma_gateway.core.record import FinishedCall
from gemma_gateway.quality.scores import Scores
from gemma_gateway.storage import Batch, Script, Store, StoreError, WriteBehind, lua, prepare

SCRIPT = Script(lua("gemma_gateway.quality", "book"))
MOST = 10_000  # scores, and as many words of feedback, kept by all processes together
BATCH = 256  # of each in one script call
WAITING = 1000  # of each, kept here while the store is unavailable; the oldest go first
OWN = 1000  # of this process's scores and feedback, for answers while the store is unavailable
PAGE = 500  # entries that are read at once, so that callers' requests get in between
SKEW = 5.0  # seconds by which clocks of gateways and store may differ, and a score may come late


class Rating(FinishedCall, frozen=True):
    """The scores of one call. Never content.

    Args:
        scores: what the judge found.
    """

    scores: Scores


class Feedback(FinishedCall, frozen=True):
    """What a caller said of an answer; ``time`` is when it was said.

    Args:
        score: 0 (bad) to 1 (good).
        comment: in the caller's words, for operators; may be empty.
    """

    score: float
    comment: str = ""


Entries = Batch[tuple[list[Rating], list[Feedback]]]
_encode = msgspec.msgpack.Encoder().encode
_rating = msgspec.msgpack.Decoder(Rating).decode
_feedback = msgspec.msgpack.Decoder(Feedback).decode


class Book(WriteBehind[tuple[list[Rating], list[Feedback]]]):
    """Gathers in this process and writes to the store, twice a second.

    While the store is unavailable entries are kept here, ``WAITING`` of each kind, and written when
    it is back. What has not been written when the process is killed is lost: at most half a second.

    Args:
        store: where they are kept.
        prefix: first part of the store's key names.
        seconds: age at which they go.

    Attributes:
        lost: entries dropped, since the start.
    """

    what = "scores and feedback"

    def __init__(self, store: Store, prefix: str, seconds: float = 7 * 86_400) -> None:
        super().__init__(store, repack=True)
        self._seconds = int(seconds)
        base = f"{prefix}:{{quality}}"
        self._scores = f"{base}:scores"
        self._words = f"{base}:feedback"
        self._times = f"{base}:feedback:times"
        self._new_ratings: deque[Rating] = deque()
        self._new_feedback: dict[str, Feedback] = {}
        self._own_ratings: deque[Rating] = deque(maxlen=OWN)
        self._own_feedback: dict[str, Feedback] = {}
        self.lost = 0

    # ---- writing

    def rate(self, rating: Rating) -> None:
        """Take the scores of a call in. No I/O."""
        self._own_ratings.append(rating)
        self._new_ratings.append(rating)
        if len(self._new_ratings) > WAITING:
            self._new_ratings.popleft()
            self.lost += 1

    def hear(self, feedback: Feedback) -> None:
        """Take feedback in; of one call the last one counts. No I/O."""
        for held, most in ((self._new_feedback, WAITING), (self._own_feedback, OWN)):
            held.pop(feedback.id, None)
            held[feedback.id] = feedback
            if len(held) > most:
                del held[next(iter(held))]
                self.lost += held is self._new_feedback

    def _batches(self) -> Iterator[Entries]:
        while self._new_ratings or self._new_feedback:
            ratings = list(islice(self._new_ratings, BATCH))
            feedback = list(islice(self._new_feedback.values(), BATCH))
            args: list[str | bytes | int] = [MOST, self._seconds, len(ratings)]
            args += map(_encode, ratings)
            for said in feedback:
                args += [said.id, repr(said.time), _encode(said)]
            names = (self._scores, self._words, self._times)
            yield Batch((ratings, feedback), prepare(SCRIPT, names, args))

    async def _written(self, batch: Entries, again: bool) -> None:
        """Forget what was written; what came meanwhile stays."""
        ratings, feedback = batch.content
        for rating in ratings:
            if self._new_ratings and self._new_ratings[0] is rating:
                self._new_ratings.popleft()
        for said in feedback:
            if self._new_feedback.get(said.id) is said:
                del self._new_feedback[said.id]

    # ---- reading

    async def ratings(self, limit: int, start: float, end: float) -> tuple[list[Rating], bool]:
        """Scores, newest first.

        Args:
            limit: most to return.
            start: earliest end of a call, seconds since the epoch, inclusive.
            end: the same for the latest, exclusive.

        Returns:
            Them, and whether the store is unavailable: then they are this process's own.
        """
        await self.flush()
        found: dict[str, Rating] = {}
        oldest, last = str(max(0, int((start - SKEW) * 1000))), "+"
        try:
            while len(found) < limit:
                page = await self._store.call(
                    "XREVRANGE", self._scores, last, oldest, "COUNT", PAGE
                )
                for _, fields in page:
                    rating = _read(_rating, fields[1])
                    if rating is not None and start <= rating.time < end:
                        found.setdefault(rating.id, rating)
                if len(page) < PAGE:
                    break
                last = f"({page[-1][0].decode()}"
        except StoreError:
            own = [r for r in reversed(self._own_ratings) if start <= r.time < end]
            return own[:limit], True
        return sorted(found.values(), key=lambda r: r.time, reverse=True)[:limit], False

    async def feedback(self, limit: int, start: float, end: float) -> list[Feedback]:
        """Feedback by the time when it was given, newest first; see ``ratings``."""
        await self.flush()
        try:
            ids = await self._store.call(
                *("ZREVRANGEBYSCORE", self._times, f"({end!r}", repr(start), "LIMIT", 0, limit)
            )
            return await self._lookup(ids)
        except StoreError:
            own = reversed(self._own_feedback.values())
            return [said for said in own if start <= said.time < end][:limit]

    async def feedback_on(self, ids: Iterable[str]) -> dict[str, Feedback]:
        """Feedback on the calls of these ids, where there is some."""
        wanted = list(ids)
        try:
            return {said.id: said for said in await self._lookup(wanted)}
        except StoreError:
            return {name: self._own_feedback[name] for name in wanted if name in self._own_feedback}

    async def _lookup(self, ids: list[Any]) -> list[Feedback]:
        if not ids:
            return []
        found = await self._store.call("HMGET", self._words, *ids)
        decoded = (_read(_feedback, data) for data in found if data is not None)
        return [said for said in decoded if said is not None]


def _read(decode: Any, data: bytes) -> Any:
    try:
        return decode(data)
    except msgspec.DecodeError:  # a newer version's
        return None
