"""How many requests a caller may send: exact sliding windows, shared by all gateway processes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gemma_gateway.core.call import Principal
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.limits.admission import Admission
from gemma_gateway.limits.local import MAX_KEYS, LocalWindows
from gemma_gateway.limits.script import Calls, trial
from gemma_gateway.settings import Model, Window
from gemma_gateway.storage import Store, StoreError

StoreFailure = Literal["local", "deny", "allow"]


class Group(NamedTuple):
    """Calls that are counted apart from the others of their key, as those of a ``Model`` are.

    Args:
        name: no model's: those hold no space.
        windows: they have to themselves.
    """

    name: str
    windows: tuple[Window, ...]


AUDIO = "audio seconds"  # name of the group in which each second counts as a request
Apart = Model | Group | None  # None: the tier's own windows


@dataclass(frozen=True, slots=True)
class Look:
    """What a caller has used, without using anything.

    Args:
        admission: what :meth:`Limiter.admit` would say now.
        last_hour: requests admitted in the last 3,600 seconds.
    """

    admission: Admission
    last_hour: int


class Limiter:
    """Decides on each request with one round trip to the store.

    Args:
        store: where all gateway processes count; from now on it counts as available when this
            script works on it.
        prefix: first part of the store's key names.
        on_failure: what to do while the store is unavailable: ``local`` counts in this process (see
            :class:`limits.local.LocalWindows`), ``deny`` refuses, ``allow`` lets through.

    Attributes:
        degraded_calls: requests decided without the store, since the start.
    """

    def __init__(self, store: Store, prefix: str, on_failure: StoreFailure = "local") -> None:
        self._store = store
        store.trial = trial(prefix)
        self._prefix = prefix
        self._on_failure = on_failure
        self._local = LocalWindows()
        self._calls: dict[str | tuple[str, str], Calls] = {}
        self.degraded_calls = 0

    async def admit(self, principal: Principal, apart: Apart = None, count: int = 1) -> Admission:
        """Let a request through if every window has room, and count it.

        Args:
            principal: whose.
            apart: with windows of its own, which are meant then; None: those of the tier.
            count: requests that it counts as, all or none; at most the smallest limit.

        Raises:
            GatewayError: LIMIT_STORE_UNAVAILABLE, only with ``deny``.
        """
        calls = self._prepared(principal, apart)
        call = calls.admit if count == 1 else calls.admit_as(count)
        try:
            reply = await self._store.promptly(call)
        except StoreError:
            self.degraded_calls += 1
            return self._without_store(calls, count)
        if reply[0] != 1:
            return calls.read(reply)
        noted_at = None
        if self._on_failure == "local":
            noted_at = self._local.note(calls.caller, calls.capacity, count)
        return calls.read(reply, reply[2], noted_at)

    async def give_back(
        self, principal: Principal, admission: Admission, apart: Apart = None, count: int = 1
    ) -> Admission:
        """Take a request that was let through out of its windows again: at most one wait for the
        store, and one that is unavailable keeps it.

        Args:
            principal: as it was admitted with, like ``apart`` and ``count``.
            admission: what ``admit`` said.

        Returns:
            The caller's state without it.
        """
        if admission.stored_at is None and admission.noted_at is None:
            return admission
        calls = self._prepared(principal, apart)
        if admission.noted_at is not None:
            self._local.give_back(calls.caller, admission.noted_at, count)
        if admission.stored_at is not None:
            with suppress(StoreError):
                await self._store.run(calls.give_back(admission.stored_at, count))
        return (await self.look(principal, apart)).admission

    async def look(self, principal: Principal, apart: Apart = None) -> Look:
        """The caller's state; it doesn't count as a request. Never raises StoreError."""
        calls = self._prepared(principal, apart)
        try:
            reply = await self._store.run(calls.look)
        except StoreError:
            return Look(*self._local.look(calls.caller, calls.windows))
        return Look(calls.read(reply), reply[-2])

    def _without_store(self, calls: Calls, count: int) -> Admission:
        if self._on_failure == "local":
            admission = self._local.admit(calls.caller, calls.windows, count)
            if admission.allowed:
                return admission._replace(noted_at=self._local.newest(calls.caller))
            return admission
        if self._on_failure == "allow":
            return Admission(True, (), degraded=True)
        raise GatewayError(Code.LIMIT_STORE_UNAVAILABLE)

    def _prepared(self, principal: Principal, apart: Apart) -> Calls:
        of = principal.key_id if apart is None else (principal.key_id, apart.name)
        windows = principal.tier.windows if apart is None else apart.windows
        found = self._calls.get(of)
        if found is not None and found.windows is windows:
            return found
        if len(self._calls) >= MAX_KEYS:
            self._calls.clear()
        name = "" if apart is None else apart.name
        calls = self._calls[of] = Calls.make(self._prefix, principal.key_id, windows, name)
        return calls
