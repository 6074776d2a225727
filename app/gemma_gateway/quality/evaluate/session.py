"""An evaluation from its first question to its report."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from gemma_gateway.core.engine import EngineFailed
from gemma_gateway.engines.upstream.engine import UpstreamEngine
from gemma_gateway.quality.embeddings import Embeddings
from gemma_gateway.quality.engine_client import EngineClient, Refused
from gemma_gateway.quality.evaluate.errors import EvaluationError, KeyRefused, Unusable
from gemma_gateway.quality.evaluate.options import Options
from gemma_gateway.quality.evaluate.progress import Progress
from gemma_gateway.quality.evaluate.report import Report
from gemma_gateway.quality.evaluate.result import Log, Result, Side
from gemma_gateway.quality.evaluate.rows import Row
from gemma_gateway.quality.item import Unscored
from gemma_gateway.quality.judge import Judge
from gemma_gateway.quality.scores import Scores
from gemma_gateway.safety.policy import Policy

START_SECONDS = 5.0
PATIENCE_SECONDS = 3600.0  # a rate limit is waited for: its window is rarely longer
CHAT = "/v1/chat/completions"
BLOCKED_CODE = "CONTENT_FILTERED"


class Session:
    """One evaluation.

    Args:
        options: what is asked for.
        rows: the set.
        key: sent to the server; empty: none.

    Raises:
        ConfigError: the policy can't be used.
    """

    def __init__(self, options: Options, rows: list[Row], key: str) -> None:
        self._options = options
        self._rows = rows
        self._policy = Policy.load(options.policy)
        self._key = key
        self._started = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        self._log: Log | None = None
        self._embeddings = Embeddings(options.embeddings)
        self._model = options.model or ""
        self._judge_model = ""
        self._asks = bool(options.against) or any(self._needs_engine(row) for row in rows)

    @property
    def lacking(self) -> list[str]:
        """Scores that are asked for and can't be made, as what they are made with isn't installed.
        (Accuracy can, where a row gives a context and no reference.)"""
        if self._embeddings.installed:
            return []
        wanted = {name for row in self._rows for name in row.wanted}
        return [n for n in ("relevance", "accuracy") if n in wanted and n in self._options.scores]

    async def work(self) -> None:
        """Ask and judge what is not done yet.

        Raises:
            EvaluationError: the server isn't there, refuses the key, or lacks a model; or the
                folder for the results can't be used.
        """
        options = self._options
        engine = UpstreamEngine([f"{options.url}/v1"], api_key=self._key)
        embeddings = self._embeddings
        engine_client = EngineClient(engine, timeout=600.0, patience=PATIENCE_SECONDS)
        if self._asks:
            await engine.start()
        try:
            if self._asks:
                await self._greet(engine, engine_client)
            self._log = Log(options.out, self._stated(), options.resume)
            judge = Judge(engine_client, embeddings, self._policy, options.samples)
            await self._all(engine_client, judge, self._log)
        finally:
            await embeddings.stop()
            await engine.stop()

    @property
    def begun(self) -> bool:
        """Whether there is something to report on."""
        return self._log is not None

    def close(self) -> None:
        """Put what was done on the disk."""
        if self._log is not None:
            self._log.close()

    def report(self, interrupted: bool) -> Report:
        """The report on what is done."""
        done = self._log.done if self._log is not None else {}
        pairs = [(row, done[row.key]) for row in self._rows if row.key in done]
        return Report(
            self._started,
            str(self._options.set),
            self._stated(),
            len(self._rows),
            pairs,
            interrupted,
        )

    async def _all(self, engine_client: EngineClient, judge: Judge, log: Log) -> None:
        left = [row for row in self._rows if row.key not in log.done]
        waiting = iter(left)
        done = len(self._rows) - len(left)
        with Progress(len(self._rows), done, lambda: engine_client.waiting) as progress:

            async def work() -> None:
                for row in waiting:
                    if row.key not in log.done:  # the same row may stand in a set twice
                        log.add(await self._row(row, engine_client, judge))
                    progress.step()

            workers = [asyncio.create_task(work()) for _ in range(self._options.concurrency)]
            clock = asyncio.create_task(progress.refresh())
            try:
                await asyncio.gather(*workers)
            finally:
                for task in (clock, *workers):
                    task.cancel()
                await asyncio.wait([clock, *workers])

    async def _row(self, row: Row, engine_client: EngineClient, judge: Judge) -> Result:
        against = self._options.against
        if row.answer is not None:
            first = await self._judged(row, Side("", row.answer, Scores()), judge)
        else:
            first = await self._judged(row, await self._ask(row, self._model, engine_client), judge)
        if not against:
            return Result(row.key, first)
        return Result(
            row.key,
            first,
            await self._judged(row, await self._ask(row, against, engine_client), judge),
        )

    async def _ask(self, row: Row, model: str, engine_client: EngineClient) -> Side:
        """A model's answer to a row."""
        body = {
            "model": model,
            "messages": row.asked,
            "max_tokens": self._options.max_tokens,
            "temperature": self._options.temperature,
            "seed": 0,
        }
        try:
            document = await engine_client.ask("answer", CHAT, body)
            choice = document["choices"][0]
            answer = str(choice["message"]["content"] or "")
        except Refused as refused:
            if refused.status in (401, 403):
                raise KeyRefused(refused.status, refused.code) from None
            return Side(model, "", Scores(), refused.reason, refused.code == BLOCKED_CODE)
        except Unscored as error:
            return Side(model, "", Scores(), error.reason)
        except (KeyError, IndexError, TypeError):
            return Side(model, "", Scores(), "the answer can't be read")
        filtered = choice.get("finish_reason") == "content_filter"
        return Side(model, answer, Scores(), "" if answer.strip() else "an empty answer", filtered)

    async def _judged(self, row: Row, side: Side, judge: Judge) -> Side:
        """The answer with its scores."""
        wanted = [name for name in row.wanted if name in self._options.scores]
        if not side.error:
            item = row.item(side.answer, self._judge_model, side.filtered)
            side.scores = await judge.score(item, wanted)
            return side
        side.scores.reasons = dict.fromkeys(wanted, side.error)
        if side.filtered and "safety" in wanted:
            side.scores.safety = 0.0
            del side.scores.reasons["safety"]
        return side

    async def _greet(self, engine: UpstreamEngine, engine_client: EngineClient) -> None:
        """Find out whether the server is there, takes the key, and has the models.

        Raises:
            EvaluationError: it isn't, doesn't, or hasn't.
        """
        options = self._options
        try:
            await engine.wait_ready(START_SECONDS)
        except EngineFailed:
            why = engine.state().servers[0].trouble
            raise EvaluationError(f"{options.url} doesn't answer: {why}") from None
        served = engine.models()
        self._model = options.model or (served[0] if served else "")
        self._judge_model = options.judge or self._model
        for name in filter(None, (options.model, options.against, options.judge)):
            if served and name not in served:
                raise Unusable(f"{options.url} serves no {name}; it has: {', '.join(served)}")
        hello = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
        try:
            await engine_client.ask("greeting", CHAT, {"model": self._model, **hello})
        except Refused as refused:
            if refused.status in (401, 403):
                raise KeyRefused(refused.status, refused.code) from None
            raise EvaluationError(f"{options.url}: {refused.reason}") from None
        except Unscored as error:
            raise EvaluationError(f"{options.url}: {error.reason}") from None

    def _needs_engine(self, row: Row) -> bool:
        wanted = {name for name in row.wanted if name in self._options.scores}
        alone = {"relevance", "safety"} | ({"accuracy"} if row.reference else set())
        return row.answer is None or not wanted <= alone

    def _stated(self) -> dict[str, Any]:
        """What decides on the results; a log made with others can't be resumed."""
        options = self._options
        return {
            "model": self._model,
            "against": options.against or "",
            "judge": self._judge_model,
            "scores": list(options.scores),
            "samples": options.samples,
            "policy": str(options.policy or ""),
            "max_tokens": options.max_tokens,
            "temperature": options.temperature,
            "embeddings": options.embeddings,
        }
