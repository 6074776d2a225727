"""Processes that check media, so that no file can block the event loop or end the gateway.

They are started when they are needed, work at low priority within bounds on memory and time, and
are replaced when they die. anyio's ``to_process`` is not used: it unpickles what its worker says,
and hands it the whole environment, which holds keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable

import msgspec

from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.turns import Turns
from gemma_gateway.media.bounds import Bounds
from gemma_gateway.media.check import Refused
from gemma_gateway.media.message import Answer, Question
from gemma_gateway.settings import MediaSettings

START_SECONDS = 60.0  # importing Pillow from a cold disk
MOST_HEAD = 4096  # bytes of an answer's head
# All that a worker is told of this process's surroundings: none of its keys.
ENVIRONMENT = frozenset({"PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "SYSTEMROOT", "TZ"})
Child = asyncio.subprocess.Process
BROKEN = (OSError, EOFError, ValueError, msgspec.MsgspecError)  # it died, or says no answer

log = logging.getLogger(__name__)


class Workers:
    """Checks files, some at a time. Callers take turns, whoever has however many.

    Args:
        settings: how many workers, and what they let through.
    """

    def __init__(self, settings: MediaSettings) -> None:
        self._bounds = Bounds.of(settings)
        self._seconds = settings.media_timeout
        self._turns = Turns(settings.media_workers)
        self._idle: list[Child] = []
        self._busy: set[Child] = set()

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of those that live."""
        return tuple(child.pid for child in (*self._idle, *self._busy))

    @property
    def busy(self) -> int:
        """Workers that are at work."""
        return len(self._busy)

    async def start(self) -> None:
        """Nothing to do: the first file starts the first of them."""

    async def stop(self) -> None:
        """End all. Idempotent; the next file starts another."""
        while self._idle or self._busy:
            await _end(self._idle.pop() if self._idle else self._busy.pop())

    async def check(
        self, caller: str, kind: str, read: Callable[[], bytes | str], *, plain: bool = False
    ) -> tuple[Answer, bytes]:
        """Have a file checked, once it is the caller's turn.

        Args:
            caller: whose it is, such as the id of a key.
            kind: ``image`` or ``audio``.
            read: gives the file, once it is its turn; a str: in base64.
            plain: what may go on is wanted as it is, not in base64.

        Returns:
            What it is, and what may go on; empty: what came, as it is.

        Raises:
            Refused: it may not go on; or the worker died of it, or took too long.
            GatewayError: INTERNAL_ERROR: no worker can be started.
        """
        async with self._turns.turn(caller):
            child = await self._take()
            try:
                async with asyncio.timeout(self._seconds):
                    answer, data = await self._ask(child, kind, read(), plain)
                    if not (answer.text or answer.media_type):
                        raise ValueError("an answer that says nothing")
            except TimeoutError:
                await self._drop(child)
                raise Refused("timeout", f"The {kind} takes too long to be decoded.") from None
            except BROKEN:
                await self._drop(child)
                raise Refused("died", f"The {kind} can't be decoded.") from None
            except BaseException:  # cancelled half way: its answer must not become the next one's
                await self._drop(child)
                raise
            self._busy.discard(child)
            self._idle.append(child)
        if answer.text:
            raise Refused(answer.outcome, answer.text)
        return answer, data

    async def _take(self) -> Child:
        while self._idle:
            child = self._idle.pop()
            if child.returncode is None:
                self._busy.add(child)
                return child
        try:
            return await self._start()
        except BROKEN as error:
            log.error("no worker for media could be started: %s", type(error).__name__)
            raise GatewayError(Code.INTERNAL_ERROR) from None

    async def _start(self) -> Child:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # nothing that lies in the working directory
            "-m",
            "gemma_gateway.media.worker",
            msgspec.json.encode(self._bounds).decode(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name in ENVIRONMENT},
        )
        self._busy.add(child)
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._heard(child)
        except BaseException:
            await self._drop(child)
            raise
        return child

    async def _drop(self, child: Child) -> None:
        self._busy.discard(child)
        await _end(child)

    async def _ask(
        self, child: Child, kind: str, data: bytes | str, plain: bool
    ) -> tuple[Answer, bytes]:
        assert child.stdin is not None
        coded = data.__class__ is str
        payload = data.encode("ascii", "replace") if isinstance(data, str) else data
        head = msgspec.json.encode(Question(kind, len(payload), coded, plain))
        child.stdin.write(len(head).to_bytes(4, "big") + head)
        child.stdin.write(payload)
        await child.stdin.drain()
        return await self._heard(child)

    async def _heard(self, child: Child) -> tuple[Answer, bytes]:
        """The next answer.

        Raises:
            EOFError: the worker has ended.
            ValueError: it says something else.
        """
        assert child.stdout is not None
        length = int.from_bytes(await child.stdout.readexactly(4), "big")
        if length > MOST_HEAD:
            raise ValueError("too long a head")
        answer = msgspec.json.decode(await child.stdout.readexactly(length), type=Answer)
        if not 0 <= answer.size <= self._bounds.most_answer:
            raise ValueError("too long an answer")
        return answer, await child.stdout.readexactly(answer.size)


async def _end(child: Child) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    # The pipes' own ends are closed, too, once nobody is there to read.
    await asyncio.shield(child.wait())
