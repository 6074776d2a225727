"""Requests of OpenAI's Responses as chat completions; source: OpenAI's API reference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gemma_gateway.core.dialect import Json

# Fields of a request that a chat has under other names, or not at all.
_OWN = frozenset(
    {*("input", "instructions", "max_output_tokens", "text", "reasoning", "include", "store")}
    | {*("tools", "tool_choice", "max_tool_calls", "truncation", "prompt_cache_key")}
    | {*("service_tier", "top_logprobs", "previous_response_id", "conversation", "background")}
)
_LOGPROBS = "message.output_text.logprobs"  # of ``include``
# What a tool that takes free text is to the model: a function of it, as vLLM tells it.
_INPUT: Json = {
    "type": "object",
    "properties": {
        "input": {"type": "string", "description": "The freeform text payload for this tool."}
    },
    "required": ["input"],
    "additionalProperties": False,
}
_RESULTS = frozenset({"function_call_output", "custom_tool_call_output"})


def chat(document: Json) -> Json:
    """A request as one of chat completions.

    Args:
        document: of Responses, checked.
    """
    told = {name: value for name, value in document.items() if name not in _OWN}
    said = document["input"]
    items = [{"role": "user", "content": said}] if isinstance(said, str) else said
    told["messages"] = list(_messages(document.get("instructions"), items))
    if tools := [tool for _, tool in called_tools(document)]:
        told["tools"] = tools
    if choice := document.get("tool_choice"):
        if isinstance(choice, dict):
            choice = {"type": "function", "function": {"name": choice.get("name")}}
        told["tool_choice"] = choice
    if (most := document.get("max_output_tokens")) is not None:
        told["max_tokens"] = told["max_completion_tokens"] = most
    bound = (document.get("text") or {}).get("format")
    if bound is not None:
        told["response_format"] = _bound(bound)
    effort = (document.get("reasoning") or {}).get("effort")
    if effort is not None:
        told["reasoning_effort"] = effort
    if _LOGPROBS in (document.get("include") or ()):
        told |= {"logprobs": True, "top_logprobs": document.get("top_logprobs") or 0}
    if told.get("stream"):
        told["stream_options"] = {"include_usage": True}
    return told


def _bound(bound: Json) -> Json:
    """What binds the text of an answer."""
    kind = bound["type"]
    if kind != "json_schema":
        return {"type": kind}
    return {"type": kind, kind: {name: bound[name] for name in bound if name != "type"}}


def _messages(instructions: str | None, items: list[Json]) -> Iterator[Json]:
    """The messages of a chat; calls in a row are one, which also has the text before them."""
    if instructions:
        yield {"role": "system", "content": instructions}
    last: Json = {}
    for item in items:
        message = _message(item)
        if message is None:
            continue
        if "tool_calls" in message and last.get("role") == "assistant":
            last["tool_calls"] = [*last.get("tool_calls", ()), *message["tool_calls"]]
            continue
        if last:
            yield last
        last = message
    if last:
        yield last


def _message(item: Json) -> Json | None:
    """An input item as a message; None: thoughts are not told again."""
    kind = item.get("type", "message")
    if kind == "function_call":
        return _called(_flat(item.get("namespace"), item.get("name")), item.get("arguments"))
    if kind == "custom_tool_call":
        return _called(item.get("name"), {"input": item.get("input") or ""})
    if kind in _RESULTS:
        return {"role": "tool", "content": _content(item.get("output") or "")}
    if kind != "message":
        return None
    return {"role": item["role"], "content": _content(item.get("content") or "")}


def _content(content: str | list[Json]) -> str | list[Json]:
    return content if isinstance(content, str) else [_part(part) for part in content]


def _part(part: Json) -> Json:
    if part.get("type") == "input_image":
        image = {"url": part.get("image_url"), "detail": part.get("detail") or "auto"}
        return {"type": "image_url", "image_url": image}
    if "text" in part:
        return {"type": "text", "text": part["text"]}
    return part


def _called(name: Any, arguments: Any) -> Json:
    call = {"function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def called_tools(document: Json) -> Iterator[tuple[Json, Json]]:
    """What a request's tools are to a chat, each after what calls of it are to the client; others
    than functions are passed over."""
    for tool in document.get("tools") or ():
        name = tool.get("name")
        if tool.get("type") == "function":
            yield {"type": "function_call", "name": name}, _function(tool)
        elif tool.get("type") == "custom":
            shown = _function({**tool, "parameters": _INPUT})
            yield {"type": "custom_tool_call", "name": name}, shown
        elif tool.get("type") == "namespace":
            for each in tool.get("tools") or ():
                item = {"type": "function_call", "name": each.get("name"), "namespace": name}
                yield item, _function({**each, "name": _flat(name, each.get("name"))})


def _flat(namespace: Any, name: Any) -> Any:
    """The name of a function in a namespace, as vLLM tells it to a model."""
    return f"{namespace}__{name}" if namespace else name


def _function(tool: Json) -> Json:
    names = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {name: tool.get(name) for name in names}}
