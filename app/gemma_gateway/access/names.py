"""What operators call a key, by its id."""

from __future__ import annotations

from collections.abc import Sequence

from gemma_gateway.access.keys import ANONYMOUS_ID, KeyRing
from gemma_gateway.access.repository import KeyRepository


class Names:
    """Names of all keys, those of the settings and those made at run time.

    Args:
        ring: the keys of the settings.
        repository: the keys made at run time.
    """

    def __init__(self, ring: KeyRing, repository: KeyRepository) -> None:
        self._repository = repository
        self._fixed = {key.principal.key_id: key.principal.name for key in ring.of_settings()}
        self._fixed.setdefault(ANONYMOUS_ID, "anonymous")

    async def of(self, key_ids: Sequence[str]) -> dict[str, str]:
        """Names by id, without those of keys that are not known any more.

        Raises:
            StoreError: the store is unavailable.
        """
        found = {key_id: self._fixed[key_id] for key_id in key_ids if key_id in self._fixed}
        others = [key_id for key_id in key_ids if key_id not in found]
        if others:
            for row in await self._repository.get(others):
                if row is not None:
                    found[row.key.id] = row.key.name
        return found
