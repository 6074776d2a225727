"""An engine that answers as a function says, for tests and demonstrations without a model: what
``MockTransport`` is to httpx."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from inspect import isawaitable
from typing import Any

import orjson

from gemma_gateway.core.engine import (
    NONE_TOLD,
    EngineFailed,
    EngineRequest,
    EngineState,
    Watcher,
)

JSON, EVENTS = "application/json", "text/event-stream"


class ScriptedReply:
    """One answer; implements ``core.engine.EngineReply``.

    Args:
        parts: pieces of the body, or an exception that ends it.
        status: HTTP status.
        content_type: of the body.
        retry_after: the header of that name.

    Attributes:
        aborted: nobody wanted the rest.
    """

    def __init__(
        self,
        parts: Iterable[bytes | EngineFailed] | AsyncIterator[bytes],
        status: int = 200,
        content_type: str = JSON,
        retry_after: str = "",
    ) -> None:
        self.status = status
        self.content_type = content_type
        self.retry_after = retry_after
        self.aborted = False
        self._parts = parts
        self._over = False

    @classmethod
    def json(cls, document: Any, status: int = 200) -> ScriptedReply:
        """A whole answer."""
        return cls([orjson.dumps(document)], status)

    @classmethod
    def events(cls, parts: Iterable[bytes | EngineFailed] | AsyncIterator[bytes]) -> ScriptedReply:
        """A stream of server-sent events, given as bytes that may be cut anywhere."""
        return cls(parts, content_type=EVENTS)

    async def chunks(self) -> AsyncIterator[bytes]:
        """See ``EngineReply``."""
        if isinstance(self._parts, AsyncIterator):
            async for part in self._parts:
                yield part
        else:
            for item in self._parts:
                if isinstance(item, EngineFailed):
                    raise item
                yield item
        self._over = True

    async def abort(self) -> None:
        """See ``EngineReply``."""
        self.aborted = self.aborted or not self._over

    def speaks(self) -> None:
        """Nothing to do: it has no time-outs."""

    def generated(self) -> int | None:
        """Not known."""
        return None

    def prompt_tokens(self) -> int | None:
        """Not known."""
        return None


Script = Callable[[EngineRequest], ScriptedReply | Awaitable[ScriptedReply]]


class ScriptedEngine:
    """An ``Engine`` without a model.

    Args:
        script: gives the answer to a request; may be a coroutine function, and raise EngineFailed.
        models: names that it serves.
        max_model_len: context of each, tokens; None: not told.
        modalities: of each; None: not told.

    Attributes:
        requests: those that it was given.
    """

    def __init__(
        self,
        script: Script,
        models: tuple[str, ...] = ("scripted",),
        max_model_len: int | None = None,
        modalities: frozenset[str] | None = None,
    ) -> None:
        self._script = script
        self._models = models
        self._max_model_len = max_model_len
        self._modalities = modalities
        self.requests: list[EngineRequest] = []

    async def start(self) -> None:
        """Nothing to do."""

    async def wait_ready(self, timeout: float) -> None:
        """It always is."""

    async def stop(self) -> None:
        """Nothing to do."""

    async def send(self, request: EngineRequest) -> ScriptedReply:
        """See ``Engine``."""
        self.requests.append(request)
        request.tally.server = "scripted"
        found = self._script(request)
        return await found if isawaitable(found) else found

    def state(self) -> EngineState:
        """See ``Engine``."""
        return EngineState("local", True, self._models)

    def memory(self) -> None:
        """None: there is no model."""

    def watch(self, metrics: Watcher) -> None:
        """It has no figures."""

    def models(self) -> tuple[str, ...]:
        """See ``Engine``."""
        return self._models

    def serves(self, model: str) -> bool:
        """See ``Engine``."""
        return model in self._models

    def known(self, model: str) -> bool:
        """See ``Engine``."""
        return model in self._models

    def max_model_len(self, model: str) -> int | None:
        """See ``Engine``."""
        return self._max_model_len

    def modalities(self, model: str) -> frozenset[str] | None:
        """See ``Engine``."""
        return self._modalities

    def control_tokens(self) -> frozenset[str]:
        """None."""
        return NONE_TOLD
