"""Logprobs beside a text: they must not tell what the text may not say."""

from __future__ import annotations

import codecs
from collections import deque
from typing import Any

from gemma_gateway.core.dialect import Logprobs
from gemma_gateway.safety.filter import Filter

_UTF8 = codecs.getincrementaldecoder("utf-8")


class LogprobGuard:
    """Logprob entries on their way: what they spell is a text of its own, judged as one.

    An engine that waits for a stop string tells tokens before their text, so entries can't just
    follow the text. Where their own text matches, they end; the answer's text decides for itself.
    An entry with a part of a character waits for the rest of it.
    """

    def __init__(self, judge: Filter) -> None:
        self._rewrites = judge.rewrites
        self._scanner = judge.scanner()
        self._decoder = _UTF8("replace")
        self._waiting: deque[tuple[int, Any]] = deque()  # (characters up to its end, entry)
        self._came = 0  # characters of all entries
        self._free = 0  # how many of them may be told

    def follow(self, logprobs: Logprobs) -> bool:
        """Let the entries that may leave do so; whether that changed the logprobs."""
        came = logprobs.take()
        if self._rewrites:  # they would spell what was changed
            logprobs.give([])
            return bool(came)
        alone = not self._waiting
        for piece, entry in came:
            data = piece if isinstance(piece, bytes) else piece.encode("utf-8", "replace")
            self._push(self._decoder.decode(data))
            begun = bool(self._decoder.getstate()[0])
            self._waiting.append((self._came + begun, (piece, entry)))
        gone = self._ready()
        logprobs.give(gone)
        return not alone or len(gone) != len(came)

    def end(self, logprobs: Logprobs) -> bool:
        """Give the last entries to the logprobs of the event that closes the channel."""
        self._push(self._decoder.decode(b"", final=True))
        self._free += len(self._scanner.close())
        rest = self._ready()
        if rest:
            logprobs.give(logprobs.take() + rest)
        return bool(rest)

    def _push(self, text: str) -> None:
        self._came += len(text)
        self._free += len(self._scanner.push(text))

    def _ready(self) -> list[tuple[str | bytes, Any]]:
        ready: list[tuple[str | bytes, Any]] = []
        while self._waiting and self._waiting[0][0] <= self._free:
            ready.append(self._waiting.popleft()[1])
        if self._scanner.match is not None:
            self._waiting.clear()
            self._free = -1
        return ready


def judge_logprobs(judge: Filter, logprobs: Logprobs) -> bool:
    """Judge a logprobs that is all there: its entries and alternatives; whether it changed."""
    changed = drop_alternatives(judge, logprobs)
    entries = logprobs.take()
    logprobs.give(entries)
    tokens = LogprobGuard(judge)
    tokens.follow(logprobs)
    tokens.end(logprobs)
    kept = logprobs.take()
    logprobs.give(kept)
    return changed or len(kept) != len(entries)


def drop_alternatives(judge: Filter, logprobs: Logprobs) -> bool:
    """Remove what was not chosen and holds a blocked term, or can't be read; whether there was
    any."""
    blocked: dict[str, bool] = {}  # the same tokens come again and again
    dropped = []
    for text, drop in logprobs.side_texts():
        if text is not None and text not in blocked:
            blocked[text] = judge.find(text) is not None
        if text is None or blocked[text] or judge.rewrites:
            dropped.append(drop)
    for drop in dropped:
        drop()
    return bool(dropped)
