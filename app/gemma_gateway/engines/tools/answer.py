"""Calls in the texts of a chat answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from os import urandom
from typing import Any

from gemma_gateway.core.dialect import Json
from gemma_gateway.engines.tools.request import Asked
from gemma_gateway.toolcalls.call import Call
from gemma_gateway.toolcalls.parser import Parser, parse

_ENDS = ("finish_reason", "stop_reason")


@dataclass(slots=True)
class _Choice:
    """One choice of a stream.

    Attributes:
        calls: told so far.
        begun: it has told anything.
        ended: it told why it ended.
        logprobs: entries of tokens whose text is held back.
    """

    parser: Parser
    calls: int = 0
    begun: bool = False
    ended: bool = False
    logprobs: list[Any] = field(default_factory=list)


class Answer:
    """One answer to a call with tools.

    Args:
        asked: what the caller asked of tools.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._choices: dict[Any, _Choice] = {}
        self._head: Json = {}

    def whole(self, document: Json) -> Json:
        """A whole answer, with its calls (in place)."""
        for choice in document["choices"]:
            message = choice["message"]
            if not isinstance(message.get("content"), str):
                continue
            calls, text = parse(message["content"], self._asked.tools)
            if calls:
                told = calls[:1] if self._asked.single else calls
                message["content"] = text or None
                message["tool_calls"] = [_call(call) for call in told]
                choice["finish_reason"] = self._finish(choice.get("finish_reason"))
        return document

    def chunk(self, document: Json) -> list[Json]:
        """What a chunk of a stream tells: the same one where its texts stay as they are."""
        choices = document.get("choices")
        if not choices:
            return [document]
        self._head = document
        told = [self._told(choice) for choice in choices]
        if all(len(each) == 1 and each[0] is c for each, c in zip(told, choices, strict=True)):
            return [document]
        chunks = [self._chunk(choice) for each in told for choice in each]
        if document.get("usage") is not None:  # with the last: so far as it has come
            chunks = chunks or [self._chunk({"index": choices[0].get("index", 0), "delta": {}})]
            chunks[-1]["usage"] = document["usage"]
        return chunks

    def rest(self) -> list[Json]:
        """What was held back, of choices that don't tell why they ended."""
        chunks = []
        for index, state in self._choices.items():
            if not state.ended:
                state.ended = True
                pieces = self._pieces(state, state.parser.finish())
                chunks += [self._chunk({"index": index, "delta": piece}) for piece in pieces]
        return chunks

    def _told(self, choice: Json) -> list[Json]:
        """A choice of a chunk, as one for each of its texts and calls; itself: nothing changed."""
        index = choice.get("index", 0)
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _Choice(Parser(self._asked.tools))
        delta, finish = choice.get("delta") or {}, choice.get("finish_reason")
        text = delta.get("content")
        if state.ended or (not text and finish is None and not state.logprobs):
            state.begun = True
            return [choice]
        told = state.parser.feed(text) if text else []
        if finish is not None:
            told += state.parser.finish()
            state.ended = True
        if told == [text] and not state.logprobs and finish is None:
            state.begun = True
            return [choice]
        return self._split(choice, state, list(self._pieces(state, told)))

    def _split(self, choice: Json, state: _Choice, deltas: list[Json]) -> list[Json]:
        others = dict(choice.get("delta") or {})
        others.pop("content", None)
        finish = choice.get("finish_reason")
        state.logprobs += (choice.get("logprobs") or {}).get("content") or ()
        worth = any(value for name, value in others.items() if name != "role")
        if not deltas and finish is None and state.begun and not worth:
            return []
        deltas = deltas or [{"content": ""}]
        deltas[0] = {**others, **deltas[0]}
        ends = {name: choice[name] for name in _ENDS if name in choice}
        bare = {**dict.fromkeys(choice), "index": choice.get("index", 0)}
        told = [{**bare, "delta": delta} for delta in deltas]
        told[0] = {**choice, **dict.fromkeys(ends), "delta": deltas[0]}
        if state.logprobs:
            told[0]["logprobs"] = {**(choice.get("logprobs") or {}), "content": state.logprobs}
            state.logprobs = []
        told[-1] |= ends
        if finish is not None and state.calls:
            told[-1]["finish_reason"] = self._finish(finish)
        state.begun = True
        return told

    def _pieces(self, state: _Choice, told: list[str | Call]) -> Iterator[Json]:
        """The deltas of texts and calls."""
        for is_text, pieces in groupby(told, lambda piece: isinstance(piece, str)):
            if is_text:
                yield {"content": "".join(str(piece) for piece in pieces)}
                continue
            for call in pieces:
                assert isinstance(call, Call)
                if not (state.calls and self._asked.single):
                    yield {"tool_calls": [{"index": state.calls, **_call(call)}]}
                    state.calls += 1

    def _finish(self, reason: Any) -> Any:
        """Why an answer with calls ended; as OpenAI has it, a tool that was named is no reason."""
        return "tool_calls" if reason == "stop" and not self._asked.named else reason

    def _chunk(self, choice: Json) -> Json:
        chunk = {**self._head, "choices": [choice]}
        if "usage" in chunk:
            chunk["usage"] = None
        return chunk


def _call(call: Call) -> Json:
    return {
        "id": f"call_{urandom(12).hex()}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments_json()},
    }
