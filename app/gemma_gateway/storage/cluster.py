"""Redis Cluster: every key has a slot, every slot a node, and slots move."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from gemma_gateway.core.background import cancelled
from gemma_gateway.storage.address import Address, Several
from gemma_gateway.storage.connection import Argument, Prepared, ReplyError, StoreError, pack
from gemma_gateway.storage.reconnecting import (
    ELSEWHERE,
    FIRST_PAUSE,
    LAST_PAUSE,
    REDIRECTIONS,
    ReconnectingConnection,
)

MAP_SECONDS = 1.0  # longest wait for the map of slots; only background tasks wait for it
AGAIN = 0.005  # seconds between two redirections of one call, while nodes disagree
MAP = pack("CLUSTER", "SLOTS")
ASKING = pack("ASKING")
KEY_AT = {"EVAL": 3, "EVALSHA": 3}  # place of the first key, where it isn't the first argument
MOST_PROBES = 1000  # numbers tried for a key in a slot of each master

Ranges = list[tuple[int, int, str, int]]  # first slot, last slot, host and port of their master


class Node(ReconnectingConnection):
    """A master of the cluster."""

    def __init__(
        self, target: Address, timeout: float, patience: float, on_lost: Callable[[], None]
    ) -> None:
        super().__init__(target.open, timeout, patience, on_lost)
        self.target = target

    async def ask(self, packed: bytes) -> Any:
        """Send one command for a slot that is on its way to this node."""
        if self.link is not None:
            # Both leave in this turn of the loop, so nothing gets between them.
            self.link.send(ASKING).add_done_callback(lambda f: f.cancelled() or f.exception())
        return await self.send(packed)


class Cluster:
    """Sends each command to the node that has its slot, and follows the slots.

    The map of slots is read at the start, and again after each redirection and loss of a node,
    until every slot is served. A node that is away takes only its own slots with it.

    Args:
        seeds: nodes to ask for the map, one at least; the first one tells how to speak to all.
        timeout: longest wait for an answer, redirections included, in seconds.
        patience: for how long after a loss commands wait for the new connection, in seconds.

    Attributes:
        losses: connections to nodes lost, since the start.
    """

    def __init__(self, seeds: Sequence[Address], timeout: float, patience: float = 0.0) -> None:
        self._seeds = list(seeds)
        self._timeout = timeout
        self._patience = patience
        self._nodes: dict[tuple[str, int], Node] = {}
        self._slots: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._masters: set[Node] = set()
        self._whole = False  # every slot has a node, be it away
        self._stale = True  # something happened since the map was last read
        self._turn = count()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._trouble = "the map of slots has gaps"  # or why it isn't known
        self.losses = 0

    @classmethod
    def parse(cls, url: str, scheme: str, timeout: float, patience: float = 0.0) -> Cluster:
        """Read ``redis+cluster://user:password@host:port,host:port/?query``; one host will do.

        Args:
            url: the URL.
            scheme: ``redis`` or ``rediss``, for each of the connections.
            timeout: longest wait for an answer, in seconds.
            patience: for how long after a loss commands wait for the new connection, in seconds.

        Raises:
            ValueError: it can't be used.
        """
        parts = Several.parse(url)
        if parts.path not in {"", "0"}:
            raise ValueError("store URL: a Redis Cluster has only database 0")
        seeds = [Address.parse(f"{scheme}://{parts.login}{h}?{parts.query}") for h in parts.hosts]
        return cls(seeds, timeout, patience)

    async def start(self) -> None:
        """Read the map and connect to all masters; what fails is tried again in the background."""
        self._closed = False
        try:
            await self._learn()
        except StoreError as error:
            self._trouble = str(error)
        if not self._served():
            self._refresh_soon()

    async def stop(self) -> None:
        """Close all connections. Idempotent."""
        self._closed = True
        await cancelled(self._task)
        self._task = None
        for node in self._nodes.values():
            await node.stop()
        self._nodes.clear()

    def slot(self, command: tuple[Argument, ...]) -> int:
        """The hash slot of a command's first key; of one without: a slot whose node is there.

        A wrong guess (a command with its key elsewhere) costs a redirection, nothing more.
        """
        word = str(command[0]).upper()
        at = KEY_AT.get(word, 1)
        if word == "XREAD":
            at = [str(part).upper() for part in command].index("STREAMS") + 1
        if at < len(command):
            key = command[at]
            return key_slot(key if isinstance(key, bytes) else str(key).encode())
        return next((n for n, node in enumerate(self._slots) if node and node.link), 0)

    def probes(self, make: Callable[[int], Prepared]) -> list[tuple[str, Prepared]]:
        """One call for each master; see
        :meth:`storage.reconnecting.ReconnectingConnection.probes`."""
        if not self._whole:
            raise StoreError(self._trouble)
        found: dict[Node | None, Prepared] = {}
        for number in range(MOST_PROBES):
            call = make(number)
            found.setdefault(self._slots[call.slot], call)
            if len(found) == len(self._masters):
                break
        return [(f"{n.target.host}:{n.target.port}: ", c) for n, c in found.items() if n]

    async def send(self, packed: bytes, slot: int) -> Any:
        """Send one packed command to the node of its slot, and after it where that moves.

        Raises:
            ReplyError: an error answer.
            StoreError: no answer in time.
        """
        node = self._slots[slot]
        if node is None:
            raise StoreError("no node has this key's slot")
        deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            return await node.send(packed)
        except ReplyError as error:
            if ELSEWHERE.search(str(error)):
                self._refresh_soon()
            if not str(error).startswith(REDIRECTIONS):
                raise
            redirection = error
        try:
            async with asyncio.timeout_at(deadline):
                return await self._follow(packed, slot, node, redirection)
        except TimeoutError:
            raise StoreError(f"redirected for {self._timeout:g} s: {redirection}") from None

    async def _follow(self, packed: bytes, slot: int, node: Node, error: ReplyError) -> Any:
        pause = 0.0
        while True:
            await asyncio.sleep(pause)
            pause = AGAIN
            kind, *rest = str(error).split()
            try:
                if kind == "TRYAGAIN":  # some of the keys have moved: ask the owner again
                    node = self._slots[slot] or node
                    return await node.send(packed)
                moved, address = rest
                host, _, port = address.rpartition(":")
                node = self._node(host or node.target.host, int(port))
                await node.tried.wait()
                if kind == "ASK":  # only this key has moved, so far
                    return await node.ask(packed)
                self._slots[int(moved)] = node
                self._masters.add(node)
                self._refresh_soon()
                return await node.send(packed)
            except ReplyError as reply:
                if not str(reply).startswith(REDIRECTIONS):
                    raise
                error = reply

    def _node(self, host: str, port: int) -> Node:
        """The node of an address; a new one begins to connect."""
        node = self._nodes.get((host, port))
        if node is None:
            target = self._seeds[0].at(host, port)
            node = Node(target, self._timeout, self._patience, self._node_lost)
            self._nodes[host, port] = node
            if not self._closed:
                node.begin()
        return node

    def _node_lost(self) -> None:
        self.losses += 1
        self._refresh_soon()

    def _served(self) -> bool:
        return self._whole and all(node.link is not None for node in self._masters)

    def _refresh_soon(self) -> None:
        self._stale = True
        if not self._closed and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._refresh())

    async def _refresh(self) -> None:
        """Read the map until every slot is served and nothing happened meanwhile."""
        pause = FIRST_PAUSE
        while self._stale or not self._served():
            self._stale = False
            try:
                await self._learn()
            except StoreError as error:
                self._trouble = str(error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)

    async def _learn(self) -> None:
        """Read the map once, and let every node of it try to connect."""
        self._apply(await self._map())
        await asyncio.gather(*(node.tried.wait() for node in self._masters))

    async def _map(self) -> Ranges:
        """The map as one node sees it: a connected one, each in its turn, or else a seed."""
        nodes = [node for node in self._nodes.values() if node.link is not None]
        turn = next(self._turn)
        for n in range(len(nodes)):
            node = nodes[(turn + n) % len(nodes)]
            with contextlib.suppress(StoreError):
                return _ranges(await node.send(MAP), node.target.host)
        reason = ""
        for n in range(len(self._seeds)):
            seed = self._seeds[(turn + n) % len(self._seeds)]
            try:
                link = await seed.open(MAP_SECONDS, lambda link, reason: None)
                try:
                    return _ranges(await link.send(MAP), seed.host)
                finally:
                    link.close()
            except StoreError as error:
                reason = f"{seed.host}:{seed.port}: {error}"
        raise StoreError(reason)

    def _apply(self, ranges: Ranges) -> None:
        slots: list[Node | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, host, port in ranges:
            slots[first : last + 1] = [self._node(host, port)] * (last + 1 - first)
        self._slots = slots
        self._masters = {node for node in slots if node is not None}
        self._whole = None not in slots
        self._trouble = "the map of slots has gaps"
        # A former master stays as long as it is connected: slots may be on their way to or from it.
        for address, node in list(self._nodes.items()):
            if node not in self._masters and node.link is None and node.tried.is_set():
                del self._nodes[address]
                node.close()


def _ranges(reply: Any, asked: str) -> Ranges:
    """The ranges of a CLUSTER SLOTS reply; a node that doesn't know its host leaves it empty."""
    try:
        ranges = [
            (int(first), int(last), (master[0] or b"").decode() or asked, int(master[1]))
            for first, last, master, *_ in reply
        ]
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise StoreError("not a map of slots") from error
    if not ranges:
        raise StoreError(f"{asked} knows no slots")
    return ranges
