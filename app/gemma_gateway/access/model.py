"""A key made at run time, as it is kept in the store."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

State = Literal["active", "expired", "revoked"]


class Earlier(msgspec.Struct, frozen=True, array_like=True):
    """A secret that a rotation has replaced.

    Args:
        digest: hex of its SHA-256.
        until: seconds since the epoch; it works before that.
    """

    digest: str
    until: float


class StoredKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """One key. What is secret is not in here, only its digest.

    New fields get a default, so that gateways of two versions read each other's keys.

    Args:
        id: 32 random bytes in hex. It outlives every secret: limits and usage belong to it.
        digest: hex of the SHA-256 of its secret.
        name: the operator's words for it.
        tier: name of a tier of the settings.
        created: seconds since the epoch.
        models: model names that it may use; empty: all.
        scopes: as in ``core.call.Principal``.
        windows: limits of its own, as (requests, seconds), instead of its tier's; empty: none.
        expires: seconds since the epoch after which it is refused; None: never.
        revoked: when it was revoked, seconds since the epoch; None: it wasn't.
        earlier: secrets that were replaced, latest last.
    """

    id: str
    digest: str
    name: str
    tier: str
    created: float
    models: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    windows: tuple[tuple[int, int], ...] = ()
    expires: float | None = None
    revoked: float | None = None
    earlier: tuple[Earlier, ...] = ()

    def until(self, digest: str) -> float:
        """When a secret of this key stops working, seconds since the epoch."""
        end = math.inf if self.expires is None else self.expires
        if digest == self.digest:
            return end
        secret = next((e.until for e in self.earlier if e.digest == digest), -math.inf)
        return min(end, secret)

    def state(self, now: float) -> State:
        """What the key is at ``now``, seconds since the epoch."""
        if self.revoked is not None:
            return "revoked"
        return "active" if self.expires is None or now < self.expires else "expired"
