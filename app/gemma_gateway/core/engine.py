"""The seam between policy and engines: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True, eq=False)
class Tally:
    """What the engine has counted for one call. It can be read at any time: before there is a reply
    (a whole answer whose client left) and after an abort.

    Args:
        read: set by an engine that counts: gives (prompt tokens, generated tokens) so far.
        queued: set by an engine that knows: gives the seconds that the call waited in it, or None.
        server: ``host:port`` of the server that took the call last, ``local`` for an engine in
            process; empty while none did.
    """

    read: Callable[[], tuple[int, int]] | None = None
    queued: Callable[[], float | None] | None = None
    server: str = ""

    def prompt_tokens(self) -> int | None:
        """Tokens of the prompts, as the engine counts them; None where it doesn't tell."""
        return self.read()[0] if self.read else None

    def generated(self) -> int | None:
        """Tokens generated so far, all choices together; None where the engine doesn't tell."""
        return self.read()[1] if self.read else None

    def queue_time(self) -> float | None:
        """Seconds that the call waited in the engine; None where it doesn't tell."""
        return self.queued() if self.queued else None


@dataclass(slots=True, eq=False)  # frozen it would cost each call 3 us
class EngineRequest:
    """One call to a model server's own HTTP API.

    Args:
        id: request id; the engine sees it as ``x-request-id``.
        path: one of the engine's routes, such as ``/v1/chat/completions``.
        body: JSON.
        model: the served model it is for.
        stream: whether the reply is an event stream.
        affinity: equal values prefer the same server (prefix cache); may be empty.
        tally: filled in by the engine; outlives a cancelled ``send``.
    """

    id: str
    path: str
    body: bytes
    model: str = ""
    stream: bool = False
    method: str = "POST"
    affinity: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)


class EngineReply(Protocol):
    """An answer whose body is still being written by the engine."""

    status: int
    content_type: str
    retry_after: str  # the header of that name (RFC 9110, 10.2.3); empty where there is none

    def chunks(self) -> AsyncIterator[bytes]:
        """Body bytes as the engine writes them, once.

        Raises:
            EngineFailed: the engine died, stalled past its idle time-out, or cut the body short.
        """
        ...

    async def abort(self) -> None:
        """Stop generating now. Idempotent; does nothing after the body has ended."""
        ...

    def generated(self) -> int | None:
        """Tokens generated so far, as the engine counts them; None where it doesn't tell."""
        ...

    def prompt_tokens(self) -> int | None:
        """Tokens of the prompts, as the engine counts them; None where it doesn't tell."""
        ...


@dataclass(frozen=True, slots=True)
class EngineHealth:
    """What an engine says of itself."""

    ready: bool
    models: tuple[str, ...] = ()
    detail: str = ""  # for operators (health, logs): never sent with an error
    multimodal: bool = False  # takes images or audio


class EngineFailed(Exception):
    """The engine could not finish (or begin) a call.

    Args:
        reason: ``unavailable`` (nothing could take the call), ``timeout``, ``died`` (after it had
            begun) or ``overloaded``. The text is for logs only.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


NONE_TOLD: frozenset[str] = frozenset()


class Engine(Protocol):
    """Where calls go. ``send`` cancelled, or ``abort`` called: the generation is aborted."""

    async def start(self) -> None:
        """Begin; ``health`` tells when calls can be taken."""
        ...

    async def wait_ready(self, timeout: float) -> None:
        """Wait until the first start has come to an end.

        Args:
            timeout: seconds.

        Raises:
            EngineFailed: it failed; ``detail`` tells the operator why and what to do.
        """
        ...

    async def stop(self) -> None: ...

    async def send(self, request: EngineRequest) -> EngineReply:
        """Hand a call over and return once the reply's status is known.

        Raises:
            EngineFailed: no engine could take it; nothing was sent to the client.
        """
        ...

    async def health(self) -> EngineHealth: ...
    def models(self) -> tuple[str, ...]:
        """Names of the models served now (kept fresh by the engine itself; no I/O)."""
        ...

    def serves(self, model: str) -> bool:
        """Whether a call for this model has anywhere to go; true while nothing is known."""
        ...

    def known(self, model: str) -> bool:
        """Whether this is the name of a model that the engine serves or has served, for metrics
        and records: a name that a client made up is none."""
        ...

    def control_tokens(self) -> frozenset[str]:
        """Texts that the model's tokenizer reads as control tokens, as far as the engine knows
        them; the same object until that changes."""
        ...
