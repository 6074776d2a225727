"""Sentence embeddings, computed in a process of their own.

PyTorch takes seconds to import and half a gigabyte, and holds Python's lock meanwhile: in the
gateway's process that would be felt by every call. The child is started by the first text, works on
one core (at low priority, once it is loaded), and ends when its standard input does, so it never
outlives its parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import orjson

from gemma_gateway.quality.embedding_process import PACKAGE
from gemma_gateway.quality.item import Unscored

MISSING = "the extra 'quality' is not installed"
FAILED = "the embedding model does not work"
START_SECONDS = 180.0  # importing PyTorch from a cold disk
WORK_SECONDS = 60.0
PAUSE_SECONDS = 60.0  # after a failure
MAX_LINE = 16 * 2**20  # bytes of one answer; 384 numbers take about 8,000
MAX_CHARS = 4000  # of one text; the model itself reads 256 tokens

Vector = list[float]


class Embeddings:
    """Texts to unit vectors.

    Args:
        model: folder or hub name of a sentence-transformers model; empty: all-MiniLM-L6-v2 as the
            extra ``quality`` brings it.

    Attributes:
        installed: whether what it needs is.
    """

    def __init__(self, model: str = "") -> None:
        self._model = model
        needed = ("sentence_transformers",) if model else ("sentence_transformers", PACKAGE)
        self.installed = all(importlib.util.find_spec(name) for name in needed)
        self._child: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._again = 0.0  # monotonic seconds: no new try before

    async def encode(self, texts: Sequence[str]) -> list[Vector]:
        """One vector of length 1 for each text.

        Raises:
            Unscored: the extra is not installed, or the model can't be loaded or has failed.
        """
        if not self.installed:
            raise Unscored(MISSING)
        async with self._turn:
            if time.monotonic() < self._again:
                raise Unscored(FAILED)
            try:
                if self._child is None:
                    await self._start()
                reply = await self._ask({"texts": [t[:MAX_CHARS] for t in texts]}, WORK_SECONDS)
                vectors: list[Vector] = reply["vectors"]
            except Exception:
                self._again = time.monotonic() + PAUSE_SECONDS
                await self.stop()
                raise Unscored(FAILED) from None
            except BaseException:  # cancelled half way: its answer must not become the next one's
                await self.stop()
                raise
            return vectors

    async def stop(self) -> None:
        """End the process. Idempotent; the next text starts another."""
        child, self._child = self._child, None
        if child is not None and child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()

    async def _start(self) -> None:
        # The settings, among them keys, are not for the child.
        env = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
        self._child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # nothing that lies in the working directory
            "-m",
            "gemma_gateway.quality.embedding_process",
            self._model,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=env,
            limit=MAX_LINE,
        )
        await self._ask({"texts": []}, START_SECONDS)

    async def _ask(self, question: dict[str, Any], seconds: float) -> dict[str, Any]:
        child = self._child
        assert child is not None
        assert child.stdin is not None
        assert child.stdout is not None
        async with asyncio.timeout(seconds):
            child.stdin.write(orjson.dumps(question, option=orjson.OPT_APPEND_NEWLINE))
            await child.stdin.drain()
            answer: dict[str, Any] = orjson.loads(await child.stdout.readline())
        return answer


def similarity(one: Vector, other: Vector) -> float:
    """Cosine of the angle between two unit vectors, -1 to 1."""
    return sum(a * b for a, b in zip(one, other, strict=True))
