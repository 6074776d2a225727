"""The shapes that the pipeline runs: each list of them stands in ``main``."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, NamedTuple, Protocol

from gemma_gateway.core.call import Call, Client
from gemma_gateway.core.usage import Usage

# What has to be awaited; None: it is done already, which spares a call the coroutine.
Waiting = Coroutine[Any, Any, None] | None


class Stage(Protocol):
    """What a call passes, one after the other, before an engine gets it.

    Attributes:
        name: of its span in traces; neighbours of one name share a span.
    """

    name: str

    def enter(self, call: Call, client: Client) -> Waiting:
        """Let a call pass; most are coroutine functions.

        Raises:
            GatewayError: it ends here.
        """
        ...


class Step(Protocol):
    """A part of the stage that reads a request: pure computing, which for a large body happens in a
    thread, so it must not use the event loop.

    Attributes:
        name: as of a ``Stage``.
    """

    name: str

    def run(self, call: Call) -> None:
        """Let a call pass.

        Raises:
            GatewayError: it ends here.
        """
        ...


class End(NamedTuple):
    """How a call ended.

    Args:
        status: HTTP status that was sent; 499 when the client left.
        outcome: ``ok``, ``client_closed`` or a name of ``core.errors.Code``.
        seconds: that it took.
        model: a served model's name, or ``other``; never what a client made up.
        usage: tokens; none where nothing was generated.
    """

    status: int
    outcome: str
    seconds: float
    model: str
    usage: Usage


class Limit(Protocol):
    """How much a caller may use: reserved once the body is here, settled when the call is over."""

    def reserve(self, call: Call) -> Waiting:
        """Take what the call may need; what was taken is kept in ``call.notes``.

        Raises:
            GatewayError: there isn't so much left; nothing was taken.
        """
        ...

    def settle(self, call: Call, end: End) -> Waiting:
        """Give back what it didn't need; a call that reserved nothing changes nothing."""
        ...


class Observer(Protocol):
    """Who is told of each call that is over, however it ended: accounts, metrics, logs."""

    def settle(self, call: Call, end: End) -> None:
        """The call is over. Must not raise."""
        ...


class Listener(Client, Protocol):
    """A client that hears an answer along with the caller: everything goes on to the caller's own
    client at once."""

    def done(self, outcome: str) -> None:
        """The answer was delivered. ``outcome``: ``ok``, or what a filter did to it."""
        ...


class Tap(Protocol):
    """Chooses calls whose answers are heard along with the caller; see ``quality.sampler``."""

    def listen(self, call: Call, client: Client) -> Listener | None:
        """Who the answer goes to instead of ``client``; None: nobody listens."""
        ...
