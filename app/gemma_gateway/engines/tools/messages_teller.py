"""Answers of chat completions as Messages; sources: Anthropic's API reference, and what vLLM's
``entrypoints/anthropic/serving.py`` makes of such answers."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import orjson

from gemma_gateway.core.dialect import Json
from gemma_gateway.core.sse import event

_STOPS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}


class MessagesTeller:
    """Tells one answer; see ``Teller``."""

    def __init__(self) -> None:
        self._begun = False
        self._blocks = 0  # ended
        self._text = False  # one is open
        self._used = False  # a tool was called
        self._choice: Json = {}  # how it ended
        self._usage: Json = {}

    def whole(self, answer: Json) -> Json:
        """See ``Teller``."""
        choice = answer["choices"][0]
        message, content = choice["message"], []
        if text := message.get("content"):
            content.append({"type": "text", "text": text})
        for call in message.get("tool_calls") or ():
            self._used = True
            arguments = orjson.loads(call["function"]["arguments"])
            content.append({**_use(call), "input": arguments})
        return {
            **_message(answer),
            "content": content,
            **self._stop(choice),
            "usage": _usage(answer.get("usage") or {}),
        }

    def chunk(self, chunk: Json) -> bytes:
        """See ``Teller``."""
        events = []
        if not self._begun:
            self._begun = True
            usage = {"input_tokens": 0, "output_tokens": 0}  # told at the end
            events.append(_event("message_start", message={**_message(chunk), "usage": usage}))
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            if text := delta.get("content"):
                events += self._say(text)
            for call in delta.get("tool_calls") or ():
                events += self._call(call)
            if choice.get("finish_reason"):
                self._choice = choice
        return b"".join(events)

    def end(self) -> bytes:
        """See ``Teller``."""
        if not self._choice:
            return b""
        delta, usage = self._stop(self._choice), _usage(self._usage)
        ends = [_event("message_delta", delta=delta, usage=usage), _event("message_stop")]
        return b"".join([*self._close(), *ends])

    def _say(self, text: str) -> list[bytes]:
        events = []
        if not self._text:
            self._text = True
            events.append(self._block("start", content_block={"type": "text", "text": ""}))
        return [*events, self._block("delta", delta={"type": "text_delta", "text": text})]

    def _call(self, call: Json) -> list[bytes]:
        self._used = True
        events = self._close()
        delta = {"type": "input_json_delta", "partial_json": call["function"]["arguments"]}
        events.append(self._block("start", content_block={**_use(call), "input": {}}))
        events += (self._block("delta", delta=delta), self._block("stop"))
        self._blocks += 1
        return events

    def _close(self) -> list[bytes]:
        if not self._text:
            return []
        events = [self._block("stop")]
        self._text = False
        self._blocks += 1
        return events

    def _block(self, what: str, **fields: Any) -> bytes:
        return _event(f"content_block_{what}", index=self._blocks, **fields)

    def _stop(self, choice: Json) -> Json:
        reason, matched = choice.get("finish_reason"), choice.get("stop_reason")
        if self._used and reason in ("stop", "tool_calls"):
            return {"stop_reason": "tool_use", "stop_sequence": None}
        if reason == "stop" and isinstance(matched, str):
            return {"stop_reason": "stop_sequence", "stop_sequence": matched}
        return {"stop_reason": _STOPS.get(str(reason), "end_turn"), "stop_sequence": None}


def _event(kind: str, **fields: Any) -> bytes:
    return event({"type": kind, **fields}, kind)


def _message(answer: Json) -> Json:
    return {
        "id": f"msg_{uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": answer.get("model"),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _use(call: Json) -> Json:
    return {"type": "tool_use", "id": call["id"], "name": call["function"]["name"]}


def _usage(usage: Json) -> Json:
    """Anthropic's input leaves out what came from the prefix cache."""
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    told = {
        "input_tokens": (usage.get("prompt_tokens") or 0) - (cached or 0),
        "output_tokens": usage.get("completion_tokens") or 0,
    }
    return told if cached is None else {**told, "cache_read_input_tokens": cached}
