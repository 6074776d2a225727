"""Sums and records on their way to the store: gathered here, written in batches, each once."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Generic, TypeVar

from gemma_gateway.core.periodic import Periodic
from gemma_gateway.storage.connection import Prepared, StoreError
from gemma_gateway.storage.redis import Store

FLUSH_SECONDS = 0.5
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Batch(Generic[T]):
    """What one script call writes.

    Args:
        content: what is in it.
        call: the script call; sent again, it must count once.
        sent: before now; whether it arrived isn't known.
    """

    content: T
    call: Prepared
    sent: bool = False


class WriteBehind(ABC, Generic[T]):
    """Writes to the store what its subclass gathers, twice a second, so that no call waits for it.

    A batch whose answer got lost is sent again before anything newer. How much is kept while the
    store is unavailable is up to the subclass. What has not been written when the process is killed
    is lost: at most half a second.

    Args:
        store: where it is written.
        at_once: batches in flight at the same time.
        repack: a batch that failed isn't kept as it is: the subclass packs it anew, with what has
            come since. Only for scripts to which the same entries may be given twice.

    Attributes:
        what: is written, for the log.
    """

    what: ClassVar[str]

    def __init__(self, store: Store, *, at_once: int = 1, repack: bool = False) -> None:
        self._store = store
        self._at_once = at_once
        self._repack = repack
        self._unanswered: dict[Batch[T], None] = {}  # in the order in which they were packed
        self._flushing = asyncio.Lock()
        self._flushes = Periodic(self.flush, FLUSH_SECONDS, f"{self.what} could not be written")

    async def start(self) -> None:
        """Begin to flush in the background."""
        await self._flushes.start()

    async def stop(self) -> None:
        """Write what is left. Idempotent; returns at once when the store is unavailable."""
        await self._flushes.stop()
        await self.flush()

    async def flush(self) -> bool:
        """Write everything now.

        Returns:
            Whether all of it was written; False at once when the store is unavailable.
        """
        return await self._write(self._batches())

    @abstractmethod
    def _batches(self) -> Iterator[Batch[T]]:
        """Pack what waits, a batch each time that the next one is asked for."""

    async def _written(self, batch: Batch[T], again: bool) -> None:
        """A batch has arrived.

        Args:
            batch: the batch.
            again: it was sent before, too; that copy may still be on its way.

        Raises:
            StoreError: the store went away; the batch counts as written all the same.
        """

    async def _write(
        self, fresh: Iterator[Batch[T]], among: Callable[[T], bool] = lambda content: True
    ) -> bool:
        """Send again what has no answer yet, and then what is new.

        Args:
            fresh: the new batches.
            among: which contents are to be sent again.
        """
        async with self._flushing:
            again = iter([batch for batch in self._unanswered if among(batch.content)])
            for batches in (again, fresh):
                while some := list(islice(batches, self._at_once)):
                    self._unanswered |= dict.fromkeys(some)
                    if not all(await asyncio.gather(*map(self._send, some))):
                        return False
            return True

    async def _send(self, batch: Batch[T]) -> bool:
        again, batch.sent = batch.sent, True
        try:
            await self._store.run(batch.call)
            del self._unanswered[batch]
            await self._written(batch, again)
        except StoreError:
            return False
        finally:
            if self._repack:
                self._unanswered.pop(batch, None)
        return True
