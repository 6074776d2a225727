"""Requests of Anthropic's Messages as chat completions; source: Anthropic's API reference."""

from __future__ import annotations

from typing import Any

import orjson

from gemma_gateway.core.dialect import Json

# Fields of a request that a chat has under other names, or not at all.
_OWN = frozenset(
    {*("system", "messages", "tools", "tool_choice", "max_tokens", "stop_sequences")}
    | {*("thinking", "output_config", "metadata")}
)
_CHOICES = {"any": "required", "none": "none", "auto": "auto"}
# A line that some clients begin the system text with, anew for each call.
_BILLING = "x-anthropic-billing-header"


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
        told["tools"] = [_tool(tool) for tool in tools]
    choice = document.get("tool_choice") or {}
    if kind := choice.get("type"):
        named = {"type": "function", "function": {"name": choice.get("name")}}
        told["tool_choice"] = named if kind == "tool" else _CHOICES.get(kind, kind)
        told["parallel_tool_calls"] = not choice.get("disable_parallel_tool_use")
    if (most := document.get("max_tokens")) is not None:
        told["max_tokens"] = told["max_completion_tokens"] = most
    if stops := document.get("stop_sequences"):
        told["stop"] = stops
    bound = (document.get("output_config") or {}).get("format")
    if bound is not None:
        schema = {"name": "answer", "schema": bound.get("schema")}
        told["response_format"] = {"type": "json_schema", "json_schema": schema}
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
            results.append({"role": "tool", "content": _result(block.get("content") or "")})
        else:
            parts += _parts([block])
    said: list[Json] = []
    if parts or calls:
        said = [{"role": role, "content": parts, **({"tool_calls": calls} if calls else {})}]
    return results + said


def _result(content: str | list[Any]) -> list[Json]:
    """What a tool gave back: its texts, each on a line, and images."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    parts = _parts(content)
    texts = [part["text"] for part in parts if part["type"] == "text"]
    images = [part for part in parts if part["type"] != "text"]
    return [{"type": "text", "text": "\n".join(texts)}, *images]


def _parts(content: list[Any]) -> list[Json]:
    """Blocks as the parts of a chat's message; thoughts are not told again."""
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
    if (tool.get("type") or "custom") != "custom":  # one of Anthropic's own
        return tool
    function = {name: tool[name] for name in ("name", "description", "strict") if name in tool}
    return {
        "type": "function",
        "function": {**function, "parameters": tool.get("input_schema")},
    }
