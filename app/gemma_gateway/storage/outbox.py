"""An outbox in the store: what is to be sent, or done, whichever process comes to it."""

from __future__ import annotations

from gemma_gateway.storage import lease
from gemma_gateway.storage.connection import Argument, Script, lua, prepare
from gemma_gateway.storage.lease import Lease
from gemma_gateway.storage.redis import Store

FUNCTIONS = lua("gemma_gateway.storage", "outbox")
_PUT = Script(f"{FUNCTIONS}outbox_put(KEYS[1], KEYS[2], outbox_now(), ARGV[1], ARGV[2])")
_CLAIM = Script(f"{FUNCTIONS}return outbox_claim(KEYS[1], KEYS[2], ARGV[1], ARGV[2])")
_CLAIM_UNDER_LEASE = Script(
    f"{lease.FUNCTIONS}{FUNCTIONS}if not lease_held(KEYS[3], ARGV[3]) then return {{}} end "
    "return outbox_claim(KEYS[1], KEYS[2], ARGV[1], ARGV[2])"
)
_SETTLE = Script(f"{FUNCTIONS}return outbox_settle(KEYS[1], KEYS[2], KEYS[3], unpack(ARGV))")


class Outbox:
    """Items, each claimed by one process at a time until it is settled: each is done at least once.

    An item is a JSON object with an ``id``, and stands in a slot, whose name is anything that its
    sender likes. A later item takes the place of an earlier one in its slot, but never overtakes
    it. Items that have to be put in together with something else are put in by that script, with
    ``outbox_put`` from ``FUNCTIONS``. Every method may raise StoreError.

    Args:
        store: shared by all processes.
        due: name of the store's key for when each slot is due; all keys share a hash tag.
        items: the same for the items.
        dead: the same for those that were given up.
        lease: only who holds it gets anything; None: everybody does.
    """

    def __init__(
        self, store: Store, due: str, items: str, dead: str, lease: Lease | None = None
    ) -> None:
        self._store = store
        self._due = due
        self._items = items
        self._dead = dead
        self._lease = lease

    async def put(self, slot: str, text: str) -> None:
        """Add an item, due at once unless its slot waits already."""
        await self._store.run(prepare(_PUT, (self._due, self._items), (slot, text)))

    async def claim(self, seconds: float, most: int) -> dict[str, bytes]:
        """Items that are due, by slot; for a while they are ours alone.

        Args:
            seconds: that while; after it an item that was not settled is due again.
            most: items.
        """
        names: tuple[str, ...] = (self._due, self._items)
        args: tuple[Argument, ...] = (int(seconds * 1000), most)
        if self._lease is None:
            call = prepare(_CLAIM, names, args)
        else:
            names, args = (*names, self._lease.key), (*args, self._lease.token)
            call = prepare(_CLAIM_UNDER_LEASE, names, args)
        found = await self._store.run(call)
        return {s.decode(): text for s, text in zip(found[::2], found[1::2], strict=True)}

    async def settle(self, slot: str, item_id: str, *verdict: Argument) -> bool:
        """Tell what became of a claimed item.

        Args:
            slot: where it stood.
            item_id: its ``id``.
            verdict: ``done``; ``retry``, the item's new text, and a pause in milliseconds; or
                ``dead``, a text for the list of those given up, and how many are kept there.

        Returns:
            False: it was settled before, or a later item has its slot; that one is due now.
        """
        names = (self._due, self._items, self._dead)
        return bool(await self._store.run(prepare(_SETTLE, names, (slot, item_id, *verdict))))
