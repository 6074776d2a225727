"""Answers in vLLM's wire shapes (0.32), for ``tests.loopback``: what is said is given, not made.

Every ``*_stream`` yields one whole server-sent event (bytes, blank line included) per item; every
``*_answer`` is the JSON document of a call without ``stream``.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
CREATED = 1_764_000_000


@dataclass
class Said:
    """What the model says in one call.

    Args:
        choices: for each choice its content, as pieces (one event each).
        reasoning: pieces of reasoning text before the content of each choice.
        tools: (name, pieces of the arguments' JSON) of each tool call, after the content.
        finish: finish reason in chat's words: stop, length, tool_calls.
        top_logprobs: alternatives a token; None: no logprobs at all.
    """

    id: str
    model: str
    choices: list[list[str]]
    reasoning: list[str] = field(default_factory=list)
    tools: list[tuple[str, list[str]]] = field(default_factory=list)
    finish: str = "stop"
    top_logprobs: int | None = None
    prompt_tokens: int = 7
    completion_tokens: int = 0

    @property
    def usage(self) -> Json:
        total = self.prompt_tokens + self.completion_tokens
        return {
            "prompt_tokens": self.prompt_tokens,
            "total_tokens": total,
            "completion_tokens": self.completion_tokens,
        }


def sse(doc: Json, event: str = "") -> bytes:
    head = f"event: {event}\n" if event else ""
    body = json.dumps(doc, ensure_ascii=False, separators=(",", ":"))
    return f"{head}data: {body}\n\n".encode()


DONE = b"data: [DONE]\n\n"


def tool_id(said: Said, index: int) -> str:
    return f"chatcmpl-tool-{zlib.crc32(f'{said.id} {index}'.encode()):08x}"


# ---- logprobs


def _alternatives(piece: str, count: int) -> list[str]:
    return [piece, *(f"{piece}{i}" for i in range(1, count))][:count]


def chat_logprobs(said: Said, pieces: list[str]) -> Json | None:
    if said.top_logprobs is None:
        return None

    def entry(text: str) -> Json:
        return {"token": text, "logprob": -0.5, "bytes": list(text.encode())}

    return {
        "content": [
            {**entry(p), "top_logprobs": [entry(a) for a in _alternatives(p, said.top_logprobs)]}
            for p in pieces
        ]
    }


def completion_logprobs(said: Said, pieces: list[str]) -> Json | None:
    if said.top_logprobs is None:
        return None
    return {
        "text_offset": [sum(map(len, pieces[:i])) for i in range(len(pieces))],
        "token_logprobs": [-0.5] * len(pieces),
        "tokens": pieces,
        "top_logprobs": [
            dict.fromkeys(_alternatives(p, max(1, said.top_logprobs)), -0.5) for p in pieces
        ],
    }


def response_logprobs(said: Said, pieces: list[str]) -> list[Json]:
    return (chat_logprobs(said, pieces) or {"content": []})["content"]


# ---- /v1/chat/completions


def _interleaved(choices: list[list[str]]) -> Iterator[tuple[int, str, bool]]:
    """(choice, piece, whether it is the choice's last), round robin as an engine steps."""
    for step in range(max(map(len, choices), default=0)):
        for index, pieces in enumerate(choices):
            if step < len(pieces):
                yield index, pieces[step], step == len(pieces) - 1


def chat_stream(said: Said, include_usage: bool) -> Iterator[bytes]:
    base = {"id": said.id, "object": "chat.completion.chunk", "created": CREATED}

    def event(index: int, delta: Json, finish: str | None = None, first: bool = False) -> bytes:
        text = delta.get("content")
        choice: Json = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        if text and not first:
            choice["logprobs"] = chat_logprobs(said, [text])
        if finish:
            choice["stop_reason"] = None
        if not first:
            choice["token_ids"] = None
        tail = {"prompt_token_ids": None, "prompt_text": None} if first else {}
        return sse({**base, "model": said.model, "choices": [choice], **tail})

    indexes = range(len(said.choices))
    for index in indexes:
        yield event(index, {"role": "assistant", "content": ""}, first=True)
    for piece in said.reasoning:
        for index in indexes:
            yield event(index, {"reasoning": piece})
    ends_on_text = said.finish == "length" and not said.tools
    for index, piece, last in _interleaved(said.choices):
        yield event(index, {"content": piece}, said.finish if last and ends_on_text else None)
    for number, (name, parts) in enumerate(said.tools):
        head = {"id": tool_id(said, number), "type": "function", "index": number}
        yield event(0, {"tool_calls": [{**head, "function": {"name": name, "arguments": ""}}]})
        for part in parts:
            yield event(0, {"tool_calls": [{"index": number, "function": {"arguments": part}}]})
    for index in indexes:
        if not (ends_on_text and said.choices[index]):
            yield event(index, {"content": ""}, said.finish)
    if include_usage:
        yield sse({**base, "model": said.model, "choices": [], "usage": said.usage})
    yield DONE


def chat_answer(said: Said) -> Json:
    def message(index: int) -> Json:
        calls = [
            {
                "id": tool_id(said, i),
                "type": "function",
                "function": {"name": name, "arguments": "".join(parts)},
            }
            for i, (name, parts) in enumerate(said.tools if index == 0 else [])
        ]
        return {
            "role": "assistant",
            "content": "".join(said.choices[index]),
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "tool_calls": calls,
            "reasoning": "".join(said.reasoning) or None,
        }

    return {
        "id": said.id,
        "object": "chat.completion",
        "created": CREATED,
        "model": said.model,
        "choices": [
            {
                "index": index,
                "message": message(index),
                "logprobs": chat_logprobs(said, pieces),
                "finish_reason": said.finish,
                "stop_reason": None,
                "token_ids": None,
            }
            for index, pieces in enumerate(said.choices)
        ],
        "service_tier": None,
        "system_fingerprint": None,
        "usage": {**said.usage, "prompt_tokens_details": None},
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "kv_transfer_params": None,
    }


# ---- /v1/completions


def completion_stream(said: Said, include_usage: bool) -> Iterator[bytes]:
    base = {"id": said.id, "object": "text_completion", "created": CREATED, "model": said.model}

    def event(index: int, text: str, finish: str | None) -> bytes:
        choice = {
            "index": index,
            "text": text,
            "logprobs": completion_logprobs(said, [text]) if text else None,
            "finish_reason": finish,
            "stop_reason": None,
            "prompt_token_ids": None,
            "token_ids": None,
        }
        return sse({**base, "choices": [choice]})

    ends_on_text = said.finish == "length"
    for index, piece, last in _interleaved(said.choices):
        yield event(index, piece, said.finish if last and ends_on_text else None)
    for index, pieces in enumerate(said.choices):
        if not (ends_on_text and pieces):
            yield event(index, "", said.finish)
    if include_usage:
        yield sse({**base, "choices": [], "usage": said.usage})
    yield DONE


def completion_answer(said: Said) -> Json:
    return {
        "id": said.id,
        "object": "text_completion",
        "created": CREATED,
        "model": said.model,
        "choices": [
            {
                "index": index,
                "text": "".join(pieces),
                "logprobs": completion_logprobs(said, pieces),
                "finish_reason": said.finish,
                "stop_reason": None,
                "token_ids": None,
                "prompt_logprobs": None,
                "prompt_token_ids": None,
            }
            for index, pieces in enumerate(said.choices)
        ],
        "service_tier": None,
        "system_fingerprint": None,
        "usage": {**said.usage, "prompt_tokens_details": None},
        "kv_transfer_params": None,
    }


# ---- /v1/responses


def _response(said: Said, output: list[Json], status: str, usage: bool) -> Json:
    counts = {
        "input_tokens": said.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "input_tokens_per_turn": []},
        "output_tokens": said.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0, "tool_output_tokens": 0},
        "total_tokens": said.prompt_tokens + said.completion_tokens,
    }
    cut = status == "incomplete"
    return {
        "id": said.id,
        "created_at": CREATED,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": None,
        "metadata": None,
        "model": said.model,
        "object": "response",
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 0.7,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 0.9,
        "background": False,
        "max_output_tokens": 512,
        "status": status,
        "truncation": "disabled",
        "usage": counts if usage else None,
    }


def _items(said: Said) -> list[Json]:
    """Output items as they stand when they are whole."""
    items: list[Json] = []
    if said.reasoning:
        part = {"text": "".join(said.reasoning), "type": "reasoning_text"}
        items.append({"id": "rs_1", "summary": [], "type": "reasoning", "content": [part]})
    if said.choices and said.choices[0]:
        part = {"annotations": [], "text": "".join(said.choices[0]), "type": "output_text"}
        part["logprobs"] = response_logprobs(said, said.choices[0]) or None
        items.append({"id": "msg_1", "content": [part], "role": "assistant", "type": "message"})
    for number, (name, parts) in enumerate(said.tools):
        call = {"id": f"fc_{number}", "call_id": tool_id(said, number), "type": "function_call"}
        items.append({**call, "name": name, "arguments": "".join(parts)})
    return [{**item, "status": "completed"} for item in items]


def response_answer(said: Said) -> Json:
    status = "incomplete" if said.finish == "length" else "completed"
    return _response(said, _items(said), status, usage=True)


def response_stream(said: Said, include_usage: bool = True) -> Iterator[bytes]:
    sequence = 0

    def event(kind: str, **fields: Any) -> bytes:
        nonlocal sequence
        doc = {**fields, "sequence_number": sequence, "type": kind}
        sequence += 1
        return sse(doc, kind)

    opening = _response(said, [], "in_progress", usage=False)
    yield event("response.created", response=opening)
    yield event("response.in_progress", response=opening)
    calls = iter(said.tools)
    for output_index, item in enumerate(_items(said)):
        at = {"item_id": item["id"], "output_index": output_index}
        added = "response.output_item.added"
        if item["type"] == "function_call":
            bare = {**item, "arguments": "", "status": "in_progress"}
            yield event(added, item=bare, output_index=output_index)
            for piece in next(calls)[1]:
                yield event("response.function_call_arguments.delta", delta=piece, **at)
            whole = {"arguments": item["arguments"], "name": item["name"]}
            yield event("response.function_call_arguments.done", **whole, **at)
        else:
            text = item["type"] == "message"
            kind = "response.output_text" if text else "response.reasoning_text"
            part = item["content"][0]
            bare = {**item, "content": [] if text else None, "status": "in_progress"}
            yield event(added, item=bare, output_index=output_index)
            at["content_index"] = 0
            yield event("response.content_part.added", part={**part, "text": ""}, **at)
            for piece in said.choices[0] if text else said.reasoning:
                extra = {"logprobs": response_logprobs(said, [piece])} if text else {}
                yield event(f"{kind}.delta", delta=piece, **extra, **at)
            yield event(
                f"{kind}.done", text=part["text"], **({"logprobs": []} if text else {}), **at
            )
            yield event("response.content_part.done", part=part, **at)
        yield event("response.output_item.done", item=item, output_index=output_index)
    yield event("response.completed", response=response_answer(said))


# ---- /v1/messages


def _stop_reason(said: Said) -> str:
    return {"length": "max_tokens", "tool_calls": "tool_use"}.get(said.finish, "end_turn")


def _message(said: Said, content: list[Json], stop: str | None, output_tokens: int) -> Json:
    return {
        "id": said.id,
        "type": "message",
        "role": "assistant",
        "content": content,
        "model": said.model,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": said.prompt_tokens, "output_tokens": output_tokens},
    }


def _blocks(said: Said) -> list[tuple[Json, str, str, list[str]]]:
    """(empty block, its delta's type, its delta's field, pieces) of every content block."""
    blocks: list[tuple[Json, str, str, list[str]]] = []
    if said.reasoning:
        empty = {"type": "thinking", "thinking": ""}
        blocks.append((empty, "thinking_delta", "thinking", said.reasoning))
    if said.choices and said.choices[0]:
        blocks.append(({"type": "text", "text": ""}, "text_delta", "text", said.choices[0]))
    for number, (name, parts) in enumerate(said.tools):
        empty = {"type": "tool_use", "id": tool_id(said, number), "name": name, "input": {}}
        blocks.append((empty, "input_json_delta", "partial_json", parts))
    return blocks


def message_answer(said: Said) -> Json:
    content = []
    for empty, _, key, pieces in _blocks(said):
        whole = "".join(pieces)
        filled = {"input": json.loads(whole)} if key == "partial_json" else {key: whole}
        content.append({**empty, **filled})
    content = content or [{"type": "text", "text": ""}]
    return _message(said, content, _stop_reason(said), said.completion_tokens)


def message_stream(said: Said, include_usage: bool = True) -> Iterator[bytes]:
    def event(kind: str, **fields: Any) -> bytes:
        return sse({"type": kind, **fields}, kind)

    yield event("message_start", message=_message(said, [], None, 0))
    for index, (empty, kind, key, pieces) in enumerate(_blocks(said)):
        yield event("content_block_start", content_block=empty, index=index)
        for piece in pieces:
            yield event("content_block_delta", delta={"type": kind, key: piece}, index=index)
        if key == "thinking":
            signed = {"type": "signature_delta", "signature": "0" * 32}
            yield event("content_block_delta", delta=signed, index=index)
        yield event("content_block_stop", index=index)
    usage = {"input_tokens": said.prompt_tokens, "output_tokens": said.completion_tokens}
    delta = {"stop_reason": _stop_reason(said), "stop_sequence": None}
    yield event("message_delta", delta=delta, usage=usage)
    yield event("message_stop")


def transcription_answer(said: Said, segments: list[Any] | None) -> Json:
    """Of /v1/audio/transcriptions; verbose where there are segments."""
    text = "".join(said.choices[0])
    if segments is None:
        return {"text": text, "usage": {"type": "duration", "seconds": 1}}
    told = [
        {"id": 0, "seek": 0, "start": start, "end": end, "text": piece, "tokens": [1],
         "temperature": 0.0, "avg_logprob": -0.5, "compression_ratio": 1.1, "no_speech_prob": None}
        for start, end, piece in segments
    ]  # fmt: skip
    return {"text": text, "language": "en", "duration": "1.0", "segments": told, "words": None}


def transcription_stream(said: Said) -> Iterator[bytes]:
    """The same, with ``stream_include_usage``."""
    head = {"id": said.id, "object": "transcription.chunk", "created": CREATED, "model": said.model}
    for number, piece in enumerate(said.choices[0]):
        choice: Json = {"delta": {"content": piece}}
        if number == len(said.choices[0]) - 1:
            choice |= {"finish_reason": said.finish, "stop_reason": None}
        yield sse({**head, "choices": [choice]})
    usage = {"prompt_tokens": said.prompt_tokens, "completion_tokens": said.completion_tokens}
    yield sse({**head, "choices": [], "usage": {**usage, "total_tokens": sum(usage.values())}})
    yield DONE
