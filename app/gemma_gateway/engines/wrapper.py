"""An engine before another engine: the base of decorators such as a fallback or a cache, and of the
replies that they give."""

from __future__ import annotations

from collections.abc import AsyncIterator

from gemma_gateway.core.engine import Engine, EngineReply, EngineRequest, EngineState, Watcher


class WrapperEngine:
    """An ``Engine`` that is the one behind it, but for what a subclass overrides.

    Args:
        inner: the engine behind it.
    """

    def __init__(self, inner: Engine) -> None:
        self.inner = inner

    async def start(self) -> None:
        """See ``Engine``."""
        await self.inner.start()

    async def wait_ready(self, timeout: float) -> None:
        """See ``Engine``."""
        await self.inner.wait_ready(timeout)

    async def stop(self) -> None:
        """See ``Engine``."""
        await self.inner.stop()

    async def send(self, request: EngineRequest) -> EngineReply:
        """See ``Engine``. ``request.altered`` makes one with another model or other fields."""
        return await self.inner.send(request)

    def state(self) -> EngineState:
        """See ``Engine``."""
        return self.inner.state()

    def memory(self) -> tuple[int, int] | None:
        """See ``Engine``."""
        return self.inner.memory()

    def watch(self, metrics: Watcher) -> None:
        """See ``Engine``."""
        self.inner.watch(metrics)

    def models(self) -> tuple[str, ...]:
        """See ``Engine``."""
        return self.inner.models()

    def serves(self, model: str) -> bool:
        """See ``Engine``."""
        return self.inner.serves(model)

    def known(self, model: str) -> bool:
        """See ``Engine``."""
        return self.inner.known(model)

    def max_model_len(self, model: str) -> int | None:
        """See ``Engine``."""
        return self.inner.max_model_len(model)

    def modalities(self, model: str) -> frozenset[str] | None:
        """See ``Engine``."""
        return self.inner.modalities(model)

    def control_tokens(self) -> frozenset[str]:
        """See ``Engine``."""
        return self.inner.control_tokens()


class WrapperReply:
    """A reply that is another one, but for its body.

    Args:
        inner: the other one.
    """

    def __init__(self, inner: EngineReply) -> None:
        self.inner = inner
        self.status, self.content_type = inner.status, inner.content_type
        self.retry_after = inner.retry_after
        self.abort, self.speaks = inner.abort, inner.speaks
        self.generated, self.prompt_tokens = inner.generated, inner.prompt_tokens

    def chunks(self) -> AsyncIterator[bytes]:
        """See ``EngineReply``."""
        return self.inner.chunks()
