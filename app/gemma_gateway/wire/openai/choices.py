"""Answers made of choices (chat, completions): where their texts stand, how their streams end.

Channels are ``(choice, *path)``, the path running from the choice to the string, with a tool
call's own ``index`` for its place: ``(0, "delta", "tool_calls", 1, "function", "arguments")``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Any

from gemma_gateway.core.dialect import ALL, Event, Json, Logprobs, TextPart
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.sse import DONE, event, payload
from gemma_gateway.wire.logprobs import (
    ChatLogprobs,
    CompletionLogprobs,
    UnreadLogprobs,
    choice_logprobs,
    cut,
)
from gemma_gateway.wire.openai.errors import error_object
from gemma_gateway.wire.openai.openai import decode, leaves, read_usage, short_name

# What stands in a choice beside its texts. ``stop_reason`` is one of the client's own stop
# strings, which were checked on their way in.
NO_TEXT = frozenset(
    {
        *("index", "role", "id", "type", "finish_reason", "stop_reason", "routed_experts"),
        *("logprobs", "prompt_logprobs", "token_ids", "prompt_token_ids"),
    }
)
TOKEN_FIELDS = ("token_ids", "routed_experts")  # they tell the text in other words
THOUGHT = frozenset({"reasoning", "reasoning_content", "thinking"})


def choice_texts(choice: Json, place: int, where: str, prompt: Any = None) -> list[TextPart]:
    """Every text of a choice, in the order in which a model writes them: thoughts, text, calls.

    Logprobs run along all generated tokens. Beside one text they belong to it. Beside several
    nobody can tell which token belongs where: see ``_apart``.

    Args:
        choice: one entry of ``choices``.
        place: the choice's number in its channels.
        where: path of the choice.
        prompt: ``prompt_logprobs`` that stand outside of the choice.
    """
    parts = leaves(choice, where, NO_TEXT, lambda path: (place, *path))
    if len(parts) > 1:
        parts.sort(key=_order)
    prompt = choice.get("prompt_logprobs") or prompt
    if not choice.get("logprobs") and not prompt:
        return parts
    texts = [text_part for text_part in parts if text_part.text]
    if not texts:  # tokens without a text yet: half a character, a parser's markup
        texts = [_empty_text(choice, place, where)]
        parts = [*parts, *texts]
    logprobs = choice_logprobs(choice, prompt)
    if len(texts) == 1:
        texts[0].logprobs = logprobs
    else:
        parts.append(_apart(choice, place, where, logprobs))
    return parts


def _apart(choice: Json, place: int, where: str, logprobs: Logprobs) -> TextPart:
    """A text_part without text for the logprobs of several texts: what the tokens of a whole answer
    spell is judged for itself. In an event of a stream it can't be, as the tokens before it went
    along with other texts."""
    if isinstance(choice.get("delta"), dict) and choice.get("logprobs"):
        logprobs = UnreadLogprobs(choice, choice.get("prompt_logprobs"))
    return TextPart([""], 0, f"{where}.logprobs", (place, "logprobs"), logprobs)


def _order(text_part: TextPart) -> int:
    path: Any = text_part.channel
    if THOUGHT.intersection(path):
        return 0
    return 2 if "tool_calls" in path or "function_call" in path else 1


def _empty_text(choice: Json, place: int, where: str) -> TextPart:
    field = next((name for name in ("delta", "message") if isinstance(choice.get(name), dict)), "")
    holder, path = (choice[field], (field, "content")) if field else (choice, ("text",))
    if not isinstance(holder.get(path[-1]), str):
        holder[path[-1]] = ""
    return TextPart(holder, path[-1], f"{where}.{'.'.join(path)}", (place, *path))


def answer_texts(doc: Json) -> list[TextPart]:
    """Texts of a whole answer, choice by choice."""
    prompt = doc.get("prompt_logprobs")
    parts: list[TextPart] = []
    for place, choice in enumerate(doc["choices"]):
        parts += choice_texts(choice, place, f"choices.{place}", prompt)
        prompt = None
    return parts


def finish_reason(doc: Json) -> str:
    """Why the first choice ended."""
    choices = doc.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return short_name(first.get("finish_reason")) if isinstance(first, dict) else ""


def refuse_choice(doc: Json, text_part: TextPart) -> None:
    """End a choice at a text_part whose text was already cut: what came after it goes."""
    channel: Any = text_part.channel
    choice: Json = doc["choices"][channel[0]]
    order = choice_texts(choice, channel[0], "")
    mine = next(
        i
        for i, s in enumerate(order)
        if s.container is text_part.container and s.key == text_part.key
    )
    for later in order[mine + 1 :]:
        later.put("")
    call = _call(channel)
    if call:  # half a call must not run
        for part in order[: mine + 1]:
            if _call(part.channel) == call:
                part.put("")
    _drop_empty_calls(choice.get("message"))
    if isinstance(text_part.logprobs, ChatLogprobs | CompletionLogprobs) and not call:
        cut(text_part.logprobs, text_part.text)
    elif choice.get("logprobs"):
        choice["logprobs"] = None
    for name in (*TOKEN_FIELDS, "stop_reason"):
        if choice.get(name) is not None:
            choice[name] = None
    choice["finish_reason"] = "content_filter"
    doc["code"] = Code.RESPONSE_FILTERED.name


def _call(channel: Any) -> tuple[Hashable, ...]:
    """The tool call that a channel belongs to, as the beginning of its path; empty: none."""
    if "tool_calls" in channel:
        return tuple(channel[: channel.index("tool_calls") + 2])
    return (
        tuple(channel[: channel.index("function_call") + 1]) if "function_call" in channel else ()
    )


def _drop_empty_calls(message: Any) -> None:
    if not isinstance(message, dict):
        return
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        kept = [
            call for call in calls if any(text_part.text for text_part in leaves(call, "", NO_TEXT))
        ]
        if kept:
            message["tool_calls"] = kept
        else:
            del message["tool_calls"]
    call = message.get("function_call")
    if isinstance(call, dict) and not any(text_part.text for text_part in leaves(call, "")):
        message["function_call"] = None
    calls_left = message.get("tool_calls") or message.get("function_call")
    if message.get("content") is None and not calls_left:
        message["content"] = ""  # a message without calls has to say something


class ChoiceStream(ABC):
    """Reads one streamed answer.

    Args:
        hide_usage: the client didn't ask for the usage event.
    """

    object_name: str  # ``object`` of an event

    def __init__(self, hide_usage: bool) -> None:
        self._hide_usage = hide_usage
        self._seen: dict[int, dict[Hashable, None]] = {}  # channels by choice, in order
        self._finished: set[int] = set()
        self._finishing: set[int] = set()  # by the latest event, which a refusal may replace
        self._last = b""

    @abstractmethod
    def fast_text(self, raw: bytes) -> tuple[Hashable, str] | None: ...

    @abstractmethod
    def _closing_choice(self, index: int) -> Json:
        """A choice without text, as it stands in this route's events."""

    def read(self, raw: bytes) -> Event:
        self._finished |= self._finishing
        self._finishing = set()
        data = payload(raw)
        if not data:
            return Event(raw)  # a comment or ping
        if data == b"[DONE]":
            return Event(raw, closes=ALL, last=True)
        doc = decode(data)
        if doc is None or doc.get("error") or doc.get("object") == "error":
            return Event(raw, doc, error=True)
        choices = doc.get("choices")
        usage = read_usage(doc)
        if not isinstance(choices, list):  # no event of this protocol: nobody would read it
            return Event(raw, usage=usage, hidden=True)
        self._last = raw
        parts: list[TextPart] = []
        closes: list[Hashable] = []
        finish = ""
        for place, choice in enumerate(choices):
            if not isinstance(choice, dict):
                return Event(raw, doc, error=True)
            index = self._index(choice)
            found = choice_texts(choice, index, f"choices.{place}")
            parts += found
            seen = self._seen[index]
            seen.update((text_part.channel, None) for text_part in found)
            if choice.get("finish_reason") is not None:
                self._finishing.add(index)
                finish = finish or short_name(choice["finish_reason"])
                closes += seen
        hidden = not choices and usage is not None and self._hide_usage
        return Event(raw, doc, parts, closes or None, usage=usage, finish=finish, hidden=hidden)

    def _index(self, choice: Json) -> int:
        index = choice.get("index")
        index = index if isinstance(index, int) else 0
        self._seen.setdefault(index, {})
        return index

    def write(self, event_: Event) -> bytes:
        if event_.doc is None:
            return event_.raw
        for choice in event_.doc.get("choices") or ():
            for name in TOKEN_FIELDS:
                if choice.get(name) is not None:
                    choice[name] = None
        return event(event_.doc)

    def insert(self, channel: Hashable, text: str) -> bytes:
        index, *path = channel if isinstance(channel, tuple) else (0, "text")
        choice = {**self._closing_choice(index), **_nest(path, text)}
        return event({**self._head(), "choices": [choice]})

    def complete(self) -> bytes | None:
        """See AnswerStream. Servers other than vLLM may leave ``[DONE]`` out."""
        return DONE if self._seen.keys() <= self._finished | self._finishing != set() else None

    def refusal(self, message: str = "") -> bytes:
        head = {**self._head(), "code": Code.RESPONSE_FILTERED.name, "message": message}
        open_choices = [i for i in self._seen or {0: {}} if i not in self._finished]
        endings = [
            {**self._closing_choice(i), "finish_reason": "content_filter"} for i in open_choices
        ]
        return b"".join(event({**head, "choices": [end]}) for end in endings) + DONE

    def failure(self, error: GatewayError) -> bytes:
        return event({"error": error_object(error)})

    def _head(self) -> Json:
        """Id, time and model as the engine's latest event has them."""
        doc = decode(payload(self._last)) or {}
        return {
            "id": doc.get("id", ""),
            "object": doc.get("object", self.object_name),
            "created": doc.get("created", 0),
            "model": doc.get("model", ""),
        }


def _nest(path: list[Any], text: str) -> Json:
    """``["tool_calls", 1, "name"]`` to ``{"tool_calls": [{"index": 1, "name": text}]}``."""
    value: Any = text
    for step in reversed(path):
        if isinstance(step, int):
            value = [{"index": step, **value}] if isinstance(value, dict) else [value]
        else:
            value = {step: value}
    nested: Json = value
    return nested
