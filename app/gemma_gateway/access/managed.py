"""Run-time keys as this process knows them: a dictionary look-up for those that call often."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from gemma_gateway.access.model import StoredKey
from gemma_gateway.access.repository import LAST, MAX_CHANGES, KeyRepository
from gemma_gateway.core.call import Principal
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.periodic import Periodic
from gemma_gateway.settings import LimitSettings, Tier, Window
from gemma_gateway.storage import StoreError

POLL_SECONDS = 1.0  # between two looks at what has changed: how long a revoked key may still work
REREAD_SECONDS = 300.0  # a secret in use is read anew so often, whatever the changes say
REREADS = 100  # at most, with one look
UNKNOWN_SECONDS = 5.0  # how long a secret that is nobody's isn't asked for again
MAX_SECRETS = 20_000  # known secrets, the least recently used go first; about 2 KB each
MAX_UNKNOWN = 4096

log = logging.getLogger("gateway")


@dataclass(slots=True)
class _Secret:
    """What a secret, known by its digest, is good for.

    Args:
        key: whose it is.
        principal: who calls with it; the same object for all secrets of the key.
        until: seconds since the epoch; it works before that.
        refusal: what is said afterwards.
        reread: when it is to be read anew, seconds since the epoch.
    """

    key: StoredKey
    principal: Principal
    until: float
    refusal: Code
    reread: float


class ManagedKeys:
    """Keys made at run time, looked up once and then kept here.

    What is kept is right as long as the store tells of changes: it is asked for them every
    ``POLL_SECONDS``, and changes that were made while it was away are told when it is back. So a
    known key costs no round trip, and every gateway hears of a revoked one within two seconds.

    While the store is unavailable, known keys go on working for ``stale_seconds``; of unknown ones
    it can't be said whether they are valid, and their callers are told so.

    Args:
        repository: the keys in the store.
        limits: the tiers.
        stale_seconds: how old an unconfirmed key may get.
        clock: seconds since the epoch.

    Attributes:
        lookups: secrets asked of the store by callers, since the start.
    """

    def __init__(
        self,
        repository: KeyRepository,
        limits: LimitSettings,
        stale_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._repository = repository
        self._limits = limits
        self._stale_seconds = stale_seconds
        self._clock = clock
        self._secrets: OrderedDict[bytes, _Secret] = OrderedDict()
        self._digests: dict[str, set[bytes]] = {}  # of each key in _secrets
        self._unknown: OrderedDict[bytes, float] = OrderedDict()  # to the end of that knowledge
        self._once: OrderedDict[bytes, None] = OrderedDict()  # see ``remembers``
        self._due: dict[bytes, None] = {}  # to be read anew
        self._tiers: dict[str, Tier] = {}
        self._seen: int | None = None  # number of the last change that was taken in
        self._confirmed = time.monotonic()  # when the store last told of changes
        failure = "could not follow key changes"
        self._following = Periodic(self._keep_up, POLL_SECONDS, failure)
        self.lookups = 0

    def __len__(self) -> int:
        return len(self._secrets)

    @property
    def unconfirmed(self) -> float:
        """Seconds since the store last told of changes."""
        return time.monotonic() - self._confirmed

    async def start(self) -> None:
        """Begin to follow the changes in the background."""
        await self._following.start()
        self._following.wake()

    async def stop(self) -> None:
        """End that. Idempotent."""
        await self._following.stop()

    def known(self, digest: bytes) -> Principal | None:
        """Who calls with a secret, as far as this process knows it; None: ask :meth:`find`.

        Args:
            digest: SHA-256 of the secret, 32 bytes.

        Raises:
            GatewayError: API_KEY_EXPIRED or API_KEY_REVOKED.
        """
        secret = self._secrets.get(digest)
        if secret is None:
            return None
        self._secrets.move_to_end(digest)
        now = self._clock()
        if now >= secret.reread:
            secret.reread = now + REREAD_SECONDS
            self._due[digest] = None
        if now >= secret.until:
            raise GatewayError(secret.refusal)
        return secret.principal

    async def find(self, digest: bytes) -> Principal | None:
        """The same of a secret that isn't known here yet; None: it is nobody's.

        Raises:
            GatewayError: also KEY_STORE_UNAVAILABLE.
        """
        now = self._clock()
        if self._unknown.get(digest, 0.0) > now:
            return None
        self.lookups += 1
        try:
            key = await self._repository.find(digest.hex())
        except StoreError as error:
            raise unavailable() from error
        if key is None:
            self._unknown[digest] = now + UNKNOWN_SECONDS
            if len(self._unknown) > MAX_UNKNOWN:
                self._unknown.popitem(last=False)
            return None
        self._keep(digest, key)
        return self.known(digest)

    def remember(self, digest: bytes) -> None:
        """A secret is, or was, somebody's."""
        self._once[digest] = None
        self._once.move_to_end(digest)
        if len(self._once) > MAX_SECRETS:
            self._once.popitem(last=False)

    def remembers(self, digest: bytes) -> bool:
        """Whether a secret was made or found here before, whatever has happened to it since."""
        return digest in self._once

    def key(self, key_id: str) -> StoredKey | None:
        """A key that a known secret belongs to."""
        digests = self._digests.get(key_id)
        return self._secrets[next(iter(digests))].key if digests else None

    def forget(self, key_id: str) -> None:
        """A key has changed: what is known of it is no longer right."""
        for digest in self._digests.pop(key_id, ()):
            del self._secrets[digest]
            self._due.pop(digest, None)

    async def follow(self) -> None:
        """Take in what has changed since the last time.

        Raises:
            StoreError: the store is unavailable.
        """
        more = True
        while more:
            changes = await self._repository.changes(LAST if self._seen is None else self._seen)
            if self._seen is None or changes.last < self._seen:
                # The first look, or a store that has lost changes: nothing known here is certain.
                self._forget_all()
                self._seen = changes.last
                break
            for key_id in changes.ids:
                self.forget(key_id)
            self._seen = changes.seen
            more = len(changes.ids) == MAX_CHANGES
        self._confirmed = time.monotonic()

    async def _keep_up(self) -> None:
        try:
            await self.follow()
            await self._reread()
        except StoreError:
            if self._secrets and self.unconfirmed > self._stale_seconds:
                log.warning("forgot the run-time keys: unconfirmed for too long")
                self._forget_all()

    async def _reread(self) -> None:
        """Read secrets in use anew: a key that was changed past us, by hand, is noticed too."""
        due = list(self._due)[:REREADS]
        found = await asyncio.gather(*(self._repository.find(digest.hex()) for digest in due))
        for digest, key in zip(due, found, strict=True):
            self._due.pop(digest, None)
            secret = self._secrets.get(digest)
            if secret is None or secret.key == key:
                continue
            self.forget(secret.key.id)
            if key is not None:
                self._keep(digest, key)

    def _keep(self, digest: bytes, key: StoredKey) -> None:
        other = self.key(key.id)
        if other is not None and other != key:
            self.forget(key.id)
        digests = self._digests.setdefault(key.id, set())
        twin = self._secrets[next(iter(digests))] if digests else None
        revoked = key.revoked is not None
        self._secrets[digest] = _Secret(
            key,
            self._principal(key) if twin is None else twin.principal,
            -math.inf if revoked else key.until(digest.hex()),
            Code.API_KEY_REVOKED if revoked else Code.API_KEY_EXPIRED,
            self._clock() + REREAD_SECONDS,
        )
        digests.add(digest)
        self.remember(digest)
        if len(self._secrets) > MAX_SECRETS:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        digest, secret = self._secrets.popitem(last=False)
        self._due.pop(digest, None)
        digests = self._digests[secret.key.id]
        digests.discard(digest)
        if not digests:
            del self._digests[secret.key.id]

    def _forget_all(self) -> None:
        self._secrets.clear()
        self._digests.clear()
        self._unknown.clear()
        self._due.clear()

    def _principal(self, key: StoredKey) -> Principal:
        """A key whose tier has left the settings gets the built-in bounds, and no tier's name:
        what a tier allows beyond them must not come by accident."""
        tier = self._tiers.get(key.tier)
        if tier is None:
            tier = self._limits.tier(key.tier)
            self._tiers[key.tier] = tier
        if key.windows:
            windows = tuple(Window(limit=limit, seconds=span) for limit, span in key.windows)
            tier = tier.model_copy(update={"windows": windows})
        named = key.tier in self._limits.tiers
        return Principal(
            key.id,
            key.name,
            key.tier if named else "other",
            tier,
            frozenset(key.models),
            frozenset(key.scopes),
        )


def unavailable(message: str = "") -> GatewayError:
    """The error for a store that can't be asked about keys now."""
    return GatewayError(Code.KEY_STORE_UNAVAILABLE, message)
