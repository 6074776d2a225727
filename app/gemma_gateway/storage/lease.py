"""A lease in the store: of all processes one does what only one may do."""

from __future__ import annotations

import secrets

from gemma_gateway.storage.connection import Script, lua, prepare
from gemma_gateway.storage.redis import Store

FUNCTIONS = lua("gemma_gateway.storage", "lease")
_TAKE = Script(f"{FUNCTIONS}return lease_take(KEYS[1], ARGV[1], ARGV[2])")
_RELEASE = Script(f"{FUNCTIONS}return lease_release(KEYS[1], ARGV[1])")


class Lease:
    """A process has it until it is silent for too long, or gives it up.

    That a process had the lease a moment ago proves nothing: it may have been stopped since. So
    what is written under the lease is written by a script that asks ``lease_held`` first, which it
    has from ``FUNCTIONS``. Every method may raise StoreError.

    Args:
        store: shared by all processes.
        key: name of the store's key.
        seconds: how long the holder may be silent.

    Attributes:
        token: what this process is known by.
        milliseconds: the same as ``seconds``.
    """

    def __init__(self, store: Store, key: str, seconds: float) -> None:
        self._store = store
        self.key = key
        self.milliseconds = int(seconds * 1000)
        self.token = secrets.token_hex(8)

    async def take(self) -> bool:
        """Take the lease where it is free, keep it where it is ours; whether it is ours now."""
        args = (self.token, self.milliseconds)
        return bool(await self._store.run(prepare(_TAKE, [self.key], args)))

    async def release(self) -> bool:
        """Let another process have it at once; whether it was ours."""
        return bool(await self._store.run(prepare(_RELEASE, [self.key], [self.token])))
