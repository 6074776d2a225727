"""The events of a streamed answer of Anthropic's Messages API.

Source: Anthropic's streaming events and what vLLM's ``anthropic/serving.py`` writes:
``message_start``, then per content block ``content_block_start``, ``content_block_delta``...,
``content_block_stop``, then ``message_delta`` and ``message_stop``. There is no ``[DONE]``.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import msgspec

from gemma_gateway.core import sse
from gemma_gateway.core.dialect import ALL, Event, Json, TextPart
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.usage import Usage
from gemma_gateway.wire.anthropic.errors import error_doc
from gemma_gateway.wire.openai import openai

SKIP = openai.NAMES | {"signature", "data", "model", "stop_reason", "stop_sequence"}
# Field of a delta's text, by the delta's type.
DELTAS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "input_json_delta": "partial_json",
}
# Type of the deltas that continue a block's text, by field of the block.
BLOCKS = {"text": "text_delta", "thinking": "thinking_delta"}


class _Piece(msgspec.Struct, gc=False):
    type: str
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None


class _Delta(msgspec.Struct, gc=False):
    type: str
    delta: _Piece
    index: int = 0


_decode = msgspec.json.Decoder(_Delta).decode


def read_usage(holder: Any, before: Usage | None = None) -> Usage | None:
    """Counts of an Anthropic ``usage`` object, or None where there is none.

    Args:
        holder: message or event with ``usage``.
        before: counts told earlier in the stream, kept where this one is silent.

    ``input_tokens`` there leaves out what came from the prefix cache; ours is the whole prompt.
    """
    usage = holder.get("usage") if isinstance(holder, dict) else None
    if not isinstance(usage, dict):
        return None
    counts = {name: value for name, value in usage.items() if isinstance(value, int)}
    cached = counts.get("cache_read_input_tokens", 0)
    prompt = (
        counts["input_tokens"] + cached + counts.get("cache_creation_input_tokens", 0)
        if "input_tokens" in counts
        else (before.prompt_tokens if before else 0)
    )
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=counts.get("output_tokens", 0),
        cached_tokens=cached or (before.cached_tokens if before else 0),
    )


class MessagesStream:
    """Reads one answer's events; remembers which blocks are open, to close them.

    An event that was only read when ``refusal`` is called, and not written, was not sent.
    """

    def __init__(self) -> None:
        self._open: list[Any] = []  # indexes of blocks that were started and not stopped
        self._channels: set[tuple[Any, str]] = set()
        self._pending: Event | None = None  # read, and perhaps sent
        self._glance: bytes | None = None  # bytes of the last quick text
        self._pieces = 0  # deltas sent: what refusal tells as output tokens at least
        self._usage: Usage | None = None

    def fast_text(self, raw: bytes) -> tuple[Hashable, str] | None:
        try:
            event = _decode(raw[raw.find(b"{") :])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        piece = event.delta
        channel = (event.index, piece.type)
        if channel not in self._channels or event.type != "content_block_delta":
            return None
        if piece.type == "text_delta":
            text = piece.text
        elif piece.type == "input_json_delta":
            text = piece.partial_json
        else:
            text = piece.thinking
        if text is None:
            return None
        if self._pending is not None:
            self._commit()
        self._pieces += 1
        self._glance = raw
        return channel, text

    def read(self, raw: bytes) -> Event:
        if raw is self._glance:  # it wasn't sent after all
            self._pieces -= 1
        self._glance = None
        self._commit()
        data = sse.payload(raw)
        doc = openai.decode(data)
        event = self._pending = Event(raw, doc)
        if doc is None:  # a comment, or [DONE] from servers that add it; else it is broken
            event.error = bool(data) and data != b"[DONE]"
            return event
        kind = doc.get("type")
        if kind == "content_block_delta":
            self._read_delta(event, doc)
        elif kind == "content_block_start":
            self._read_start(event, doc)
        elif kind == "content_block_stop":
            event.closes = [channel for channel in self._channels if channel[0] == doc.get("index")]
        elif kind == "message_start":
            self._read_usage(event, doc.get("message"))
            self._say(event, doc.get("message"))
        elif kind == "message_delta":
            event.closes = ALL
            self._read_usage(event, doc)
            if isinstance(delta := doc.get("delta"), dict):
                event.finish = openai.short_name(delta.get("stop_reason"))
        elif kind == "message_stop":
            event.closes = ALL
            event.last = True
        elif kind == "error" or doc.get("error") is not None:  # vLLM's last resort has no type
            event.error = event.last = True
        elif kind != "ping":
            self._say(event, doc)
        return event

    def write(self, event: Event) -> bytes:
        if event is self._pending:
            self._commit()
        doc = event.doc
        return event.raw if doc is None else sse.event(doc, str(doc.get("type", "")))

    def insert(self, channel: Hashable, text: str) -> bytes:
        """See AnswerStream. Nothing for a text that would begin with a block that wasn't sent."""
        index, kind = channel if isinstance(channel, tuple) else (0, "text_delta")
        doc = (self._pending.doc if self._pending else None) or {}
        if doc.get("type") == "content_block_start" and doc.get("index") == index:
            return b""
        self._pieces += 1
        delta = {"type": kind, DELTAS[kind]: text}
        doc = {"type": "content_block_delta", "index": index, "delta": delta}
        return sse.event(doc, "content_block_delta")

    def complete(self) -> bytes | None:
        """None: every server ends these as the protocol says."""
        return None

    def refusal(self, message: str = "") -> bytes:
        """Closes what is open and ends the message with stop_reason ``refusal``. The engine's own
        count is not known by then: one token per delta is told, the least it can be."""
        self._pending = None
        docs: list[Json] = [{"type": "content_block_stop", "index": index} for index in self._open]
        docs.append(
            {
                "type": "message_delta",
                "delta": {"stop_reason": "refusal", "stop_sequence": None},
                "usage": {"output_tokens": self._pieces},
                "code": Code.RESPONSE_FILTERED.name,
                "message": message,
            }
        )
        docs.append({"type": "message_stop"})
        return b"".join(sse.event(doc, doc["type"]) for doc in docs)

    def failure(self, error: GatewayError) -> bytes:
        """Anthropic's ``error`` event, and no ``message_stop``."""
        self._pending = None
        return sse.event(error_doc(error), "error")

    def _read_delta(self, event: Event, doc: Json) -> None:
        delta = doc.get("delta")
        if not isinstance(delta, dict):
            return
        kind = delta.get("type")
        key = DELTAS.get(kind, "") if isinstance(kind, str) else ""
        if isinstance(delta.get(key), str):
            self._slot(event, delta, key, doc.get("index"), str(kind))
        else:  # citations; signatures are no text
            self._say(event, delta)

    def _read_start(self, event: Event, doc: Json) -> None:
        """A block mostly starts empty; a text that is there already begins its channel."""
        block = doc.get("content_block")
        if not isinstance(block, dict):
            return
        for key, kind in BLOCKS.items():
            if isinstance(block.get(key), str) and block[key]:
                self._slot(event, block, key, doc.get("index"), kind)
        self._say(event, {key: value for key, value in block.items() if key not in BLOCKS})

    def _slot(self, event: Event, holder: Json, key: str, index: Any, kind: str) -> None:
        channel = (index, kind)
        self._channels.add(channel)
        event.texts.append(TextPart(holder, key, f"content.{index}.{key}", channel))

    def _say(self, event: Event, node: Any) -> None:
        if isinstance(node, dict):
            event.restated += openai.leaves(node, "content", SKIP)

    def _read_usage(self, event: Event, holder: Any) -> None:
        self._usage = event.usage = read_usage(holder, self._usage) or self._usage

    def _commit(self) -> None:
        """The pending event was sent."""
        event, self._pending = self._pending, None
        if event is None or event.doc is None:
            return
        kind, index = event.doc.get("type"), event.doc.get("index")
        if kind == "content_block_start":
            self._open.append(index)
        elif kind == "content_block_stop":
            self._open = [other for other in self._open if other != index]
            self._channels = {channel for channel in self._channels if channel[0] != index}
        elif kind == "content_block_delta":
            self._pieces += 1
