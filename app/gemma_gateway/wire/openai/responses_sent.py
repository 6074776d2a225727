"""What one streamed Responses answer has told the client so far, and how it ends when it is cut."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from gemma_gateway.core.dialect import Event, Json
from gemma_gateway.core.errors import Code
from gemma_gateway.wire.openai.responses_events import (
    ADDED,
    BEGINS,
    DONE,
    FAMILIES,
    PART_DONE,
    PLACES,
    Channel,
    Family,
    place,
)


@dataclass(slots=True)
class _Item:
    """An output item that was added and isn't done."""

    doc: Json
    output_index: Any
    ended: set[tuple[str, int]] = field(default_factory=set)  # parts whose done event was sent


class Sent:
    """The clean text by channel and the items around it.

    Attributes:
        said: pieces of clean text by channel that isn't closed with its item.
        heads: type and place of a channel's deltas.
        next: sequence number after the last event sent.
    """

    def __init__(self) -> None:
        self.said: dict[Any, list[str]] = {}
        self.heads: dict[Any, Json] = {}
        self.next = 0
        self._items: dict[Hashable, _Item] = {}
        self._done: list[Json] = []  # items as output_item.done said them
        self._response: Json = {}

    def open(self, channel: Channel, doc: Json, kind: str) -> None:
        """Begin to remember a channel, if it is new.

        Args:
            channel: its key.
            doc: the first event that has text for it.
            kind: type of its deltas.
        """
        if channel not in self.said:
            self.said[channel] = []
            head = {name: doc[name] for name in PLACES if name in doc}
            more: Json = {"logprobs": []} if kind == "response.output_text.delta" else {}
            self.heads[channel] = {"type": kind, **head, **more}

    def closed_by(self, kind: str, doc: Json) -> list[Hashable]:
        """Open channels that a done event ends: its item's, its part's, or its own."""
        item, part = place(doc)
        if kind == DONE:
            places = (item, doc.get("output_index"))
            return [channel for channel in self.said if channel[0] in places]
        own = kind.removesuffix(".done") + ".delta"
        return [
            channel
            for channel in self.said
            if channel[:2] == (item, part)
            and (
                channel[2] == own
                or PART_DONE.get(FAMILIES.get(channel[2], Family("")).holder) == kind
            )
        ]

    def add(self, event: Event) -> None:
        """An event was sent, as its texts stand now."""
        doc = event.doc
        if doc is None:
            return
        kind, number = doc.get("type"), doc.get("sequence_number")
        self.next = number + 1 if isinstance(number, int) else self.next + 1
        for text_part in event.texts:
            if text_part.channel in self.said:
                self.said[text_part.channel].append(text_part.text)
        item, part = place(doc)
        if kind in BEGINS and isinstance(doc.get("response"), dict):
            self._response = doc["response"]
        elif kind == ADDED and isinstance(doc.get("item"), dict):
            self._items[item] = _Item(doc["item"], doc.get("output_index"))
        elif kind == DONE and isinstance(doc.get("item"), dict):
            self._items.pop(item, None)
            self._done.append(doc["item"])
            for channel in event.closes or ():
                self.said.pop(channel, None)
        elif isinstance(kind, str) and kind.endswith(".done") and item in self._items:
            self._items[item].ended.add((kind, part))

    def refusal(self, message: str) -> list[Json]:
        """Events that close what is open with its clean text, then ``response.incomplete``."""
        events: list[Json] = []
        output = list(self._done)
        for key, item in self._items.items():
            clean = self._close(key, item, events)
            events.append({"type": DONE, "output_index": item.output_index, "item": clean})
            if clean.get("type") in ("message", "reasoning"):  # a call cut short must not run
                output.append(clean)
        told = {"code": Code.RESPONSE_FILTERED.name, "message": message}
        response = {
            "object": "response",
            **self._response,
            "status": "incomplete",
            "incomplete_details": {"reason": "content_filter"},
            "output": output,
            **told,
        }
        events.append({"type": "response.incomplete", "response": response, **told})
        return events

    def _close(self, key: Hashable, item: _Item, events: list[Json]) -> Json:
        """Add the done events of an open item's texts; returns the item with its clean text."""
        clean: Json = {**item.doc, "status": "incomplete"}
        for channel, said in self.said.items():
            family = FAMILIES.get(channel[2])
            if channel[0] != key or family is None:
                continue
            text = "".join(said)
            if not family.holder:
                clean[family.key] = text
                continue
            extra: Json = {"annotations": []} if family.kind == "output_text" else {}
            part = {"type": family.kind, family.key: text, **extra}
            clean[family.holder] = [*(clean.get(family.holder) or ()), part]
            where = {name: value for name, value in self.heads[channel].items() if name != "type"}
            bare = {name: value for name, value in where.items() if name in PLACES}
            done = channel[2].removesuffix(".delta") + ".done"
            part_done = PART_DONE[family.holder]
            if (done, channel[1]) not in item.ended:
                events.append({"type": done, **where, family.key: text})
            if (part_done, channel[1]) not in item.ended:
                events.append({"type": part_done, **bare, "part": part})
        return clean
