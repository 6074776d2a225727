"""Logprobs beside the texts of OpenAI's routes, in every shape that engines write them."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from typing import Any

from gemma_gateway.core.dialect import Json, Logprobs

_UTF8 = codecs.getincrementaldecoder("utf-8")


def _entries(holder: Json, key: str) -> list[Any]:
    value = holder.get(key)
    return value if isinstance(value, list) else []


def _dropper(table: Any, item: Any) -> Callable[[], None]:
    def drop() -> None:
        if isinstance(table, dict):
            table.pop(item, None)
        else:  # by identity: equal alternatives may stand in one list
            table[:] = [other for other in table if other is not item]

    return drop


class ChatLogprobs:
    """Logprobs of chat and Responses: a list of {token, bytes, logprob, top_logprobs}.

    Args:
        holder: object that holds the list.
        key: its field, such as ``content``.
        prompt: vLLM's ``prompt_logprobs`` beside it, whose alternatives are side texts too.
    """

    def __init__(self, holder: Json, key: str, prompt: Any = None) -> None:
        self._holder = holder
        self._key = key
        self._prompt = prompt

    def take(self) -> list[tuple[str | bytes, Any]]:
        entries = _entries(self._holder, self._key)
        if entries:
            self._holder[self._key] = []
        return [(_token(entry), entry) for entry in entries]

    def give(self, entries: list[tuple[str | bytes, Any]]) -> None:
        if entries or self._key in self._holder:
            self._holder[self._key] = [entry for _, entry in entries]

    def side_texts(self) -> Iterator[tuple[str | None, Callable[[], None]]]:
        for entry in _entries(self._holder, self._key):
            table = _entries(entry, "top_logprobs") if isinstance(entry, dict) else []
            for other in list(table):
                yield _text(_token(other)), _dropper(table, other)
        yield from prompt_alternatives(self._prompt)


class CompletionLogprobs:
    """Logprobs of completions: parallel arrays tokens, token_logprobs, top_logprobs, text_offset.

    Source: vLLM's CompletionLogProbs; ``top_logprobs`` holds {token: logprob} or null. OpenAI's own
    completions write a part of a character as ``bytes:\\xe6\\x86``.
    """

    ARRAYS = ("tokens", "token_logprobs", "top_logprobs", "text_offset")

    def __init__(self, logprobs: Json, prompt: Any = None) -> None:
        self._logprobs = logprobs
        self._prompt = prompt

    def take(self) -> list[tuple[str | bytes, Any]]:
        tokens = _entries(self._logprobs, "tokens")
        columns = [_entries(self._logprobs, name) for name in self.ARRAYS]
        rows = [
            tuple(column[i] if i < len(column) else None for column in columns)
            for i in range(len(tokens))
        ]
        self.give([])
        return [(_spelled(str(row[0])), row) for row in rows]

    def give(self, entries: list[tuple[str | bytes, Any]]) -> None:
        for place, name in enumerate(self.ARRAYS):
            if name in self._logprobs:
                self._logprobs[name] = [row[place] for _, row in entries]

    def side_texts(self) -> Iterator[tuple[str | None, Callable[[], None]]]:
        for table in _entries(self._logprobs, "top_logprobs"):
            if isinstance(table, dict):
                for token in list(table):
                    yield _text(_spelled(token)), _dropper(table, token)
        yield from prompt_alternatives(self._prompt)


class UnreadLogprobs:
    """Logprobs that can't be judged: of an unknown shape, or beside several texts of one event.
    All of them are one side text that no one can read, so they become null.

    Args:
        holder: object with the field ``logprobs``.
        prompt: as of ``ChatLogprobs``.
    """

    def __init__(self, holder: Json, prompt: Any = None) -> None:
        self._holder = holder
        self._prompt = prompt

    def take(self) -> list[tuple[str | bytes, Any]]:
        return []

    def give(self, entries: list[tuple[str | bytes, Any]]) -> None:
        """There are none."""

    def side_texts(self) -> Iterator[tuple[str | None, Callable[[], None]]]:
        if self._holder.get("logprobs"):
            yield None, lambda: self._holder.update(logprobs=None)
        yield from prompt_alternatives(self._prompt)


def choice_logprobs(choice: Json, prompt: Any) -> Logprobs:
    """The logprobs of a choice of chat or completions, by the shape of its ``logprobs``."""
    logprobs = choice.get("logprobs") or {}
    if isinstance(logprobs, dict):
        if "tokens" in logprobs:
            return CompletionLogprobs(logprobs, prompt)
        keys = [key for key in ("content", "refusal") if isinstance(logprobs.get(key), list)]
        if len(keys) == 1 or not logprobs:
            return ChatLogprobs(logprobs, keys[0] if keys else "content", prompt)
    return UnreadLogprobs(choice, prompt)


def text_logprobs(holder: Json) -> ChatLogprobs | UnreadLogprobs | None:
    """The logprobs of a Responses text whose ``logprobs`` stand in the object beside it."""
    logprobs = holder.get("logprobs")
    if not logprobs:
        return None
    return (
        ChatLogprobs(holder, "logprobs") if isinstance(logprobs, list) else UnreadLogprobs(holder)
    )


def prompt_alternatives(prompt: Any) -> Iterator[tuple[str, Callable[[], None]]]:
    """Side texts of vLLM's ``prompt_logprobs``: a list of {token id: {decoded_token, ...}}."""
    for table in prompt if isinstance(prompt, list) else ():
        if isinstance(table, dict):
            for token_id, entry in list(table.items()):
                text = entry.get("decoded_token") if isinstance(entry, dict) else None
                if isinstance(text, str):
                    yield text, _dropper(table, token_id)


def _token(entry: Any) -> str | bytes:
    """What a {token, bytes} says: its bytes where they aren't the token's (a part of a character,
    whose token is U+FFFD or ``<0xE6>``)."""
    if not isinstance(entry, dict):
        return ""
    token, numbers = entry.get("token"), entry.get("bytes")
    token = token if isinstance(token, str) else ""
    try:
        data = bytes(numbers) if numbers and isinstance(numbers, list) else b""
    except (TypeError, ValueError):
        return token
    return data if data and data != token.encode("utf-8", "replace") else token


def _spelled(token: str) -> str | bytes:
    if not token.startswith("bytes:\\x"):
        return token
    try:
        return bytes.fromhex(token[6:].replace("\\x", ""))
    except ValueError:
        return token


def _text(piece: str | bytes) -> str:
    return piece if isinstance(piece, str) else piece.decode("utf-8", "replace")


def cut(logprobs: ChatLogprobs | CompletionLogprobs, text: str) -> None:
    """Keep the entries whose tokens, put together, are the beginning of ``text``."""
    kept: list[tuple[str | bytes, Any]] = []
    parts: list[tuple[str | bytes, Any]] = []  # with the beginning of a character
    decoder = _UTF8("replace")
    length = 0
    for piece, entry in logprobs.take():
        data = piece if isinstance(piece, bytes) else piece.encode("utf-8", "replace")
        said = decoder.decode(data)
        if not text.startswith(said, length):
            break
        length += len(said)
        parts.append((piece, entry))
        if not decoder.getstate()[0]:
            kept += parts
            parts = []
    logprobs.give(kept)
