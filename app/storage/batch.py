"""One connection to Redis or Valkey; the commands of one event-loop turn leave in one write.

redis-py's connection costs about three times as much CPU per call as this one (a task, a time-out
and several coroutines each), so only its URL parsing is used. Parsing and packing are hiredis.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import hiredis
from redis.crc import key_slot

GRACE = 0.001  # seconds: a loop that was busy reads what has arrived before it gives up on it


class StoreError(Exception):
    """The store could not answer: away, too slow, or it refused the command."""


class ReplyError(StoreError):
    """The store answered with an error; its connection is fine."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, and the SHA-1 that Redis knows it by."""

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", digest)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A script call, packed once and sent as often as wanted.

    Args:
        by_sha: EVALSHA in Redis' wire format.
        by_text: the same as EVAL, which also loads the script.
        slot: hash slot of its keys, 0 to 16383; only a Redis Cluster cares.
    """

    by_sha: bytes
    by_text: bytes
    slot: int


Argument = str | bytes | int


def pack(*command: Argument) -> bytes:
    """A command in Redis' wire format (RESP)."""
    return bytes(hiredis.pack_command(command))  # type: ignore[arg-type]  # any length


def prepare(script: Script, keys: Iterable[str], args: Iterable[Argument]) -> Prepared:
    """Pack a script call.

    Args:
        script: the script.
        keys: the keys it touches, one at least. They must share one hash tag ``{...}``.
        args: its arguments.

    Raises:
        ValueError: the keys don't share a hash slot, so that no Redis Cluster would run it.
    """
    names = tuple(keys)
    slot, *others = {key_slot(name.encode()) for name in names}
    if others:
        raise ValueError(f"keys without a common hash tag: {', '.join(names)}")
    rest = (len(names), *names, *args)
    return Prepared(pack("EVALSHA", script.sha, *rest), pack("EVAL", script.text, *rest), slot)


class Link(asyncio.Protocol):
    """An open connection. It never waits: :meth:`send` returns a future.

    Args:
        timeout: longest wait for a reply, in seconds. One timer watches the oldest command, so
            a call costs no timer of its own.
        on_lost: told once, when the connection has failed, with the reason.
    """

    def __init__(self, timeout: float, on_lost: Callable[[Link, str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._on_lost = on_lost
        self._reader = hiredis.Reader(protocolError=StoreError, replyError=ReplyError)
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._batches: deque[tuple[int, float]] = deque()  # number of the last command, deadline
        self._sent = 0
        self._answered = 0
        self._timer: asyncio.TimerHandle | None = None
        self.lost = ""  # why the connection is gone

    def send(self, command: bytes) -> asyncio.Future[Any]:
        """Send one packed command with all others of this loop turn.

        Returns:
            A future of its reply; it fails with StoreError.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.lost:
            future.set_exception(StoreError(self.lost))
            return future
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(command)
        self._waiting.append(future)
        return future

    def close(self, reason: str = "closed") -> None:
        """End the connection; every caller that waits gets StoreError."""
        if self.lost:
            return
        self.lost = reason
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        waiting, self._waiting = self._waiting, deque()
        self._out.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(StoreError(reason))
        self._on_lost(self, reason)

    def _flush(self) -> None:
        if self.lost or self._transport is None:
            return
        out, self._out = self._out, []
        self._sent += len(out)
        deadline = self._loop.time() + self._timeout
        self._batches.append((self._sent, deadline))
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._watch)
        self._transport.write(b"".join(out))

    def _watch(self, overdue: int = 0) -> None:
        """The timer: forget answered batches, give up when the oldest other one is overdue.

        Args:
            overdue: the batch that was overdue a moment ago and got its grace.
        """
        batches = self._batches
        while batches and batches[0][0] <= self._answered:
            batches.popleft()
        if not batches:
            self._timer = None
            return
        number, deadline = batches[0]
        if self._loop.time() < deadline:
            self._timer = self._loop.call_at(deadline, self._watch)
        elif number != overdue:
            self._timer = self._loop.call_later(GRACE, self._watch, number)
        else:
            self.close(f"no answer within {self._timeout:g} s")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        reader, waiting = self._reader, self._waiting
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not False:
                if not waiting:
                    raise StoreError("an answer that nobody asked for")
                future = waiting.popleft()
                self._answered += 1
                if future.done():  # its caller has left
                    continue
                if isinstance(reply, Exception):
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
        except StoreError as error:  # not Redis' protocol: nothing after this can be trusted
            self.close(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(f"connection lost: {exc}" if exc else "connection lost")
