"""The events of a streamed answer of OpenAI's Responses API.

A text arrives in ``*.delta`` events, is said again as a whole by ``*.done``,
``content_part.done``, ``output_item.done`` and ``response.completed``, and every event carries a
gap-free ``sequence_number``. There is no ``[DONE]``.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import msgspec

from gemma_gateway.core import sse
from gemma_gateway.core.dialect import ALL, Event, Json, TextPart
from gemma_gateway.core.errors import GatewayError
from gemma_gateway.wire.logprobs import text_logprobs
from gemma_gateway.wire.openai import openai
from gemma_gateway.wire.openai.errors import error_object
from gemma_gateway.wire.openai.responses_events import (
    ADDED,
    BEGINS,
    BINARY,
    BY_KIND,
    ENDS,
    PARTS,
    Channel,
    Family,
    place,
    read_finish,
    read_usage,
    texts,
)
from gemma_gateway.wire.openai.responses_sent import Sent


class _Delta(msgspec.Struct, gc=False):
    type: str
    delta: str
    item_id: str = ""
    output_index: int = -1
    content_index: int = 0
    summary_index: int = 0
    command_index: int = 0
    sequence_number: int = -1
    logprobs: list[Any] | None = None


_decode = msgspec.json.Decoder(_Delta).decode


class ResponsesStream:
    """Reads one answer's events and remembers what was really sent, to end it well.

    What counts as sent: the text of ``fast_text`` unless ``read`` follows for the same bytes; an
    event of ``read`` as its texts stand at ``write``, or, when that isn't called, when the next
    event comes. An event that was only read when ``refusal`` is called was not sent.
    """

    def __init__(self) -> None:
        self._sent = Sent()
        self._said = self._sent.said
        self._pending: Event | None = None  # read, and perhaps sent
        self._glance: bytes | None = None  # bytes of the last quick text, and where it went
        self._glanced: list[str] = []
        self._shift = 0  # events of our own so far: later ones are renumbered
        self._named = True  # events carry an ``event:`` line

    def fast_text(self, raw: bytes) -> tuple[Hashable, str] | None:
        """See AnswerStream. The first piece of every channel goes through ``read``."""
        if self._shift:
            return None  # the number in the bytes is out of date
        try:
            event = _decode(raw[raw.find(b"{") :])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        part = event.content_index + event.summary_index + event.command_index
        channel = (event.item_id or event.output_index, part, event.type)
        if self._pending is not None:
            self._settle()
        said = self._said.get(channel)
        if said is None or event.logprobs:
            return None
        said.append(event.delta)
        self._glance, self._glanced = raw, said
        self._sent.next = event.sequence_number + 1
        return channel, event.delta

    def read(self, raw: bytes) -> Event:
        if raw is self._glance:  # it wasn't sent after all
            self._glanced.pop()
            self._sent.next -= 1
        self._glance = None
        self._settle()
        data = sse.payload(raw)
        doc = openai.decode(data)
        event = self._pending = Event(raw, doc)
        if doc is None:  # a comment, or [DONE] from servers that add it; else it is broken
            event.error = bool(data) and data != b"[DONE]"
            return event
        self._named = raw.startswith(b"event:")
        if self._shift:
            self._renumber(event, self._shift)
        kind = doc.get("type")
        if not isinstance(kind, str):  # vLLM's last resort is an error object without a type
            event.error = event.last = doc.get("error") is not None
            event.hidden = True  # nobody knows where its texts would stand
            return event
        if kind.endswith(".delta"):
            self._read_delta(event, doc, kind)
        elif kind in ENDS or kind in BEGINS:
            self._read_response(event, doc, kind)
        elif kind == "error":
            event.error = event.last = True
        elif kind == ADDED or kind in PARTS:
            self._read_beginning(event, doc, kind)
        else:
            if kind.endswith(".done"):
                event.closes = self._sent.closed_by(kind, doc)
            _say_again(event, doc, kind)
        return event

    def write(self, event: Event) -> bytes:
        raw = event.raw if event.doc is None else self._event(event.doc)
        if event is self._pending:
            self._settle()
        return raw

    def insert(self, channel: Hashable, text: str) -> bytes:
        """See AnswerStream. Nothing for texts that are only said again, or that would begin with
        an item that wasn't sent.

        The event that is being read moves up by one number: what is sent after this is its ``raw``
        as it is then, or ``write`` of it.
        """
        pending = self._pending
        if pending is not None and channel not in (pending.closes or ()):
            if any(text_part.channel == channel for text_part in pending.texts):
                return b""
            if pending.closes is not ALL:
                self._settle()
        if channel not in self._said:
            return b""
        key = channel[3] if isinstance(channel, tuple) and len(channel) > 3 else ""
        self._said[channel].append(text)
        head = self._sent.heads[channel]
        raw = self._numbered({**head, "delta": {key: text} if key else text})
        self._shift += 1
        if self._pending is not None:
            self._renumber(self._pending, 1)
        return raw

    def complete(self) -> bytes | None:
        """None: every server ends these as the protocol says."""
        return None

    def refusal(self, message: str = "") -> bytes:
        self._pending = None
        return b"".join(self._numbered(doc) for doc in self._sent.refusal(message))

    def failure(self, error: GatewayError) -> bytes:
        """Responses' ``error`` event. The official client raises only for an ``error`` object in
        it, so that stands beside the fields of the event's own type."""
        if self._pending is not None and not self._pending.error:
            self._settle()
        self._pending = None
        said = error_object(error)
        return self._numbered(
            {
                "type": "error",
                **{name: said[name] for name in ("code", "message", "param")},
                "error": said,
            }
        )

    def _read_delta(self, event: Event, doc: Json, kind: str) -> None:
        delta = doc.get("delta")
        if kind in BINARY:
            return
        item, part = place(doc)
        if isinstance(delta, str):
            logprobs = text_logprobs(doc)
            event.texts.append(TextPart(doc, "delta", kind, (item, part, kind), logprobs))
            self._sent.open((item, part, kind), doc, kind)
        elif isinstance(delta, dict):
            for key, value in delta.items():  # shell output: {stdout, stderr}
                if isinstance(value, str):
                    event.texts.append(TextPart(delta, key, kind, (item, part, kind, key)))
                    self._sent.open((item, part, kind, key), doc, kind)

    def _read_response(self, event: Event, doc: Json, kind: str) -> None:
        response = doc.get("response")
        if kind in ENDS:
            event.closes = ALL
            event.usage = read_usage(response)
            event.finish = read_finish(response)
            event.last = True
            event.error = kind == "response.failed"
        if isinstance(response, dict):
            if kind == "response.completed" and response.get("status") == "incomplete":
                doc["type"] = "response.incomplete"  # as OpenAI ends it; vLLM doesn't
                event.raw = self._event(doc)
            _say_again(event, response.get("output"), "output")

    def _read_beginning(self, event: Event, doc: Json, kind: str) -> None:
        """An item or part that was added: mostly empty, but its text may begin here."""
        body = doc.get("part") if kind in PARTS else doc.get("item")
        if not isinstance(body, dict):
            return
        delta, family = BY_KIND.get(str(body.get("type")), ("", Family("")))
        if isinstance(body.get(family.key), str) and body[family.key]:
            item, part = place(doc)
            channel: Channel = (item, part, delta)
            event.texts.append(TextPart(body, family.key, kind, channel))
            head = {**doc, "item_id": item} if isinstance(item, str) else doc
            self._sent.open(channel, head, delta)
            body = {key: value for key, value in body.items() if key != family.key}
        _say_again(event, body, kind)

    def _settle(self) -> None:
        """The pending event was sent."""
        if self._pending is not None:
            self._sent.add(self._pending)
            self._pending = None

    def _numbered(self, doc: Json) -> bytes:
        doc["sequence_number"] = self._sent.next
        self._sent.next += 1
        return self._event(doc)

    def _event(self, doc: Json) -> bytes:
        return sse.event(doc, str(doc.get("type", "")) if self._named else "")

    def _renumber(self, event: Event, by: int) -> None:
        doc = event.doc
        if doc is not None and isinstance(doc.get("sequence_number"), int):
            doc["sequence_number"] += by
            event.raw = self._event(doc)


def _say_again(event: Event, node: Any, where: str) -> None:
    """Whole texts of an event; those with logprobs as texts of their own, ended by the event:
    the alternatives beside them must not tell what the text doesn't."""
    closes: list[Hashable] = []
    for text_part in texts(node, where):
        if text_part.logprobs is None:
            if text_part.text:
                event.restated.append(text_part)
        else:
            text_part.channel = ("again", text_part.where)
            event.texts.append(text_part)
            closes.append(text_part.channel)
    if closes and event.closes is not ALL:
        event.closes = [*(event.closes or ()), *closes]
