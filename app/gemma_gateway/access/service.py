"""Making and changing run-time keys: what the operators' routes do."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, NamedTuple, TypedDict, TypeVar

import msgspec

from gemma_gateway.access.keys import generate_key
from gemma_gateway.access.managed import ManagedKeys, unavailable
from gemma_gateway.access.model import Earlier, StoredKey
from gemma_gateway.access.repository import KeyRepository, Row
from gemma_gateway.core.call import Principal
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.settings import LimitSettings
from gemma_gateway.storage import StoreError

ATTEMPTS = 5  # at a change, while others change the same key
PAUSES = (0.1, 0.4)  # seconds before the store is asked again: an operator waits for an answer
MAX_EARLIER = 8  # replaced secrets that may work at the same time
TELL_SECONDS = 30 * 86_400  # how long a secret that is over is told so; then it is nobody's
REVOKED_SECONDS = 40 * 86_400  # how long a revoked key is listed, as long as its days' usage
UNSURE = "The key store doesn't answer. The change may or may not have been made: check the list."

T = TypeVar("T")
audit = logging.getLogger("gateway.audit")


class Fields(TypedDict, total=False):
    """What an operator may set, as in :class:`access.model.StoredKey`."""

    name: str
    tier: str
    models: tuple[str, ...]
    scopes: tuple[Literal["operator"], ...]
    windows: tuple[tuple[int, int], ...]
    expires: float | None


class Edit(NamedTuple):
    """A change to be written.

    Args:
        key: the key afterwards.
        digests: see :meth:`access.repository.KeyRepository.write`.
        forget: when the key itself is forgotten, seconds since the epoch.
    """

    key: StoredKey
    digests: Mapping[str, float] = {}
    forget: float = math.inf


class KeyService:
    """Changes keys, and leaves a line in the log for each: who, which key, what; no secrets.

    Changes of several operators at once are made one after the other, on whichever gateway. A
    change is known in this process when its method returns, in all others within two seconds.

    Args:
        repository: the keys in the store.
        managed: what this process knows of them.
        limits: the tiers that there are.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        repository: KeyRepository,
        managed: ManagedKeys,
        limits: LimitSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._repository = repository
        self._managed = managed
        self._tiers = frozenset(limits.tiers)
        self._clock = clock

    async def create(self, by: Principal, fields: Fields) -> tuple[StoredKey, str]:
        """Make a key.

        Args:
            by: the operator.
            fields: at least ``name`` and ``tier``.

        Returns:
            The key, and its secret, which nobody can show again.

        Raises:
            GatewayError: VALIDATION_ERROR or KEY_STORE_UNAVAILABLE.
        """
        secret, digest = _secret()
        key = StoredKey(
            id=secrets.token_hex(32), digest=digest, created=round(self._clock(), 3), **fields
        )
        self._check(key)
        await _asked(lambda: self._repository.write(key, None, {digest: math.inf}), UNSURE)
        self._managed.remember(bytes.fromhex(digest))
        self._tell("key created", by, key, operator="operator" in key.scopes)
        return key, secret

    async def change(self, by: Principal, key_id: str, fields: Fields) -> StoredKey:
        """Set some fields of a key.

        Args:
            by: the operator.
            key_id: 64 hex digits.
            fields: those to set.

        Raises:
            GatewayError: VALIDATION_ERROR, KEY_NOT_FOUND, KEY_CONFLICT (it is revoked) or
                KEY_STORE_UNAVAILABLE.
        """

        def edit(key: StoredKey) -> Edit:
            changed = msgspec.structs.replace(_alive(key), **fields)
            self._check(changed, key)
            return Edit(changed)

        key = await self._rewrite(key_id, edit)
        operator = "operator" in key.scopes
        self._tell("key changed", by, key, fields=sorted(fields), operator=operator)
        return key

    async def rotate(
        self, by: Principal, key_id: str, grace_seconds: float
    ) -> tuple[StoredKey, str]:
        """Give a key a new secret.

        Args:
            by: the operator.
            key_id: 64 hex digits.
            grace_seconds: how long the secrets that it has go on working. Those replaced earlier
                end when they were to end, or after this time, whichever comes first.

        Returns:
            The key, and its new secret, which nobody can show again.

        Raises:
            GatewayError: KEY_NOT_FOUND, KEY_CONFLICT (it is revoked) or KEY_STORE_UNAVAILABLE.
        """
        secret, digest = _secret()

        def edit(key: StoredKey) -> Edit:
            now = self._clock()
            end = now + grace_seconds
            replaced = (*_alive(key).earlier, Earlier(key.digest, end))
            ends = [Earlier(e.digest, min(e.until, end)) for e in replaced]
            kept = tuple(e for e in ends if e.until > now)[-MAX_EARLIER:]
            forgotten = {e.digest: e.until + TELL_SECONDS for e in ends}
            changed = msgspec.structs.replace(key, digest=digest, earlier=kept)
            return Edit(changed, {digest: math.inf, **forgotten})

        key = await self._rewrite(key_id, edit)
        self._managed.remember(bytes.fromhex(digest))
        self._tell("key rotated", by, key, grace_seconds=grace_seconds)
        return key, secret

    async def revoke(self, by: Principal, key_id: str) -> StoredKey:
        """End a key for good. Revoking it again changes nothing.

        Raises:
            GatewayError: KEY_NOT_FOUND or KEY_STORE_UNAVAILABLE.
        """

        def edit(key: StoredKey) -> Edit:
            if key.revoked is not None:
                return Edit(key)
            now = round(self._clock(), 3)
            end = now + REVOKED_SECONDS
            digests = {key.digest: end, **{e.digest: end for e in key.earlier}}
            return Edit(msgspec.structs.replace(key, revoked=now), digests, end)

        key = await self._rewrite(key_id, edit)
        self._tell("key revoked", by, key)
        return key

    async def _rewrite(self, key_id: str, edit: Callable[[StoredKey], Edit]) -> StoredKey:
        """Read, change, and write if nobody was faster; else again."""
        for _ in range(ATTEMPTS):
            row = (await _asked(lambda: self._repository.get([key_id])))[0]
            if row is None:
                raise GatewayError(Code.KEY_NOT_FOUND, param="key_id")
            made = edit(row.key)
            if made.key == row.key or await self._written(made, row):
                self._managed.forget(key_id)
                return made.key
        raise GatewayError(
            Code.KEY_CONFLICT, "Someone else is changing this key; try again.", wait=1
        )

    async def _written(self, made: Edit, row: Row) -> bool:
        return await _asked(
            lambda: self._repository.write(made.key, row, made.digests, made.forget), UNSURE
        )

    def _check(self, key: StoredKey, before: StoredKey | None = None) -> None:
        """Refuse what only the settings and the clock know to be wrong, but not what was so
        before: a key that has expired, or whose tier has gone, may still be renamed."""
        if key.tier not in self._tiers and (before is None or key.tier != before.tier):
            raise GatewayError(Code.VALIDATION_ERROR, "No such tier in the settings.", param="tier")
        if key.expires is None or (before is not None and key.expires == before.expires):
            return
        if key.expires <= self._clock():
            raise GatewayError(
                Code.VALIDATION_ERROR, "This time isn't in the future.", param="expires"
            )

    @staticmethod
    def _tell(what: str, by: Principal, key: StoredKey, **more: object) -> None:
        line = {"by": by.key_id[:8], "key": key.id[:8], "tier": key.tier, **more}
        audit.info(what, extra={"fields": line})


def _secret() -> tuple[str, str]:
    """A new secret, and the hex digest that is kept of it."""
    secret = generate_key()
    return secret, hashlib.sha256(secret.encode()).hexdigest()


def _alive(key: StoredKey) -> StoredKey:
    if key.revoked is not None:
        raise GatewayError(Code.KEY_CONFLICT, "This key is revoked; make a new one.")
    return key


async def _asked(question: Callable[[], Awaitable[T]], otherwise: str = "") -> T:
    """The store's answer, for which an operator waits longer than a call does.

    Raises:
        GatewayError: KEY_STORE_UNAVAILABLE, with ``otherwise`` as its message.
    """
    for pause in (*PAUSES, None):
        try:
            return await question()
        except StoreError as error:
            if pause is None:
                raise unavailable(otherwise) from error
            await asyncio.sleep(pause)
    raise AssertionError("not reached")
