"""A call on its way through the gateway."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from gemma_gateway.core.dialect import Dialect, Media, Message
from gemma_gateway.core.engine import Route
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.usage import Usage
from gemma_gateway.settings import Tier


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling.

    Args:
        key_id: stable public id of the key, 64 hex digits: its SHA-256, or for a key made at run
            time random ones; logs show 8 of them.
        name: the operator's name for the key.
        tier_name: name of the tier in the settings.
        tier: limits and bounds of that tier.
        models: model names that the key may use; empty means all.
        scopes: what else it may do; ``operator``: see and change what belongs to others.
    """

    key_id: str
    name: str
    tier_name: str
    tier: Tier
    models: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()

    def require_operator(self) -> None:
        """Raise OPERATOR_REQUIRED unless this is an operator."""
        if "operator" not in self.scopes:
            raise GatewayError(Code.OPERATOR_REQUIRED)


# How a caller says who it is: ``authorization`` and ``x-api-key``, None where they are not sent.
Credentials = tuple[bytes | None, bytes | None]
NO_CREDENTIALS: Credentials = (None, None)


class Trace(Protocol):
    """What a call's trace is told, see ``telemetry.spans``.

    Attributes:
        trace_id: 32 hex digits.
        span_id: of the call's own span, 16 hex digits.
    """

    trace_id: str
    span_id: str

    def enter(self, stage: str) -> None:
        """A stage begins, and the one before it is over; the same stage again changes nothing."""
        ...

    def engine_headers(self, call: Call) -> dict[str, str]:
        """The engine's stage begins; returns the headers that let the engine's spans join in."""
        ...

    def finish(self, call: Call, status: int, outcome: str) -> None:
        """The call is over.

        Args:
            status: HTTP status; 499 when the client left.
            outcome: ``ok``, ``client_closed`` or a name of ``core.errors.Code``.
        """
        ...


class Change(NamedTuple):
    """Something in which the request that an engine gets differs from what its client sent.

    Args:
        where: the place in the body, as an error's ``param``: ``messages.3.content``.
        how: ``stripped``, ``truncated``, ``clamped``, ``dropped``, ``escaped``, ``replaced``, or
            ``flagged``: it would have been stripped.
    """

    where: str
    how: str


@dataclass(slots=True)
class Request:
    """What came in.

    Args:
        raw: the body's bytes.
        coding: the content coding that they are still in; empty: none.
        headers: of the client's own, those that go on to the engine.
        body: the body decoded, as the engine will get it; empty until it was read.
        data: the bytes that the engine gets.
        messages: its texts.
        media: what its messages hold beside texts.
        model: served model that it is for.
        stream: whether events are asked for.
        usage_hidden: the gateway, not the client, asked for the usage event.
        content_hash: first 16 hex digits of SHA-256 over the texts.
        affinity: the same for calls that share the beginning of their prompt.
        input_length: characters of the messages' texts.
        media_length: characters of the media, as they came.
        images: those among the media.
        audio_seconds: of its sounds together.
        bounds: names of the fields by which the client bounds the answer's tokens.
        logprobs_tokens: tokens, at most, of a prompt whose logprobs are asked for; else 0.
        control_tokens: texts of control tokens that were broken in it.
        changes: where it differs from what the client sent.
        route: other models that may take it; None: there are none.
    """

    raw: bytes = b""
    coding: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    data: bytes = b""
    messages: list[Message] = field(default_factory=list)
    media: Sequence[Media] = ()
    model: str = ""
    stream: bool = False
    usage_hidden: bool = False
    content_hash: str = ""
    affinity: str = ""
    input_length: int = 0
    media_length: int = 0
    images: int = 0
    audio_seconds: float = 0.0
    bounds: list[str] = field(default_factory=list)
    logprobs_tokens: int = 0
    control_tokens: int = 0
    changes: list[Change] = field(default_factory=list)
    route: Route | None = None


@dataclass(slots=True)
class Answer:
    """What goes out.

    Args:
        headers: of the gateway's own, such as those of rate limits.
        begun: its head was sent.
        usage: tokens; None: not told (yet).
        events: events with text that a stream brought.
        first_token: perf_counter of the first generated text, seconds; 0 before it.
        last_token: perf_counter of the end of a stream that the engine ended; else 0.
        refused: the field for which the call was refused, where it is one of the route's own, with
            the place in it: ``messages.3``; empty: none was named.
        finish_reason: as the engine's protocol says it; empty: it didn't end.
        queue_time: seconds that the call waited in the engine; None: not told.
        upstream: ``host:port`` of the server that took it last; ``local``: in process.
        held_characters: most text of a stream that filters held back at once.
        held_seconds: longest time in which they held some back.
    """

    headers: dict[str, str] = field(default_factory=dict)
    begun: bool = False
    usage: Usage | None = None
    events: int = 0
    first_token: float = 0.0
    last_token: float = 0.0
    refused: str = ""
    finish_reason: str = ""
    queue_time: float | None = None
    upstream: str = ""
    held_characters: int = 0
    held_seconds: float = 0.0


class Decision(NamedTuple):
    """What a filter said of a text.

    Args:
        direction: ``input`` or ``output``.
        category: of the policy.
        action: ``block`` or ``flag``.
    """

    direction: str
    category: str
    action: str


@dataclass(slots=True)
class Call:
    """One request to an engine route, carried along by ``pipeline.gateway``.

    Args:
        id: ``x-request-id``.
        dialect: of its route.
        engine_id: the id that the engine knows it by; unique in this process.
        client_address: empty: not known.
        credentials: until the caller is known.
        principal: who is calling; None: not known (yet).
        started: perf_counter, seconds.
        ended: why the gateway itself ended (cancelled) it.
        trace: None: tracing is off.
        notes: what stages keep with it for themselves and for observers, one object of each type:
            a new stage adds its own without a field here.
        decisions: what filters said.
    """

    id: str
    dialect: Dialect
    engine_id: str = ""
    client_address: str = ""
    credentials: Credentials = NO_CREDENTIALS
    principal: Principal | None = None
    request: Request = field(default_factory=Request)
    answer: Answer = field(default_factory=Answer)
    notes: dict[type, Any] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)
    ended: Code | None = None
    trace: Trace | None = None

    @property
    def path(self) -> str:
        """Of its route."""
        return self.dialect.path

    @property
    def caller(self) -> str:
        """Public id of the caller's key; empty before it is known."""
        return self.principal.key_id if self.principal is not None else ""

    def enter(self, stage: str) -> None:
        """The call goes on to a stage; only a trace cares."""
        if self.trace is not None:
            self.trace.enter(stage)


class Client(Protocol):
    """The other end of a call: how the gateway reads the request and writes the answer."""

    async def body(self) -> bytes:
        """The whole request body.

        Raises:
            GatewayError: it is too large, takes too long, isn't well-formed HTTP, or there is no
                room for it.
        """
        ...

    def expect(self) -> None:
        """An engine is given a call that asks for a stream. From now on the client is shown signs
        of life while nothing is written, for which the stream may begin before ``begin``."""
        ...

    async def answer(self, call: Call, status: int, body: bytes) -> None:
        """Send a whole JSON answer.

        Raises:
            GatewayError: GENERATION_ERROR: a stream has begun already.
        """
        ...

    async def begin(self, call: Call) -> None:
        """Start a stream of events (status 200); nothing where it has begun already."""
        ...

    async def write(self, data: bytes) -> None:
        """Send a part of the stream; returns when the connection can take more."""
        ...

    async def end(self) -> None:
        """End the stream."""
        ...
