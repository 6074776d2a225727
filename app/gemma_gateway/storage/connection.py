"""One connection to Redis or Valkey; the commands of one event-loop turn leave in one write.

redis-py's connection costs about three times as much CPU per call as this one (a task, a time-out
and several coroutines each), so only its URL parsing is used. Parsing and packing are hiredis.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import islice
from typing import Any, cast

import hiredis
from redis.crc import key_slot

GRACE = 0.001  # seconds: a loop that was busy reads what has arrived before it gives up on it
SILENCE = (
    0.5  # seconds after a reply was due: a connection that stays silent for so long is given up
)


class StoreError(Exception):
    """The store could not answer: away, too slow, or it refused the command."""


class ReplyError(StoreError):
    """The store answered with an error; its connection is fine."""


def lua(package: str, name: str) -> str:
    """The text of a package's Lua file.

    Args:
        package: its name, such as ``gemma_gateway.limits``.
        name: of the file, without ``.lua``.
    """
    return files(package).joinpath(f"{name}.lua").read_text("utf-8")


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


class Connection(asyncio.Protocol):
    """An open connection. It never waits: :meth:`send` returns a future.

    A reply that is late fails its own command and makes new ones fail at once, until the server
    is heard of again; commands that are not late yet go on waiting. Only a server that stays
    silent for ``SILENCE`` loses the connection.

    Args:
        timeout: longest wait for a reply, in seconds. One timer watches the oldest command, so
            a call costs no timer of its own.
        on_lost: told once, when the connection has failed, with the reason.
    """

    def __init__(self, timeout: float, on_lost: Callable[[Connection, str], None]) -> None:
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
        self._late = ""  # a reply is overdue: what to say of it
        self._end = 0.0  # then: when the connection is given up, loop time
        self._timer: asyncio.TimerHandle | None = None
        self.lost = ""  # why the connection is gone

    def send(self, command: bytes) -> asyncio.Future[Any]:
        """Send one packed command with all others of this loop turn.

        Returns:
            A future of its reply; it fails with StoreError.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.lost or self._late:
            future.set_exception(StoreError(self.lost or self._late))
            return future
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(command)
        self._waiting.append(future)
        return future

    def within(self, timeout: float) -> None:
        """Change the time-out of a link that waits for nothing."""
        self._timeout = timeout
        self._batches.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

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
        _fail(waiting, reason)
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

    def _watch(self, overdue: float = 0.0) -> None:
        """The timer: forget answered batches, and give up what is overdue.

        Args:
            overdue: the moment that had passed a moment ago and got its grace.
        """
        batches = self._batches
        while batches and batches[0][0] <= self._answered:
            batches.popleft()
        due = batches[0][1] if batches else math.inf
        if self._late:
            due = min(due, self._end)
        if due == math.inf:
            self._timer = None
        elif self._loop.time() < due:
            self._timer = self._loop.call_at(due, self._watch)
        elif due != overdue:
            self._timer = self._loop.call_later(GRACE, self._watch, due)
        elif self._late and due == self._end:
            self.close(self._late)
        else:
            number, _ = batches.popleft()
            if not self._late:
                self._late = f"no answer within {self._timeout:g} s"
                self._end = due + SILENCE
            # Their replies are still to come; the futures keep their places until then.
            _fail(islice(self._waiting, number - self._answered), self._late)
            self._watch()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        reader, waiting = self._reader, self._waiting
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not False:
                if not waiting:
                    raise StoreError("an unexpected answer")
                future = waiting.popleft()
                self._answered += 1
                if future.done():  # its caller has left, or was told that it is late
                    continue
                if isinstance(reply, Exception):
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
        except StoreError as error:  # not Redis' protocol: nothing after this can be trusted
            self.close(str(error))
        if self._late and not self.lost:  # it is slow, not away
            self._late = ""
            if self._timer is not None:
                self._timer.cancel()
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(f"connection lost: {exc}" if exc else "connection lost")


def _fail(futures: Iterable[asyncio.Future[Any]], reason: str) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(StoreError(reason))
