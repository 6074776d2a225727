"""Asking a model server on the judge's behalf: not a caller's call, so nothing of it is billed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson

from gemma_gateway.core.ask import ask
from gemma_gateway.core.engine import Engine, EngineFailed
from gemma_gateway.core.errors import Code
from gemma_gateway.quality.item import Unscored
from gemma_gateway.safety.controls import ControlTokens

Json = dict[str, Any]
MAX_REPLY_BYTES = 32 * 2**20
FIRST_PAUSE, LAST_PAUSE = 1.0, 30.0  # seconds before a refused question is asked again, doubling
SHORTLY = 60.0  # seconds
BUSY = "the engine was busy"
CONTROLS = ControlTokens()  # Gemma's: what is judged can't speak as the judge
NO_ANSWER = "the engine did not answer"


class Refused(Unscored):
    """The server refused a question.

    Args:
        status: HTTP status.
        code: the error's code, where the server is a gateway like this one; else empty.
    """

    def __init__(self, status: int, code: str = "") -> None:
        known = Code.__members__.get(code)
        why = f": {known.value.message}" if known else ""
        super().__init__(f"the engine refused the question ({code or status}){why}".rstrip("."))
        self.status = status
        self.code = code


class EngineClient:
    """Questions to an engine.

    Args:
        engine: where they go.
        timeout: longest wait for one answer, seconds.
        busy: whether the engine has enough to do: then nothing is asked.
        patience: seconds in which a question is asked again that had met a rate limit; one that had
            met a full server, ``SHORTLY`` at most; 0: such a question fails at once.

    Attributes:
        asked: questions so far, by purpose.
        waiting: questions that wait to be asked again.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        busy: Callable[[], bool] = lambda: False,
        timeout: float = 60.0,
        patience: float = 0.0,
    ) -> None:
        self._engine = engine
        self._busy = busy
        self._timeout = timeout
        self._patience = patience
        self.asked: Counter[str] = Counter()
        self.waiting = 0

    def models(self) -> tuple[str, ...]:
        """Names of the served models."""
        return self._engine.models()

    async def ask(self, purpose: str, path: str, body: Json) -> Json:
        """One question.

        Args:
            purpose: what it is for: a word of a closed set.
            path: one of the engine's routes.
            body: a request that names its model and asks for no stream.

        Returns:
            The decoded answer.

        Raises:
            Refused: the server answered with an error.
            Unscored: it is busy, did not answer, or nothing that can be read.
        """
        pause, waited = FIRST_PAUSE, 0.0
        while True:
            if self._busy():
                raise Unscored(BUSY)
            self.asked[purpose] += 1
            try:
                return await self._once(path, body)
            except Refused as refused:
                if waited >= self._longest(refused.status):
                    raise
            self.waiting += 1
            try:
                await asyncio.sleep(pause)
            finally:
                self.waiting -= 1
            waited += pause
            pause = min(2 * pause, LAST_PAUSE)

    def _longest(self, status: int) -> float:
        """Seconds for which an answer of this status is put up with."""
        if status == 429:
            return self._patience
        return min(self._patience, SHORTLY) if status == 503 else 0.0

    async def _once(self, path: str, body: Json) -> Json:
        try:
            reply = await ask(
                self._engine,
                "quality",
                path,
                body,
                timeout=self._timeout,
                most_bytes=MAX_REPLY_BYTES,
                write=lambda document: CONTROLS.write(document)[0],
            )
        except EngineFailed:
            raise Unscored(NO_ANSWER) from None
        try:
            document: Any = orjson.loads(reply.body)
        except orjson.JSONDecodeError:
            document = None
        if reply.status != 200:
            raise Refused(reply.status, _code(document))
        if not isinstance(document, dict):
            raise Unscored(NO_ANSWER)
        return document


def _code(document: Any) -> str:
    error = document.get("error") if isinstance(document, dict) else None
    code = error.get("gateway_code") if isinstance(error, dict) else None
    plain = isinstance(code, str) and code.isidentifier() and len(code) <= 64
    return str(code) if plain else ""
