"""Logprobs beside a text: they must not tell what the text may not say."""

from __future__ import annotations

from collections import deque
from typing import Any

from app.safety.policy import Policy
from app.wire.dialect import Trail


class Tokens:
    """Logprob entries on their way: what they spell is a text of its own, judged as one.

    An engine that waits for a stop string tells tokens before their text, so entries can't just
    follow the text. Where their own text matches, they end; the answer's text decides for itself.
    """

    def __init__(self, policy: Policy) -> None:
        self._scanner = policy.scanner()
        self._waiting: deque[tuple[str, Any]] = deque()
        self._room = 0  # characters that may be told and haven't been

    def follow(self, trail: Trail) -> bool:
        """Let the entries that may leave do so; whether that changed the trail."""
        came = trail.take()
        for token, _ in came:
            self._room += len(self._scanner.push(token))
        self._waiting.extend(came)
        gone = self._ready()
        trail.give(gone)
        return gone != came

    def end(self, trail: Trail) -> bool:
        """Give the last entries to the trail of the event that closes the channel."""
        self._room += len(self._scanner.close())
        rest = self._ready()
        if rest:
            trail.give(trail.take() + rest)
        return bool(rest)

    def _ready(self) -> list[tuple[str, Any]]:
        ready: list[tuple[str, Any]] = []
        while self._waiting and len(self._waiting[0][0]) <= self._room:
            self._room -= len(self._waiting[0][0])
            ready.append(self._waiting.popleft())
        if self._scanner.match is not None:
            self._waiting.clear()
            self._room = -1
        return ready


def drop_alternatives(policy: Policy, trail: Trail) -> bool:
    """Remove tokens that were not chosen and hold a blocked term; whether there were any."""
    blocked: dict[str, bool] = {}  # the same tokens come again and again
    dropped = []
    for text, drop in trail.side_texts():
        if text not in blocked:
            blocked[text] = policy.find(text) is not None
        if blocked[text]:
            dropped.append(drop)
    for drop in dropped:
        drop()
    return bool(dropped)
