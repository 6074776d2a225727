"""The seam between policy and engines: a request in, bytes out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import orjson


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


class Route(Protocol):
    """Where else a call may go while nothing of an answer was sent.

    Attributes:
        patience: seconds that the model may take until the first byte of a stream; None: as long as
            it takes.
    """

    patience: float | None

    def keep(self, fits: Callable[[str], bool]) -> None:
        """Leave out the models that don't fit the call."""
        ...

    async def further(self, reason: str) -> str | None:
        """Go on to the next model that the caller may use, within its limits.

        Args:
            reason: why: ``unavailable``, ``overloaded``, ``queue_timeout`` or ``context_length``.

        Returns:
            Its name, which the call is for from now on; None: there is none.
        """
        ...


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
        headers: further ones.
        tally: filled in by the engine; outlives a cancelled ``send``.
        document: what ``body`` was written from, for engines that stand before other engines.
        write: makes a body of a document.
        route: other models that may take it; None: there are none.
        attachment: a sound that goes along with the document, as a WAV file; see
            ``pipeline.speech``.
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
    document: dict[str, Any] = field(default_factory=dict)
    write: Callable[[dict[str, Any]], bytes] = orjson.dumps
    route: Route | None = None
    attachment: bytes = b""

    def altered(self, **fields: Any) -> EngineRequest:
        """The same call with other values in its document, such as ``model``. The tally is shared:
        it tells of the engine that was asked last."""
        document = {**self.document, **fields}
        model, stream = document.get("model", self.model), document.get("stream") is True
        body = self.write(document)
        return replace(self, body=body, model=model, stream=stream, document=document)


class EngineReply(Protocol):
    """An answer whose body is still being written by the engine."""

    status: int
    content_type: str
    retry_after: str  # the header of that name (RFC 9110, 10.2.3); empty where there is none

    def chunks(self) -> AsyncIterator[bytes]:
        """Body bytes as the engine writes them, once.

        Raises:
            EngineFailed: the engine died, was silent for too long, or cut the body short.
        """
        ...

    def speaks(self) -> None:
        """Its reader has had text: from now on silence is a pause between tokens, which may be
        shorter than the wait for the first one."""
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


def short_name(url: str) -> str:
    """``host:port`` of a base URL, without the user and password that it may hold."""
    return urlsplit(url).netloc.rpartition("@")[2]


@dataclass(frozen=True, slots=True)
class ServerState:
    """One server as operators see it.

    Args:
        url: base URL.
        outstanding: calls it holds now.
        ejected: whether it gets no calls (but for half-open trials).
        models: what it serves; None: it doesn't list its models, and is taken to serve any.
        failures: failures in a row, of calls or of checks, whichever is more.
        ejections: times that it was ejected; a failed trial is none.
        tries: calls that it was given; one that goes on to another server counts at both.
        errors: those of them that failed there.
        reachable: it answers its checks, so that it is tried when there is no better one.
        trouble: why it is ejected, or of no use though it answers; empty: nothing is known to be
            wrong. For operators.
        ejected_seconds: how long it has been ejected; 0: it isn't.
    """

    url: str
    outstanding: int
    ejected: bool
    models: tuple[str, ...] | None
    failures: int
    ejections: int
    tries: int
    errors: int
    reachable: bool = True
    trouble: str = ""
    ejected_seconds: float = 0.0

    @property
    def name(self) -> str:
        """Its ``host:port``, as metrics and records call it."""
        return short_name(self.url)


@dataclass(frozen=True, slots=True)
class EngineState:
    """What an engine says of itself.

    Args:
        kind: ``local`` (in this process) or ``upstream`` (servers).
        ready: it takes calls.
        models: names that it serves now.
        detail: for operators (health, logs): never sent with an error.
        multimodal: it takes images or audio.
        servers: those that it passes calls to.
        starting: it is still loading for the first time, which may take many minutes.
    """

    kind: Literal["local", "upstream"]
    ready: bool
    models: tuple[str, ...] = ()
    detail: str = ""
    multimodal: bool = False
    servers: tuple[ServerState, ...] = ()
    starting: bool = False


class Watcher(Protocol):
    """Where an engine shows figures that it keeps anyway; implemented by the metrics."""

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Show a figure, read when it is asked for. A name that ends in ``_total`` is a counter."""
        ...

    def watch_each(
        self, name: str, text: str, label: str, read: Callable[[], Mapping[str, float]]
    ) -> None:
        """The same for one figure for each value of a label."""
        ...


class EngineFailed(Exception):
    """The engine could not finish (or begin) a call.

    Args:
        reason: ``unavailable`` (nothing could take the call), ``timeout``, ``died`` (after it had
            begun) or ``overloaded``. The text is for logs only.
        begun: whether an engine may have worked on it: one that killed a server mustn't be given
            to more of them.
    """

    def __init__(self, reason: str, detail: str = "", *, begun: bool = False) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.begun = begun


NONE_TOLD: frozenset[str] = frozenset()


class Engine(Protocol):
    """Where calls go. ``send`` cancelled, or ``abort`` called: the generation is aborted."""

    async def start(self) -> None:
        """Begin; ``state`` says when calls can be taken."""
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

    def state(self) -> EngineState:
        """How it is now (kept fresh by the engine itself; no I/O)."""
        ...

    def memory(self) -> tuple[int, int] | None:
        """Bytes in memory of this process and what the engine runs beside it, and used bytes of the
        engine's GPUs. It may block for some milliseconds. None: the engine runs elsewhere."""
        ...

    def watch(self, metrics: Watcher) -> None:
        """Have figures of its own shown among the metrics; called once."""
        ...

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

    def max_model_len(self, model: str) -> int | None:
        """Tokens that a prompt and its answer may have together; None where nobody tells it."""
        ...

    def modalities(self, model: str) -> frozenset[str] | None:
        """What a prompt may be made of: ``text``, ``image``, ``audio``; None where nobody tells
        it."""
        ...

    def control_tokens(self) -> frozenset[str]:
        """Texts that the model's tokenizer reads as control tokens, as far as the engine knows
        them; the same object until that changes."""
        ...
