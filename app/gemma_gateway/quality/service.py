"""Answer quality as one part of the gateway: sampling, feedback, and what operators see of both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from prometheus_client import Histogram

from gemma_gateway.core.engine import Engine
from gemma_gateway.monitoring.records import RequestLog
from gemma_gateway.quality.book import MOST, Book
from gemma_gateway.quality.embeddings import Embeddings
from gemma_gateway.quality.engine_client import EngineClient
from gemma_gateway.quality.feedback import FeedbackService
from gemma_gateway.quality.judge import Judge
from gemma_gateway.quality.sampler import Sampler
from gemma_gateway.quality.view import QualityView, Sampling
from gemma_gateway.safety.policy import Policy
from gemma_gateway.settings import QualitySettings
from gemma_gateway.storage import Store
from gemma_gateway.telemetry.metrics import MOST_MODELS, Metrics

TENTHS = tuple(n / 10 for n in range(1, 11))


class Quality:
    """Judges a share of the calls where a tier asks for it, and takes feedback everywhere.

    Args:
        settings: how answers are judged.
        shares: of the calls that are judged, by tier.
        store: where scores and feedback are kept.
        prefix: of their keys there.
        keep_seconds: how long.
        request_log: finished calls, for feedback.
        policy: the content policy.
        engine: is asked on the judge's behalf, past the callers' limits.
        metrics: where the parts' figures are shown.
        in_flight: calls that are in the gateway now.

    Attributes:
        sampler: None where no tier samples: then a call costs nothing more.
    """

    def __init__(
        self,
        settings: QualitySettings,
        shares: Mapping[str, float],
        store: Store,
        prefix: str,
        keep_seconds: float,
        request_log: RequestLog,
        policy: Policy,
        engine: Engine,
        metrics: Metrics,
        in_flight: Callable[[], int],
    ) -> None:
        self._book = Book(store, prefix, keep_seconds)
        self.feedback = FeedbackService(request_log, self._book, self._satisfied)
        self.sampler: Sampler | None = None
        self.view = QualityView(self._book, lambda: self._sampling(shares))
        self._embeddings = Embeddings(settings.quality_embeddings)
        self._models: set[str] = set()
        self._scores = Histogram(
            "gateway_quality_score",
            "Scores of sampled answers and of feedback, 0 (bad) to 1 (good).",
            ("score", "model"),
            buckets=TENTHS,
            registry=metrics.registry,
        )
        metrics.watch(
            "gateway_quality_lost_total",
            "Scores and feedback dropped because the store was unavailable for too long.",
            lambda: self._book.lost,
        )
        if not any(shares.values()):
            return

        def busy() -> bool:
            return in_flight() > settings.quality_max_in_flight

        engine_client = EngineClient(engine, busy=busy)
        judge = Judge(engine_client, self._embeddings, policy, settings.quality_consistency)
        sampler = self.sampler = Sampler(judge, self._book, busy, self._observe)
        metrics.watch_each(
            "gateway_quality_calls_total",
            "Sampled calls by what became of them.",
            "result",
            lambda: sampler.counts,
        )
        metrics.watch_each(
            "gateway_quality_engine_calls_total",
            "Questions to the engine on the judge's behalf; billed to nobody.",
            "purpose",
            lambda: engine_client.asked,
        )

    async def start(self) -> None:
        """Begin to judge and to write."""
        await self._book.start()
        if self.sampler is not None:
            await self.sampler.start()

    async def stop(self) -> None:
        """Stop, and write what is left. Idempotent."""
        if self.sampler is not None:
            await self.sampler.stop()
        await self._embeddings.stop()
        await self._book.stop()

    async def rows(self) -> AsyncIterator[dict[str, Any]]:
        """Every judged or commented call that is kept, for an export."""
        for row in (await self.view.report(MOST, rows=MOST)).data:
            yield row.model_dump()

    def _sampling(self, shares: Mapping[str, float]) -> Sampling:
        outcomes = {} if self.sampler is None else dict(self.sampler.counts)
        return Sampling(tiers=dict(shares), outcomes=outcomes)

    def _satisfied(self, model: str, score: float) -> None:
        self._observe(model, "satisfaction", score)

    def _observe(self, model: str, name: str, value: float) -> None:
        if model not in self._models:
            if len(self._models) >= MOST_MODELS:
                model = "other"
            self._models.add(model)
        self._scores.labels(name, model).observe(value)
