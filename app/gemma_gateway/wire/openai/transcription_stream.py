"""Streams of transcripts: OpenAI's events, of whatever an engine streams.

vLLM streams chunks as of chat (``transcription.chunk``), a chat turn those of chat itself; a server
of OpenAI's own protocol streams ``transcript.text.delta``.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from gemma_gateway.core.dialect import ALL, Event, Json, TextPart
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.sse import event, payload
from gemma_gateway.core.usage import Usage
from gemma_gateway.wire.openai.errors import error_object
from gemma_gateway.wire.openai.openai import decode, read_usage, short_name

DELTA, DONE = "transcript.text.delta", "transcript.text.done"
CHANNEL = "text"


class TranscriptionStream:
    """Reads the events of one streamed transcript; an ``AnswerStream``."""

    def __init__(self) -> None:
        self._said = ""  # what was sent
        self._last = ""  # of the event that was read last: sent, unless it is written otherwise
        self._finished = False
        self._usage: Usage | None = None
        self._done: Event | None = None

    def fast_text(self, raw: bytes) -> tuple[Hashable, str] | None:
        """None: no event leaves as it came."""
        del raw
        return None

    def read(self, raw: bytes) -> Event:
        """See ``AnswerStream``."""
        self._said, self._last = self._said + self._last, ""
        data = payload(raw)
        if data == b"[DONE]":
            return self._end()
        doc = decode(data) if data else None
        if doc is None:
            return Event(raw, hidden=bool(data), error=bool(data))
        if doc.get("error") or doc.get("object") == "error":
            return Event(raw, doc, error=True)
        if doc.get("type") == DONE:
            return self._end()
        self._usage = read_usage(doc) or self._usage
        text, finish = _piece(doc)
        self._finished |= bool(finish)
        if not text:
            return Event(b"", usage=self._usage, finish=finish, hidden=True)
        self._last = text
        delta: Json = {"type": DELTA, "delta": text}
        part = TextPart(delta, "delta", "delta", CHANNEL)
        return Event(event(delta), delta, [part], usage=self._usage, finish=finish)

    def _end(self) -> Event:
        if self._done is not None:  # OpenAI's own end, and vLLM's after it
            return Event(b"", hidden=True)
        doc = self._whole(self._said)
        again = TextPart(doc, "text", "text")
        self._done = Event(event(doc), doc, closes=ALL, restated=[again], last=True)
        self._done.usage = self._usage
        return self._done

    def _whole(self, text: str) -> Json:
        doc: Json = {"type": DONE, "text": text.strip()}
        if (usage := self._usage) is not None:
            total = usage.prompt_tokens + usage.completion_tokens
            doc["usage"] = {"type": "tokens", "input_tokens": usage.prompt_tokens,
                            "output_tokens": usage.completion_tokens,
                            "total_tokens": total}  # fmt: skip
        return doc

    def write(self, event_: Event) -> bytes:
        """See ``AnswerStream``."""
        doc = event_.doc
        if doc is None:
            return event_.raw
        if doc.get("type") == DELTA:
            self._last = doc["delta"]
            if not self._last:
                return b""
        return event(doc)

    def insert(self, channel: Hashable, text: str) -> bytes:
        """See ``AnswerStream``."""
        del channel
        self._said, self._last = self._said + text, ""
        if self._done is not None and self._done.doc is not None:
            self._done.doc["text"] = self._said.strip()
            self._done.raw = event(self._done.doc)
        return event({"type": DELTA, "delta": text})

    def complete(self) -> bytes | None:
        """See ``AnswerStream``: a server may leave ``[DONE]`` out."""
        return event(self._whole(self._said + self._last)) if self._finished else None

    def refusal(self, message: str = "") -> bytes:
        """See ``AnswerStream``."""
        doc = self._whole(self._said + self._last)
        return event({**doc, "code": Code.RESPONSE_FILTERED.name, "message": message})

    def failure(self, error: GatewayError) -> bytes:
        """See ``AnswerStream``."""
        return event({"error": error_object(error)})


def _piece(doc: Json) -> tuple[str, str]:
    """The text of an engine's event, and why the answer ends with it, in a word."""
    if doc.get("type") == DELTA:
        text: Any = doc.get("delta")
        return (text if isinstance(text, str) else ""), ""
    choices = doc.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return "", ""
    delta = choice.get("delta")
    text = delta.get("content") if isinstance(delta, dict) else None
    return (text if isinstance(text, str) else ""), short_name(choice.get("finish_reason"))
