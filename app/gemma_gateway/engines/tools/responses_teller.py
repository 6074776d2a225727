"""Answers of chat completions as Responses; sources: OpenAI's API reference, and the events that
vLLM writes, which ``wire/openai/responses_stream.py`` reads."""

from __future__ import annotations

import json
import time
from typing import Any
from uuid import uuid4

from gemma_gateway.core.dialect import Json
from gemma_gateway.core.sse import event
from gemma_gateway.engines.tools.responses import called_tools

# Of a request, what its response says again.
_ECHOED: Json = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
}
_CUT = {"length": "max_output_tokens", "content_filter": "content_filter"}


class ResponsesTeller:
    """Tells one answer; see ``Teller``.

    Args:
        document: the request.
    """

    def __init__(self, document: Json) -> None:
        self._response: Json = {
            "id": f"resp_{uuid4().hex}",
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            **{name: document.get(name, default) for name, default in _ECHOED.items()},
            "output": [],
            "usage": None,
        }
        self._calls = {tool["function"]["name"]: item for item, tool in called_tools(document)}
        self._number = 0  # of the next event
        self._output: list[Json] = []  # items that are done
        self._item: Json = {}  # the message that is open, and its text so far
        self._said: list[str] = []
        self._logprobs: list[Any] = []
        self._finish = ""
        self._usage: Json | None = None

    def whole(self, answer: Json) -> Json:
        """See ``Teller``."""
        choice = answer["choices"][0]
        message = choice["message"]
        if text := message.get("content"):
            part = _text(text, _entries(choice))
            self._output.append({**_message_item(), "status": "completed", "content": [part]})
        for call in message.get("tool_calls") or ():
            self._output.append(self._called(call))
        self._finish, self._usage = choice.get("finish_reason") or "", answer.get("usage")
        return {**self._response, "model": answer.get("model"), **self._ended()}

    def chunk(self, chunk: Json) -> bytes:
        """See ``Teller``."""
        events = []
        if not self._number:
            self._response["model"] = chunk.get("model")
            events += [
                self._event(f"response.{what}", response=self._response)
                for what in ("created", "in_progress")
            ]
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            if text := delta.get("content"):
                events += self._say(text, _entries(choice))
            for call in delta.get("tool_calls") or ():
                events += [*self._close(), *self._call(self._called(call))]
            self._finish = choice.get("finish_reason") or self._finish
        return b"".join(events)

    def end(self) -> bytes:
        """See ``Teller``."""
        if not self._finish:
            return b""
        closing = self._close()
        response = {**self._response, **self._ended()}
        return b"".join(
            [*closing, self._event(f"response.{response['status']}", response=response)]
        )

    def _ended(self) -> Json:
        reason = _CUT.get(self._finish)
        return {
            "status": "incomplete" if reason else "completed",
            "incomplete_details": {"reason": reason} if reason else None,
            "output": self._output,
            "usage": _usage(self._usage),
        }

    def _say(self, text: str, logprobs: list[Any]) -> list[bytes]:
        events = []
        if not self._item:
            self._item = {**_message_item(), "status": "in_progress", "content": []}
            events = [
                self._place("output_item.added", item=self._item),
                self._part("content_part.added", part=_text("", [])),
            ]
        self._said.append(text)
        self._logprobs += logprobs
        return [*events, self._part("output_text.delta", delta=text, logprobs=logprobs)]

    def _close(self) -> list[bytes]:
        if not self._item:
            return []
        text, logprobs = "".join(self._said), self._logprobs
        part = _text(text, logprobs)
        events = [
            self._part("output_text.done", text=text, logprobs=logprobs),
            self._part("content_part.done", part=part),
        ]
        done = {**self._item, "status": "completed", "content": [part]}
        events.append(self._place("output_item.done", item=done))
        self._output.append(done)
        self._item, self._said, self._logprobs = {}, [], []
        return events

    def _called(self, call: Json) -> Json:
        """A call as an output item."""
        function = call["function"]
        item = {**self._calls[function["name"]], "call_id": call["id"], "status": "completed"}
        if item["type"] == "custom_tool_call":
            told = json.loads(function["arguments"]).get("input")
            return {
                "id": f"ctc_{uuid4().hex}",
                **item,
                "input": told if isinstance(told, str) else "",
            }
        return {"id": f"fc_{uuid4().hex}", **item, "arguments": function["arguments"]}

    def _call(self, item: Json) -> list[bytes]:
        key = "input" if item["type"] == "custom_tool_call" else "arguments"
        at, told = {"item_id": item["id"]}, item[key]
        name = {"name": item["name"]} if key == "arguments" else {}
        events = [
            self._place("output_item.added", item={**item, key: "", "status": "in_progress"}),
            self._place(f"{item['type']}_{key}.delta", delta=told, **at),
            self._place(f"{item['type']}_{key}.done", **{key: told}, **name, **at),
            self._place("output_item.done", item=item),
        ]
        self._output.append(item)
        return events

    def _part(self, what: str, **fields: Any) -> bytes:
        return self._place(what, item_id=self._item["id"], content_index=0, **fields)

    def _place(self, what: str, **fields: Any) -> bytes:
        return self._event(f"response.{what}", output_index=len(self._output), **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        told = event({"type": kind, "sequence_number": self._number, **fields}, kind)
        self._number += 1
        return told


def _message_item() -> Json:
    return {"id": f"msg_{uuid4().hex}", "type": "message", "role": "assistant"}


def _text(text: str, logprobs: list[Any]) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _entries(choice: Json) -> list[Any]:
    return (choice.get("logprobs") or {}).get("content") or []


def _usage(usage: Json | None) -> Json | None:
    if not usage:
        return None
    read, written = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": read + written,
    }
