"""Streams as vLLM writes them, made from pieces of text, for the tests of the stream dialects."""

from __future__ import annotations

import json
from typing import Any

Pieces = list[tuple[str, str]]  # kind ("reasoning", "text", "tool") and text, in order


def sse(doc: dict[str, Any]) -> bytes:
    return f"event: {doc['type']}\ndata: {json.dumps(doc, ensure_ascii=False)}\n\n".encode()


def runs(pieces: Pieces) -> list[tuple[str, list[str]]]:
    """Neighbours of one kind make one item or block."""
    found: list[tuple[str, list[str]]] = []
    for kind, text in pieces:
        if not found or found[-1][0] != kind:
            found.append((kind, []))
        found[-1][1].append(text)
    return found


def responses(pieces: Pieces, *, logprobs: bool = False) -> list[bytes]:
    events: list[dict[str, Any]] = []
    output: list[dict[str, Any]] = []
    base = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "tools": []}
    base |= {"parallel_tool_calls": True, "tool_choice": "auto"}

    def add(kind: str, **fields: Any) -> None:
        events.append({**fields, "sequence_number": len(events), "type": f"response.{kind}"})

    def trail(texts: list[str]) -> list[dict[str, Any]]:
        return [{"token": t, "logprob": -1.0, "top_logprobs": []} for t in texts]

    start = {**base, "status": "in_progress", "output": [], "usage": None}
    add("created", response=start)
    add("in_progress", response=start)
    for number, (kind, texts) in enumerate(runs(pieces)):
        whole, place = "".join(texts), {"item_id": f"i{number}", "output_index": number}
        if kind == "tool":
            item = {"type": "function_call", "id": f"i{number}", "call_id": "c", "name": "f"}
            add("output_item.added", output_index=number, item={**item, "arguments": ""})
            for text in texts:
                add("function_call_arguments.delta", delta=text, **place)
            add("function_call_arguments.done", arguments=whole, **place)
            output.append({**item, "arguments": whole, "status": "completed"})
            add("output_item.done", output_index=number, item=output[-1])
            continue
        text_kind = "output_text" if kind == "text" else "reasoning_text"
        item = {"type": "message", "role": "assistant"} if kind == "text" else {"type": "reasoning"}
        item |= {"id": f"i{number}", "summary": [], "content": []}
        place["content_index"] = 0
        part: dict[str, Any] = {"type": text_kind, "text": ""}
        if kind == "text":
            part |= {"annotations": [], "logprobs": []}
        add("output_item.added", output_index=number, item=item)
        add("content_part.added", part=part, **place)
        for text in texts:
            more = {"logprobs": trail([text] if logprobs else [])} if kind == "text" else {}
            add(f"{text_kind}.delta", delta=text, **more, **place)
        add(f"{text_kind}.done", text=whole, **place)
        part = {**part, "text": whole}
        if kind == "text":
            part["logprobs"] = trail(texts) if logprobs else None
        add("content_part.done", part=part, **place)
        output.append({**item, "content": [part], "status": "completed"})
        add("output_item.done", output_index=number, item=output[-1])
    usage = {"input_tokens": 1, "output_tokens": len(pieces), "total_tokens": 1 + len(pieces)}
    add("completed", response={**base, "status": "completed", "output": output, "usage": usage})
    return [sse(event) for event in events]


def messages(pieces: Pieces) -> list[bytes]:
    start = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    start |= {"usage": {"input_tokens": 1, "output_tokens": 0}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    shapes = {
        "text": ({"type": "text", "text": ""}, "text_delta", "text"),
        "reasoning": ({"type": "thinking", "thinking": ""}, "thinking_delta", "thinking"),
        "tool": (
            {"type": "tool_use", "id": "t", "name": "f", "input": {}},
            "input_json_delta",
            "partial_json",
        ),
    }
    for index, (kind, texts) in enumerate(runs(pieces)):
        block, delta, key = shapes[kind]
        events.append({"type": "content_block_start", "content_block": block, "index": index})
        events += [
            {
                "type": "content_block_delta",
                "delta": {"type": delta, key: text},
                "index": index,
            }
            for text in texts
        ]
        events.append({"type": "content_block_stop", "index": index})
    events.append(
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"input_tokens": 1, "output_tokens": len(pieces)},
        }
    )
    events.append({"type": "message_stop"})
    return [sse(event) for event in events]
