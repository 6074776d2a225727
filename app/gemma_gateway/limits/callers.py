"""Which callers used anything, and on which day last: an index over all of them.

Counts belong to their caller (see ``limits.script.key_name``), so that a Redis Cluster spreads
them; a report on everybody needs to know who there is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import date

from gemma_gateway.storage import Argument, Script, Store, StoreError, lua, prepare

SCRIPT = Script(lua("gemma_gateway.limits", "callers"))
SHARDS = "0123456789abcdef"  # by the first digit of the key's id: spread over a Redis Cluster
PAGE = 500  # callers in one command
MOST_KNOWN = 100_000  # callers that a process remembers to have noted
NOTED_SECONDS = 600  # for so long


class Callers:
    """The index, about 110 bytes of the store's memory a caller.

    Each process notes a caller that it serves at least every ``NOTED_SECONDS``, beside the calls'
    way.

    Args:
        store: where the index is kept.
        prefix: first part of the store's key names.
        days: how many days a caller stays in it after its last use.
    """

    def __init__(self, store: Store, prefix: str, days: int) -> None:
        self._store = store
        self._prefix = prefix
        self._days = days
        self._epoch: tuple[str, float] = ("", 0.0)
        self._known: set[str] = set()  # noted in this epoch, or about to be
        self._new: dict[tuple[str, str], list[str]] = {}  # by day and shard
        self._last: dict[str, str] = {}  # the caller that was last written, by shard
        self._flushing = asyncio.Lock()
        self._losses = 0  # of the store's connections, when the index was last looked at

    def note(self, key_id: str, day: str) -> None:
        """A caller is used.

        Args:
            key_id: hex digest of its key.
            day: ISO date.
        """
        epoch = (day, time.monotonic() // NOTED_SECONDS)
        if epoch != self._epoch or len(self._known) >= MOST_KNOWN:
            self._epoch = epoch
            self._known.clear()
        if key_id not in self._known:
            self._known.add(key_id)
            self._new.setdefault((day, key_id[0]), []).append(key_id)

    async def flush(self) -> None:
        """Write what is new. Returns at once when the store is unavailable; it is tried again
        then."""
        async with self._flushing:
            await self._flush()

    async def _flush(self) -> None:
        losses = self._store.losses
        if losses != self._losses:
            try:
                await self._look()
            except StoreError:
                return
            self._losses = losses
        for (day, shard), callers in list(self._new.items()):
            number = date.fromisoformat(day).toordinal()
            fixed = (number, number - self._days, (self._days + 1) * 86_400)
            while callers:
                page = callers[:PAGE]
                args: list[Argument] = [*fixed, *map(bytes.fromhex, page)]
                try:
                    await self._store.run(prepare(SCRIPT, [self._name(shard)], args))
                except StoreError:
                    return
                del callers[: len(page)]  # others may have come meanwhile
                self._last[shard] = page[-1]
            del self._new[day, shard]

    async def _look(self) -> None:
        """A store that went away may come back empty, or without the last of what it had: then
        all callers are new, also those that don't call again."""
        last = list(self._last.items())
        calls = (self._store.call("ZSCORE", self._name(s), bytes.fromhex(key)) for s, key in last)
        if None in await asyncio.gather(*calls):
            for key_id in self._known:
                self._new.setdefault((self._epoch[0], key_id[0]), []).append(key_id)
            self._last.clear()

    async def since(self, day: date) -> AsyncIterator[list[str]]:
        """Callers that were used on ``day`` or later, in the order of their ids, a page at a time.

        Raises:
            StoreError: the store went away.
        """
        for shard in SHARDS:
            found: set[str] = set()
            cursor = b"0"
            while True:
                cursor, flat = await self._store.call(
                    "ZSCAN", self._name(shard), cursor, "COUNT", PAGE
                )
                pairs = zip(flat[::2], flat[1::2], strict=True)
                found.update(key.hex() for key, last in pairs if int(last) >= day.toordinal())
                if cursor == b"0":
                    break
            ordered = sorted(found)
            for at in range(0, len(ordered), PAGE):
                yield ordered[at : at + PAGE]

    def _name(self, shard: str) -> str:
        return f"{self._prefix}:{{callers-{shard}}}:last-day"
