"""An evaluation from its first question to its report."""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from typing import Any

from gemma_gateway.cli import caller
from gemma_gateway.cli.command import CommandError
from gemma_gateway.cli.evaluate import rows as question_set
from gemma_gateway.cli.evaluate.progress import Progress
from gemma_gateway.cli.evaluate.report import Report
from gemma_gateway.cli.evaluate.result import Log, Result, Side
from gemma_gateway.cli.evaluate.rows import Row
from gemma_gateway.core.engine import EngineFailed
from gemma_gateway.engines.upstream.engine import UpstreamEngine
from gemma_gateway.quality.asker import Asker, Refused
from gemma_gateway.quality.embeddings import Embeddings
from gemma_gateway.quality.item import Unscored
from gemma_gateway.quality.judge import Judge
from gemma_gateway.quality.scores import Scores
from gemma_gateway.safety.policy import Policy

START_SECONDS = 5.0
PATIENCE_SECONDS = 3600.0  # a rate limit is waited for: its window is rarely longer
CHAT = "/v1/chat/completions"
BLOCKED_CODE = "CONTENT_FILTERED"


def run(parsed: argparse.Namespace) -> int:
    """Evaluate a set and write the report.

    Returns:
        0, or 130 after Ctrl-C, or 1 when no row could be scored.

    Raises:
        CommandError: the words, the set, the folder or the server can't be used.
        ConfigError: the policy can't be used.
    """
    rows = question_set.read(parsed.set)
    session = Session(parsed, rows)
    interrupted = False
    try:
        asyncio.run(session.work())
    except KeyboardInterrupt:
        interrupted = True
    finally:
        session.close()
    if not session.begun:
        return 130  # nothing was done, and what --out holds stays as it is
    report = session.report(interrupted)
    report.write(parsed.out)
    print(report.text())
    print(f"\nreport: {parsed.out / 'report.html'}", file=sys.stderr)
    if interrupted:
        print("interrupted; --resume goes on", file=sys.stderr)
        return 130
    return 0 if report.scored else 1


class Session:
    """One evaluation.

    Args:
        parsed: the command's words.
        rows: the set.

    Raises:
        CommandError: see ``run``.
    """

    def __init__(self, parsed: argparse.Namespace, rows: list[Row]) -> None:
        self._parsed = parsed
        self._rows = rows
        self._policy = Policy.load(parsed.policy)
        self._key = caller.api_key(parsed.url, parsed.key_file)
        self._started = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        self._log: Log | None = None
        self._model: str = parsed.model or ""
        self._judge_model = ""
        self._asks = bool(parsed.against) or any(self._needs_engine(row) for row in rows)

    async def work(self) -> None:
        """Ask and judge what is not done yet."""
        parsed = self._parsed
        engine = UpstreamEngine([f"{parsed.url}/v1"], api_key=self._key)
        embeddings = Embeddings(parsed.embeddings)
        asker = Asker(engine, timeout=600.0, patience=PATIENCE_SECONDS)
        if self._asks:
            await engine.start()
        try:
            if self._asks:
                await self._greet(engine, asker)
            self._log = Log(parsed.out, self._options(), parsed.resume)
            judge = Judge(asker, embeddings, self._policy, parsed.samples)
            await self._all(asker, judge, self._log)
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
            str(self._parsed.set),
            self._options(),
            len(self._rows),
            pairs,
            interrupted,
        )

    async def _all(self, asker: Asker, judge: Judge, log: Log) -> None:
        left = [row for row in self._rows if row.key not in log.done]
        waiting = iter(left)
        done = len(self._rows) - len(left)
        with Progress(len(self._rows), done, lambda: asker.waiting) as progress:

            async def work() -> None:
                for row in waiting:
                    if row.key not in log.done:  # the same row may stand in a set twice
                        log.add(await self._row(row, asker, judge))
                    progress.step()

            workers = [asyncio.create_task(work()) for _ in range(self._parsed.concurrency)]
            clock = asyncio.create_task(progress.refresh())
            try:
                await asyncio.gather(*workers)
            finally:
                for task in (clock, *workers):
                    task.cancel()
                await asyncio.wait([clock, *workers])

    async def _row(self, row: Row, asker: Asker, judge: Judge) -> Result:
        against = self._parsed.against
        if row.answer is not None:
            first = await self._judged(row, Side("", row.answer, Scores()), judge)
        else:
            first = await self._judged(row, await self._ask(row, self._model, asker), judge)
        if not against:
            return Result(row.key, first)
        return Result(
            row.key, first, await self._judged(row, await self._ask(row, against, asker), judge)
        )

    async def _ask(self, row: Row, model: str, asker: Asker) -> Side:
        """A model's answer to a row."""
        body = {
            "model": model,
            "messages": row.asked,
            "max_tokens": self._parsed.max_tokens,
            "temperature": self._parsed.temperature,
            "seed": 0,
        }
        try:
            document = await asker.ask("answer", CHAT, body)
            choice = document["choices"][0]
            answer = str(choice["message"]["content"] or "")
        except Refused as refused:
            if refused.status in (401, 403):
                raise CommandError(caller.no_key(refused.status, refused.code), 1) from None
            return Side(model, "", Scores(), refused.reason, refused.code == BLOCKED_CODE)
        except Unscored as error:
            return Side(model, "", Scores(), error.reason)
        except (KeyError, IndexError, TypeError):
            return Side(model, "", Scores(), "the answer can't be read")
        filtered = choice.get("finish_reason") == "content_filter"
        return Side(model, answer, Scores(), "" if answer.strip() else "an empty answer", filtered)

    async def _judged(self, row: Row, side: Side, judge: Judge) -> Side:
        """The answer with its scores."""
        wanted = [name for name in row.wanted if name in self._parsed.scores]
        if not side.error:
            item = row.item(side.answer, self._judge_model, side.filtered)
            side.scores = await judge.score(item, wanted)
            return side
        side.scores.reasons = dict.fromkeys(wanted, side.error)
        if side.filtered and "safety" in wanted:
            side.scores.safety = 0.0
            del side.scores.reasons["safety"]
        return side

    async def _greet(self, engine: UpstreamEngine, asker: Asker) -> None:
        """Find out whether the server is there, takes the key, and has the models.

        Raises:
            CommandError: it isn't, doesn't, or hasn't.
        """
        parsed = self._parsed
        try:
            await engine.wait_ready(START_SECONDS)
        except EngineFailed:
            raise CommandError(f"{parsed.url} doesn't answer", 1) from None
        served = engine.models()
        self._model = parsed.model or (served[0] if served else "")
        self._judge_model = parsed.judge or self._model
        for name in filter(None, (parsed.model, parsed.against, parsed.judge)):
            if served and name not in served:
                raise CommandError(f"{parsed.url} serves no {name}; it has: {', '.join(served)}")
        hello = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
        try:
            await asker.ask("greeting", CHAT, {"model": self._model, **hello})
        except Refused as refused:
            if refused.status in (401, 403):
                raise CommandError(caller.no_key(refused.status, refused.code), 1) from None
            raise CommandError(f"{parsed.url}: {refused.reason}", 1) from None
        except Unscored as error:
            raise CommandError(f"{parsed.url}: {error.reason}", 1) from None

    def _needs_engine(self, row: Row) -> bool:
        wanted = {name for name in row.wanted if name in self._parsed.scores}
        alone = {"relevance", "safety"} | ({"accuracy"} if row.reference else set())
        return row.answer is None or not wanted <= alone

    def _options(self) -> dict[str, Any]:
        """What decides on the results; a log made with others can't be resumed."""
        parsed = self._parsed
        return {
            "model": self._model,
            "against": parsed.against or "",
            "judge": self._judge_model,
            "scores": list(parsed.scores),
            "samples": parsed.samples,
            "policy": str(parsed.policy or ""),
            "max_tokens": parsed.max_tokens,
            "temperature": parsed.temperature,
            "embeddings": parsed.embeddings,
        }
