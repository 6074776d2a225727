"""A call on its way through the gateway."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from gemma_gateway.core.dialect import Dialect
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.usage import Usage
from gemma_gateway.settings import Tier

if TYPE_CHECKING:
    from gemma_gateway.limits.admission import Admission


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


class Trace(Protocol):
    """What a call's trace is told, see ``telemetry.spans``.

    Attributes:
        trace_id: 32 hex digits.
        span_id: of the call's own span, 16 hex digits.
    """

    trace_id: str
    span_id: str

    def enter(self, stage: str) -> None:
        """A stage begins, and the one before it is over."""
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


@dataclass(slots=True)
class Call:
    """One request to an engine route, carried down the road by ``pipeline.gateway``."""

    id: str  # x-request-id
    dialect: Dialect
    path: str
    client_address: str = ""  # empty: not known
    placed: bool = False  # it holds a place among its key's calls in flight
    raw: bytes = b""
    principal: Principal | None = None
    body: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    stream: bool = False
    usage: Usage | None = None  # None: not told (yet)
    events: int = 0  # events with text that a stream brought
    started: float = field(default_factory=time.perf_counter)  # seconds
    first_token: float = 0.0  # perf_counter of the first generated text; 0 before it
    last_token: float = 0.0  # perf_counter of the end of a stream that the engine ended; else 0
    finish_reason: str = ""  # as the engine's protocol says it; empty: it didn't end
    queue_time: float | None = None  # seconds that it waited in the engine; None: not told
    upstream: str = ""  # host:port of the server that took it last; ``local``: in process
    control_tokens: int = 0  # texts of control tokens that were broken in the request
    input_length: int = 0  # characters of the messages' texts
    logprobs_tokens: int = 0  # of its key's room for logprobs of prompts, what it holds
    held_characters: int = 0  # most text of a stream that the output guard held back at once
    held_seconds: float = 0.0  # longest time in which it held some back
    engine_id: str = ""  # the id that the engine knows the call by; unique in this process
    ended: Code | None = None  # why the gateway itself ended (cancelled) it
    usage_hidden: bool = False  # the gateway, not the client, asked for the usage event
    affinity: str = ""  # the same for calls that share the beginning of their prompt
    content_hash: str = ""  # first 16 hex digits of SHA-256 over the input texts
    admission: Admission | None = None  # by the limits; None: they haven't let it through
    headers: dict[str, str] = field(default_factory=dict)  # rate limit headers of the reply
    trace: Trace | None = None  # None: tracing is off

    @property
    def caller(self) -> str:
        """Public id of the caller's key; empty before it is known."""
        return self.principal.key_id if self.principal is not None else ""

    def enter(self, stage: str) -> None:
        """The call goes on to a stage of the road; only a trace cares."""
        if self.trace is not None:
            self.trace.enter(stage)


class Client(Protocol):
    """The other end of a call: how the road reads the request and writes the answer."""

    async def body(self) -> bytes:
        """The whole request body.

        Raises:
            GatewayError: it is too large, takes too long, isn't well-formed HTTP, or there is no
                room for it.
        """
        ...

    async def answer(self, call: Call, status: int, body: bytes) -> None:
        """Send a whole JSON answer."""
        ...

    async def begin(self, call: Call) -> None:
        """Start a stream of events (status 200)."""
        ...

    async def write(self, data: bytes) -> None:
        """Send a part of the stream; returns when the connection can take more."""
        ...

    async def end(self) -> None:
        """End the stream."""
        ...
