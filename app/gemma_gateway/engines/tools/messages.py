"""Anthropic's Messages as chat completions, and answers of these as Messages.

Source: Anthropic's Messages API; what isn't told of a chat (citations, signatures) is left out.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import orjson

from gemma_gateway.core.dialect import Json
from gemma_gateway.core.sse import event

# Fields of a request that a chat has under other names, or not at all.
_OWN = frozenset(
    {*("system", "messages", "tools", "tool_choice", "max_tokens", "stop_sequences")}
    | {*("thinking", "output_config", "metadata")}
)
_CHOICES = {"any": "required", "none": "none", "auto": "auto"}
# A line that some clients begin the system text with, anew for each call.
_BILLING = "x-anthropic-billing-header"
_STOPS = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}


def chat(document: Json) -> Json:
    """A request as one of chat completions.

    Args:
        document: of Messages or of its token count, checked.
    """
    told = {name: value for name, value in document.items() if name not in _OWN}
    told["messages"] = _system(document.get("system"))
    for message in document["messages"]:
        told["messages"] += _messages(message)
    if tools := document.get("tools"):
        told["tools"] = [_tool(tool) for tool in tools if isinstance(tool, dict)]
    choice = document.get("tool_choice") or {}
    if kind := choice.get("type"):
        named = {"type": "function", "function": {"name": choice.get("name")}}
        told["tool_choice"] = named if kind == "tool" else _CHOICES.get(kind, kind)
        told["parallel_tool_calls"] = not choice.get("disable_parallel_tool_use")
    if (most := document.get("max_tokens")) is not None:
        told["max_tokens"] = told["max_completion_tokens"] = most
    if stops := document.get("stop_sequences"):
        told["stop"] = stops
    output = document.get("output_config") or {}
    if bound := output.get("format"):
        schema = {"name": "answer", "schema": bound.get("schema")}
        told["response_format"] = {"type": bound.get("type"), "json_schema": schema}
    if told.get("stream"):
        told["stream_options"] = {"include_usage": True}
    return told


def prompt(document: Json, told: Json) -> Json:
    """A request with other messages.

    Args:
        document: of the token count.
        told: the chat that it became, without tools.
    """
    kept = {k: v for k, v in document.items() if k not in ("system", "tools", "tool_choice")}
    turns = [{**turn, "content": _blocks(turn["content"])} for turn in told["messages"]]
    return {**kept, "messages": turns}


def _blocks(content: str | list[Json]) -> str | list[Json]:
    if isinstance(content, str):
        return content
    return [_image(part) if part["type"] == "image_url" else part for part in content]


def _image(part: Json) -> Json:
    url = part["image_url"]["url"]
    kind, comma, data = url.removeprefix("data:").partition(";base64,")
    if not comma:
        return {"type": "image", "source": {"type": "url", "url": url}}
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}


def _system(system: Any) -> list[Json]:
    texts = [system] if isinstance(system, str) else [part.get("text") for part in system or ()]
    said = "".join(text for text in texts if text and not text.startswith(_BILLING))
    return [{"role": "system", "content": said}] if said else []


def _messages(message: Json) -> list[Json]:
    """A message as those of a chat: results of tools are messages of their own, before the rest."""
    role, content = message["role"], message["content"]
    if role == "system":
        return _system(content)
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    parts: list[Json] = []
    calls: list[Json] = []
    results: list[Json] = []
    for block in content:
        kind = block.get("type")
        if kind == "tool_use":
            arguments = orjson.dumps(block.get("input") or {}).decode()
            function = {"name": block.get("name"), "arguments": arguments}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif kind == "tool_result":
            results.append({"role": "tool", "content": _parts(block.get("content") or "")})
        else:
            parts += _parts([block])
    said: list[Json] = []
    if parts or calls:
        said = [{"role": role, "content": parts, **({"tool_calls": calls} if calls else {})}]
    return results + said


def _parts(content: str | list[Any]) -> list[Json]:
    """Blocks as the parts of a chat's message; thoughts are not told again."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    found: list[Json] = []
    for block in content:
        source = block.get("source")
        if block.get("type") == "text":
            found.append({"type": "text", "text": block.get("text") or ""})
        elif block.get("type") == "image" and isinstance(source, dict):
            data = f"data:{source.get('media_type')};base64,{source.get('data')}"
            found.append({"type": "image_url", "image_url": {"url": source.get("url") or data}})
    return found


def _tool(tool: Json) -> Json:
    if tool.get("type", "custom") != "custom":  # one of Anthropic's own
        return tool
    function = {name: tool[name] for name in ("name", "description", "strict") if name in tool}
    return {
        "type": "function",
        "function": {**function, "parameters": tool.get("input_schema")},
    }


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
        for choice in chunk["choices"]:
            delta = choice["delta"]
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
