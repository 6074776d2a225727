"""Listing and changing keys: what stands behind ``/v1/keys``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from gemma_gateway.access.keys import Key, KeyRing
from gemma_gateway.access.managed import ManagedKeys, unavailable
from gemma_gateway.access.model import StoredKey
from gemma_gateway.access.repository import KeyRepository
from gemma_gateway.access.service import Fields, KeyService
from gemma_gateway.admin.views import KeyList, KeyUsage, KeyView, KeyWithSecret, Spent, tier_views
from gemma_gateway.core.call import Principal
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.limits.ledger import Ledger
from gemma_gateway.monitoring.prices import Prices
from gemma_gateway.settings import LimitSettings
from gemma_gateway.storage import StoreError

MAX_PAGE = 200  # keys; the usage of each takes two small look-ups, all sent at once


class KeyAdmin:
    """All keys, whether they come from the settings or were made at run time.

    Args:
        ring: the keys of the settings.
        repository: those made at run time.
        managed: what this process knows of them.
        service: changes them.
        ledger: what they have used.
        prices: what that costs.
        limits: the tiers.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        ring: KeyRing,
        repository: KeyRepository,
        managed: ManagedKeys,
        service: KeyService,
        ledger: Ledger,
        prices: Prices,
        limits: LimitSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fixed = {key.principal.key_id: key for key in ring.of_settings()}
        self._repository = repository
        self._managed = managed
        self._service = service
        self._ledger = ledger
        self._prices = prices
        self._tiers = tier_views(limits)
        self._clock = clock

    async def page(self, limit: int, after: str) -> KeyList:
        """Some keys, with what they have used.

        Args:
            limit: keys wanted, at most ``MAX_PAGE``.
            after: id of the last key of the page before; empty: from the first one on.

        Raises:
            GatewayError: VALIDATION_ERROR (no key has the id ``after``) or KEY_STORE_UNAVAILABLE.
        """
        found: list[Key | StoredKey] = []
        if after in self._fixed or not after:
            ids = list(self._fixed)
            begin = ids.index(after) + 1 if after else 0
            found += [self._fixed[key_id] for key_id in ids[begin : begin + limit + 1]]
            after = ""
        try:
            if len(found) <= limit:
                stored = await self._repository.page(after, limit + 1 - len(found))
                if stored is None:
                    raise GatewayError(Code.VALIDATION_ERROR, "No such key.", param="after")
                found += stored
            more, found = len(found) > limit, found[:limit]
            data = await self._views(found)
        except StoreError as error:
            raise unavailable() from error
        return KeyList(data=data, cursor=data[-1].id if more else None, tiers=self._tiers)

    async def own(self, principal: Principal) -> KeyView:
        """The key that a caller calls with; its usage isn't told while the store is unavailable.

        Raises:
            GatewayError: KEY_STORE_UNAVAILABLE, where this process hardly knows the key itself.
        """
        key = self._fixed.get(principal.key_id) or self._managed.key(principal.key_id)
        try:
            if key is None:
                row = (await self._repository.get([principal.key_id]))[0]
                key = row.key if row else Key(b"", principal)  # the anonymous caller has no key
            return (await self._views([key]))[0]
        except StoreError as error:
            if key is None:
                raise unavailable() from error
            return KeyView.of(key, None, self._clock())

    async def create(self, by: Principal, fields: Fields) -> KeyWithSecret:
        """See :meth:`access.service.KeyService.create`."""
        return await self._shown(*await self._service.create(by, fields))

    async def change(self, by: Principal, key_id: str, fields: Fields) -> KeyView:
        """See :meth:`access.service.KeyService.change`; a key of the settings is a
        KEY_CONFLICT, too."""
        self._only_stored(key_id)
        return await self._view(await self._service.change(by, key_id, fields))

    async def rotate(self, by: Principal, key_id: str, grace_seconds: float) -> KeyWithSecret:
        """See :meth:`access.service.KeyService.rotate` and :meth:`change`."""
        self._only_stored(key_id)
        return await self._shown(*await self._service.rotate(by, key_id, grace_seconds))

    async def revoke(self, by: Principal, key_id: str) -> KeyView:
        """See :meth:`access.service.KeyService.revoke` and :meth:`change`."""
        self._only_stored(key_id)
        return await self._view(await self._service.revoke(by, key_id))

    def _only_stored(self, key_id: str) -> None:
        if key_id in self._fixed:
            raise GatewayError(
                Code.KEY_CONFLICT, "This key comes from the gateway's settings; change it there."
            )

    async def _shown(self, key: StoredKey, secret: str) -> KeyWithSecret:
        return KeyWithSecret(**dict(await self._view(key)), key=secret)

    async def _view(self, key: StoredKey) -> KeyView:
        """A key that was changed just now: it is told of even if the store has gone since."""
        try:
            return (await self._views([key]))[0]
        except StoreError:
            return KeyView.of(key, None, self._clock())

    async def _views(self, keys: Sequence[Key | StoredKey]) -> list[KeyView]:
        ids = [key.id if isinstance(key, StoredKey) else key.principal.key_id for key in keys]
        used = await self._ledger.spent(ids)
        now, prices = self._clock(), self._prices
        return [
            KeyView.of(
                key, KeyUsage(today=Spent.of(day, prices), all_time=Spent.of(whole, prices)), now
            )
            for key, (day, whole) in zip(keys, used, strict=True)
        ]
