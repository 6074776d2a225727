"""The run-time keys in the store, shared by all gateways."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from gemma_gateway.access.model import StoredKey
from gemma_gateway.storage import Argument, Script, Store, StoreError, lua, prepare

MAX_CHANGES = 1000  # ids told at once
LAST = 2**53  # no change has a larger number


def _script(name: str) -> Script:
    return Script(lua("gemma_gateway.access", name))


FIND, PAGE, CHANGES, WRITE = map(_script, ("find", "page", "changes", "write"))


class Row(NamedTuple):
    """A key, and the very bytes that stand in the store."""

    key: StoredKey
    raw: bytes


class Changes(NamedTuple):
    """What has happened to the keys of the store.

    Args:
        last: number of the last change of all; 0: there was none.
        seen: number of the last one in ``ids``; ``last`` when there are no more.
        ids: keys that have changed.
    """

    last: int
    seen: int
    ids: tuple[str, ...]


class KeyRepository:
    """Keys by id and by the digest of their secrets. Every method is one round trip.

    Nothing here depends on how many keys there are but :meth:`page`, by a logarithm. Digests and
    ids are hex digits: nothing else becomes a field.

    Args:
        store: where the keys are.
        prefix: first part of the store's key names, which share one hash tag.
    """

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        names = ("records", "digests", "index", "changed", "ends", "number")
        self._records, self._digests, self._index, self._changed, self._ends, self._number = (
            f"{prefix}:{{keys}}:{name}" for name in names
        )

    async def find(self, digest: str) -> StoredKey | None:
        """The key that a secret belongs to, also one that is over; None: nobody's.

        Args:
            digest: hex of the secret's SHA-256.

        Raises:
            StoreError: the store is unavailable, or what it holds is no key.
        """
        call = prepare(FIND, (self._digests, self._records), (digest,))
        raw = await self._store.promptly(call)
        return None if raw is None else _decode(raw).key

    async def get(self, ids: Iterable[str]) -> list[Row | None]:
        """Keys by id; None where there is none.

        Raises:
            StoreError: the store is unavailable, or what it holds is no key.
        """
        found = await self._store.call("HMGET", self._records, *ids)
        return [None if raw is None else _decode(raw) for raw in found]

    async def page(self, after: str, limit: int) -> list[StoredKey] | None:
        """Keys, newest first.

        Args:
            after: id of the last key of the page before; empty: from the first one on.
            limit: keys wanted, at most some thousands.

        Returns:
            None: there is no key with the id ``after``.

        Raises:
            StoreError: the store is unavailable, or what it holds is no key.
        """
        found = await self._store.run(prepare(PAGE, (self._index, self._records), (after, limit)))
        if found is None:
            return None
        return [_decode(raw).key for raw in found if raw is not None]

    async def changes(self, since: int) -> Changes:
        """Keys that have changed after the change with the number ``since``. (A new key is none:
        nobody can know it already.)

        Raises:
            StoreError: the store is unavailable.
        """
        call = prepare(CHANGES, (self._number, self._changed), (since, MAX_CHANGES))
        last, *found = await self._store.run(call)
        ids, numbers = found[::2], found[1::2]
        seen = int(float(numbers[-1])) if len(ids) == MAX_CHANGES else int(last)
        return Changes(int(last), seen, tuple(name.decode() for name in ids))

    async def write(
        self,
        key: StoredKey,
        replaces: Row | None,
        digests: Mapping[str, float],
        forget: float = math.inf,
    ) -> bool:
        """Write a key, if it still is what was read.

        Args:
            key: what to write.
            replaces: what was read; None: the key is new.
            digests: digests that begin to lead to it (infinity), or that are forgotten at a time
                in seconds since the epoch.
            forget: when the key itself is forgotten, in the same way.

        Returns:
            False: somebody else has changed it meanwhile. Sending the same again is harmless.

        Raises:
            StoreError: no answer; it may have been written or not.
        """
        names = (self._records, self._digests, self._index, self._changed, self._ends, self._number)
        raw = msgspec.json.encode(key)
        pairs = [part for d, end in digests.items() for part in (d, _second(end))]
        arguments: list[Argument] = [key.id, replaces.raw if replaces else b"", raw]
        reply = await self._store.run(prepare(WRITE, names, [*arguments, _second(forget), *pairs]))
        return bool(reply)


def _second(moment: float) -> int:
    return 0 if moment == math.inf else math.ceil(moment)


def _decode(raw: bytes) -> Row:
    try:
        return Row(msgspec.json.decode(raw, type=StoredKey), raw)
    except msgspec.MsgspecError as error:
        raise StoreError(f"a key in the store can't be read: {error}") from error
