"""Is the service well? A real, short generation, and the state of the parts around it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, Field

from gemma_gateway.core.ask import ask
from gemma_gateway.core.engine import Engine, EngineFailed, EngineState
from gemma_gateway.monitoring.memory import Memory
from gemma_gateway.settings import MonitoringSettings

HEALTH_TOKENS = 10
MAX_ANSWER_BYTES = 2**20


class HealthReport(BaseModel):
    """How the service is, as a short generation found it."""

    status: Literal["healthy", "degraded", "unhealthy"] = "healthy"
    model_loaded: bool = False
    multimodal_enabled: bool = False
    response_time: float = Field(0.0, description="Duration of the test generation, seconds")
    memory_usage: float = Field(0.0, description="Memory of this process and its engine, MB")
    models: tuple[str, ...] = ()
    store: Literal["available", "unavailable"] = "available"
    errors: list[str] = []

    def worsen(self, status: Literal["degraded", "unhealthy"], error: str) -> None:
        """Lower the status to ``status`` unless it is worse already."""
        if status == "unhealthy" or self.status == "healthy":
            self.status = status
        self.errors.append(error)


class Health:
    """Health of one gateway process.

    Args:
        settings: ``health_*``.
        denies: whether calls are refused while the store is unavailable.
        store_available: whether the limiter's script works on the store.
        store_serves_any: the same for some keys at least.
        memory: what the process and its engine weigh.
    """

    def __init__(
        self,
        settings: MonitoringSettings,
        denies: bool,
        engine: Engine,
        store_available: Callable[[], bool],
        store_serves_any: Callable[[], bool],
        memory: Memory,
    ) -> None:
        self._settings = settings
        self._denies = denies
        self._engine = engine
        self._store_available = store_available
        self._store_serves_any = store_serves_any
        self._memory = memory
        self._lock = asyncio.Lock()
        self._report: HealthReport | None = None
        self._expires = 0.0
        self.draining = False

    async def ready(self) -> bool:
        """Whether new calls should come here: not where each would be refused."""
        if self.draining or (self._denies and not self._store_serves_any()):
            return False
        return self._engine.state().ready

    async def report(self, *, named: bool = False) -> HealthReport:
        """The report; a generation is made at most once in ``health_cache_seconds``, the rest is
        as it is now.

        Args:
            named: for an operator: say which server each error is about.
        """
        async with self._lock:
            if self._report is None or time.monotonic() >= self._expires:
                self._report = await self._examine()
                self._expires = time.monotonic() + self._settings.health_cache_seconds
            report = self._report.model_copy(deep=True)
        if report.status == "unhealthy":
            report.errors += _troubles(self._engine.state(), named=named)
        if not self._store_available():
            report.store = "unavailable"
            report.worsen(
                "degraded", "the limit store is unavailable, or refuses the limiter's script"
            )
        return report

    async def _examine(self) -> HealthReport:
        state = self._engine.state()
        report = HealthReport(
            model_loaded=state.ready, multimodal_enabled=state.multimodal, models=state.models
        )
        report.memory_usage = self._memory.resident_mb
        if not state.ready:
            report.worsen("unhealthy", "no engine is ready")
        else:
            await self._generate(report, state.models)
        return report

    async def _generate(self, report: HealthReport, models: tuple[str, ...]) -> None:
        body = {
            "model": models[0] if models else "",
            "messages": [{"role": "user", "content": "Hello"}],
            "max_tokens": HEALTH_TOKENS,
            "temperature": 0,
        }
        started = time.perf_counter()
        try:
            reply = await ask(
                self._engine,
                "health",
                "/v1/chat/completions",
                body,
                timeout=self._settings.health_timeout,
                most_bytes=MAX_ANSWER_BYTES,
            )
        except EngineFailed:
            report.worsen("unhealthy", "the test generation failed")
            return
        report.response_time = round(time.perf_counter() - started, 3)
        if reply.status != 200:
            report.worsen("unhealthy", "the test generation failed")
        elif report.response_time > self._settings.health_degraded_seconds:
            report.worsen("degraded", "the test generation was slow")


def _troubles(state: EngineState, *, named: bool) -> list[str]:
    """Why no engine is of use. Addresses are for operators alone."""
    if not state.servers and state.detail:
        return [state.detail] if named else []
    found = [(server.url, server.trouble) for server in state.servers if server.trouble]
    if named:
        return [f"{url}: {trouble}" for url, trouble in found]
    return [f"upstream: {trouble}" for trouble in dict.fromkeys(trouble for _, trouble in found)]
