"""What a model may say: judging answers, whole or event by event."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from gemma_gateway.core.dialect import ALL, AnswerStream, Dialect, Event, Json, TextPart
from gemma_gateway.core.usage import Usage
from gemma_gateway.safety.channel import ChannelState, Held
from gemma_gateway.safety.filter import PASSING, Filter, refusal
from gemma_gateway.safety.logprobs import LogprobGuard, drop_alternatives, judge_logprobs
from gemma_gateway.safety.terms import Match
from gemma_gateway.wire.large_json import LARGE_BYTES

MAX_EVENT_BYTES = 8 * 1024 * 1024

_BLANK_LINE = re.compile(rb"\r?\n\r?\n")


class OutputGuard:
    """Judges one streamed answer on its way to the client.

    Events leave one for one and in order. Text that could still become a match moves into the
    next event of its channel; an event whose text is not touched leaves as the same bytes.

    Attributes:
        blocked: the match that ended the answer.
        failed: the engine reported a failure (not forwarded), or wrote what no one can read.
        error: the event that told of it.
        ended: the protocol's own end of the stream was seen.
        usage: the engine's token counts, where it told them.
        finish: why the answer ended, where the engine told it; of several choices the first one's.
        events_with_text: events that carried text.
        held: how much text was held back, and how long.
        rest: the beginning of an event that hasn't come to its end.
    """

    def __init__(self, judge: Filter, stream: AnswerStream) -> None:
        self._filter = judge
        self._flagging = judge.flagging
        self._stream = stream
        self._channels: dict[Hashable, ChannelState] = {}
        self.rest = bytearray()
        self._returns = False  # the engine ends lines with CR LF
        self._flags: set[str] = set()
        self.blocked: Match | None = None
        self.failed = False
        self.error: Json | None = None
        self.ended = False
        self.usage: Usage | None = None
        self.finish = ""
        self.events_with_text = 0
        self.held = Held()

    @property
    def flags(self) -> set[str]:
        """Flag-only categories that the answer matches so far."""
        return self._flags.union(*(self._flagged(state) for state in self._channels.values()))

    def feed(self, data: bytes) -> bytes:
        """Judge the next bytes of the engine, cut anywhere; returns what to forward now.

        After ``blocked`` or ``failed`` nothing more is forwarded.
        """
        if self.blocked is not None or self.failed:
            return b""
        if not self.rest and data.find(b"\n\n") == len(data) - 2 > 0:
            return self._event(data)
        self._returns = self._returns or b"\r" in data
        searched = 0
        if self.rest:
            searched = max(0, len(self.rest) - 3)  # a blank line may have begun in it
            self.rest += data
            if self._end(self.rest, searched) < 0:
                return self._wait()
            data = bytes(self.rest)
            self.rest.clear()
        start = kept = 0  # data[kept:start] leaves as it is
        out: list[bytes] = []
        while (end := self._end(data, max(start, searched))) > 0:
            raw = data[start:end]
            if (judged := self._event(raw)) is not raw:
                out += (data[kept:start], judged)
                kept = end
            start = end
            if self.blocked is not None or self.failed:
                return b"".join(out)
        if start < len(data):
            self.rest += data[start:]
            self._wait()
        if not out:
            return data[:start]
        out.append(data[kept:start])
        return b"".join(out)

    def close(self) -> bytes:
        """The engine's bytes have ended; returns what was still held, or the answer's refusal."""
        out: list[bytes] = []
        for channel in list(self._channels):
            if self.blocked is not None or self.failed:
                break
            if tail := self._close(channel)[0]:
                out.append(self._say(channel, tail))
            if self.blocked is not None:
                out.append(self._ending())
        if self.blocked is None and not (self.failed or self.ended):
            rest = self._stream.complete()
            self.ended = rest is not None
            out.append(rest or b"")
        return b"".join(out)

    def _end(self, data: bytes | bytearray, start: int) -> int:
        """Where the first event from ``start`` on ends, blank line included; -1: not in here."""
        if not self._returns:
            end = data.find(b"\n\n", start)
            return end + 2 if end >= 0 else -1
        found = _BLANK_LINE.search(data, start)
        return found.end() if found else -1

    def _say(self, channel: Hashable, text: str) -> bytes:
        return self._stream.insert(channel, text)

    def _wait(self) -> bytes:
        if len(self.rest) > MAX_EVENT_BYTES:
            self.failed = True
            self.rest.clear()
        return b""

    def _event(self, raw: bytes) -> bytes:
        quick = self._stream.fast_text(raw) if len(raw) <= LARGE_BYTES else None
        if quick is None:
            return self._judge(raw, None)
        channel, text = quick
        state = self._channels.get(channel) or self._open(channel)
        if self._flagging:
            state.said.append(text)
        self.events_with_text += 1
        released = state.scanner.push(text)
        return raw if released == text else self._judge(raw, released)

    def _open(self, channel: Hashable) -> ChannelState:
        state = self._channels[channel] = ChannelState(self._filter)
        return state

    def _judge(self, raw: bytes, released: str | None) -> bytes:
        """Judge an event with all that is in it.

        Args:
            released: what may leave of the channel of its only text, which was pushed already.
        """
        try:
            event = self._stream.read(raw)
        except ValueError:
            self.failed = True
            return b""
        self.usage = event.usage or self.usage
        self.finish = self.finish or event.finish
        self.failed = event.error
        self.ended |= event.last
        if event.error:
            self.error = event.doc
            return b""
        changed = False
        if released is None:
            self.events_with_text += any(part.text for part in event.texts)
        for place, part in enumerate(event.texts):
            changed |= self._follow(part, released)
            if self.blocked is not None:
                return self._refuse(event, place)
        before, touched = self._closing(event)
        for part in event.restated:
            self.blocked = self.blocked or self._filter.find(part.text)
            if self._filter.rewrites:
                touched |= _rewrite(self._filter, [part])[1]
        if self.blocked is not None:
            return before + self._refuse(event, len(event.texts))
        if event.hidden:
            return before
        judged = self._stream.write(event) if changed or touched else event.raw
        return before + judged if before else judged

    def _follow(self, part: TextPart, released: str | None) -> bool:
        """Pass one piece of text through its channel; whether the event changed."""
        state = self._channels.get(part.channel) or self._open(part.channel)
        text = part.text
        if released is None:
            released = state.scanner.push(text)
            if self._flagging:
                state.said.append(text)
        self.blocked = state.scanner.match
        self.held.note(state)
        changed = released != text
        if changed:
            part.put(released)
        if part.logprobs is not None and state.scanner is not PASSING:
            changed |= drop_alternatives(self._filter, part.logprobs)
            state.tokens = state.tokens or LogprobGuard(self._filter)
            changed |= state.tokens.follow(part.logprobs)
        return changed

    def _closing(self, event: Event) -> tuple[bytes, bool]:
        """End the channels that end with an event: (bytes to go before it, whether it changed)."""
        before: list[bytes] = []
        changed = False
        for channel in self._closed(event.closes):
            tail, tokens = self._close(channel)
            part = next((s for s in reversed(event.texts) if s.channel == channel), None)
            if tail and part is not None:
                part.put(part.text + tail)
                changed = True
            elif tail:
                before.append(self._say(channel, tail))
            if tokens is not None and part is not None and part.logprobs is not None:
                changed |= tokens.end(part.logprobs)
            if self.blocked is not None:
                break
        return b"".join(before), changed

    def _closed(self, closes: Iterable[Hashable] | None) -> list[Hashable]:
        if closes is None:
            return []
        if closes is ALL:
            return list(self._channels)
        return [channel for channel in closes if channel in self._channels]

    def _close(self, channel: Hashable) -> tuple[str, LogprobGuard | None]:
        """Forget a channel: (its held text unless that is a match, its logprob entries)."""
        state = self._channels.pop(channel)
        self._flags |= self._flagged(state)
        tail = state.scanner.close()
        self.held.note(state)
        self.blocked = state.scanner.match
        return tail, state.tokens

    def _flagged(self, state: ChannelState) -> set[str]:
        return self._filter.flags("".join(state.said)) if state.said else set()

    def _refuse(self, event: Event, place: int) -> bytes:
        """The clean part of the event in which a match was decided, then the dialect's ending.

        Args:
            place: number of the part that matched; those after it are dropped.
        """
        for part in event.texts[place + 1 :]:
            part.put("")
            if part.logprobs is not None:
                part.logprobs.give([])
        said_again = any(self._filter.find(s.text) is not None for s in event.restated)
        if event.closes is None and not event.last and not said_again:
            return self._stream.write(event) + self._ending()
        # The event says how the answer ended, and it ends otherwise: only its text may go out.
        said = [self._say(s.channel, s.text) for s in event.texts if s.text]
        return b"".join(said) + self._ending()

    def _ending(self) -> bytes:
        assert self.blocked is not None
        return self._stream.refusal(refusal("answer", self.blocked))


@dataclass(slots=True)
class Verdict:
    """What became of a whole answer.

    Args:
        match: the first match; the document was cut there.
        changed: the document differs from what the engine wrote.
        flags: flag-only categories that the answer matches.
    """

    match: Match | None = None
    changed: bool = False
    flags: set[str] = field(default_factory=set)


def judge_answer(judge: Filter, dialect: Dialect, doc: Json) -> Verdict:
    """Judge a whole answer in place: each choice keeps its clean text, and ends at a match."""
    verdict = Verdict()
    channels = _by_channel(dialect.answer(doc))
    for parts in channels.values():
        for part in parts:
            if part.logprobs is not None and judge.scanner() is not PASSING:
                verdict.changed |= judge_logprobs(judge, part.logprobs)
        if judge.flagging:
            verdict.flags |= judge.flags("".join(part.text for part in parts))
    for channel in list(channels):
        if verdict.match is not None:  # that refusal may have dropped other texts of its choice
            channels = _by_channel(dialect.answer(doc))
        parts = channels.get(channel, [])
        if judge.rewrites:
            found, changed = _rewrite(judge, parts)
            verdict.changed |= changed
        else:
            found = _cut(judge, parts)
        if found is not None:
            match, part = found
            dialect.refuse(doc, part)
            doc["message"] = refusal("answer", match)
            verdict.match = verdict.match or match
            verdict.changed = True
    return verdict


def _by_channel(parts: Iterable[TextPart]) -> dict[Hashable, list[TextPart]]:
    channels: dict[Hashable, list[TextPart]] = {}
    for part in parts:
        channel = part.where if part.channel is None else part.channel
        channels.setdefault(channel, []).append(part)
    return channels


def _cut(judge: Filter, parts: list[TextPart]) -> tuple[Match, TextPart] | None:
    """Cut the texts of one channel at their first match: (match, part that has the cut)."""
    texts = [part.text for part in parts]
    if judge.find("".join(texts)) is None:
        return None
    scanner = judge.scanner()
    clean = sum(len(scanner.push(text)) for text in texts) + len(scanner.close())
    if scanner.match is None:
        return None
    cut = 0
    while clean >= len(texts[cut]):
        clean -= len(texts[cut])
        cut += 1
    parts[cut].put(texts[cut][:clean])
    for later in parts[cut + 1 :]:
        later.put("")
    return scanner.match, parts[cut]


def _rewrite(judge: Filter, parts: list[TextPart]) -> tuple[tuple[Match, TextPart] | None, bool]:
    """The same by a filter that changes texts, and whether it changed any: what it holds back moves
    into the next text of the channel."""
    before = [part.text for part in parts]
    scanner, cut = judge.scanner(), None
    for part, text in zip(parts, before, strict=True):
        if cut is not None:
            part.put("")
            continue
        left = scanner.push(text)
        if part is parts[-1]:
            left += scanner.close()
        part.put(left)
        if scanner.match is not None:
            cut = (scanner.match, part)
    return cut, before != [part.text for part in parts]
