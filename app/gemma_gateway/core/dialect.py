"""What the gateway needs to know of an engine route, and nothing else.

A dialect is a small object per engine route. It knows where texts stand in a request, in an
answer and in a stream of events, how an error or an ending is said, and what may be done with the
route's calls. It holds no policy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel

from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.usage import Usage

Json = dict[str, Any]
# A path in a document: text, or (path of the container, key in it). One is made for every text, so
# it is put together only where an error names it, see ``walk.place``.
Where = str | tuple["Where", str | int]


@dataclass(slots=True)
class TextPart:
    """A text inside a decoded JSON document: ``container[key]`` is the str, and may be replaced.

    Args:
        where: path for error messages, such as ``messages.0.content.1.text``.
        channel: texts of one channel are one text for the reader: its parts are concatenated
            (stream deltas of the same choice and field). None: it stands alone.
        logprobs: lists that run along the text, one entry a token, see ``Logprobs``.
        spoken: in a request, what a message says: no name, thought, document or schema, and nothing
            that a tool is called with or gives back.
    """

    container: Any
    key: Any
    where: Where = ""
    channel: Hashable = None
    logprobs: Logprobs | None = None
    spoken: bool = False

    @property
    def text(self) -> str:
        value: str = self.container[self.key]
        return value

    @property
    def kind(self) -> Any:
        """``type`` of the object that holds the text; None where there is none."""
        return self.container.get("type") if isinstance(self.container, dict) else None

    def put(self, text: str) -> None:
        self.container[self.key] = text


class ReadOnlyText(TextPart):
    """A text that is judged and counted where it stands, but never rewritten (schemas, keys): its
    container is not the document."""

    __slots__ = ()


class Logprobs(Protocol):
    """Token-wise lists beside a text (logprobs): they must not tell what the text doesn't say."""

    def take(self) -> list[tuple[str | bytes, Any]]:
        """Remove all entries and return them as (token text, entry); UTF-8 where a token is a part
        of a character."""
        ...

    def give(self, entries: list[tuple[str | bytes, Any]]) -> None:
        """Set the entries."""
        ...

    def side_texts(self) -> Iterator[tuple[str | None, Any]]:
        """Alternatives that were not chosen, as (token text, callable that removes it); None for
        what no one can read."""
        ...


@dataclass(slots=True)
class Media:
    """An image, a sound or a file of a message: ``container[key]`` is a str that has it, in base64
    or as a data: URL; of an image it may be the URL where it lies.

    Args:
        where: path for error messages, as of a ``TextPart``.
        kind: ``image``, ``audio``, ``video`` or ``file``.
    """

    container: Any
    key: Any
    where: Where = ""
    kind: str = "file"

    @property
    def data(self) -> str:
        value: str = self.container[self.key]
        return value


@dataclass(slots=True)
class Message:
    """One message (or prompt, or input item) of a request.

    Args:
        where: path, such as ``messages.0``.
        role: as the client wrote it; ``user`` for prompts.
        texts: every text in it that reaches the model.
        media: what it holds beside texts.
        counts: False for texts beside the messages (tool definitions, schemas, template
            variables): the bounds on messages and on their characters don't count them.
    """

    where: str
    role: str
    texts: list[TextPart]
    media: Sequence[Media] = ()
    counts: bool = True


@dataclass(slots=True)
class Event:
    """One server-sent event of an answer.

    Args:
        raw: its bytes, blank line included.
        doc: decoded JSON, or None (``[DONE]``, comments).
        texts: pieces of text in it, in order.
        closes: channels that end with this event (after its own pieces); ``ALL`` for every one.
        restated: whole texts that this event says again (Responses' done events): each is judged by
            itself, and rewritten where a filter changes texts.
        usage: the engine's token counts, where the event tells them.
        finish: why the answer ends, where the event tells it.
        hidden: the client didn't ask for this event (usage chunk added by the gateway).
        error: the engine reports a failure inside the stream.
        last: the protocol's own end of the stream (``[DONE]``, ``message_stop``, ...).
    """

    raw: bytes
    doc: Json | None = None
    texts: list[TextPart] = field(default_factory=list)
    closes: Iterable[Hashable] | None = None
    restated: list[TextPart] = field(default_factory=list)
    usage: Usage | None = None
    finish: str = ""
    hidden: bool = False
    error: bool = False
    last: bool = False


ALL: tuple[Hashable, ...] = ("*",)


class AnswerStream(Protocol):
    """Reads the events of one streamed answer. Stateful: it remembers what an ending needs."""

    def fast_text(self, raw: bytes) -> tuple[Hashable, str] | None:
        """The channel and text of an event that holds one plain piece of text and nothing else
        that matters; None for all others (they go through ``read``). Must be fast."""
        ...

    def read(self, raw: bytes) -> Event: ...

    def write(self, event: Event) -> bytes:
        """The event's bytes after its texts were changed. An event that was read counts as sent
        once it is written, or, unchanged, when the next one comes."""
        ...

    def insert(self, channel: Hashable, text: str) -> bytes:
        """An event of its own that carries held-back text of a channel just before it closes. It
        may renumber the event that was read last: that one's ``raw`` is to be taken afterwards."""
        ...

    def complete(self) -> bytes | None:
        """The engine's bytes have come to a proper end: what is missing of the stream's own, where
        all answers had ended before; None: it broke off."""
        ...

    def refusal(self, message: str = "") -> bytes:
        """The rest of the stream after the content policy cut it: the dialect's own way to end.

        Args:
            message: tells why, beside the ``code``.
        """
        ...

    def failure(self, error: GatewayError) -> bytes:
        """The rest of the stream after the engine failed: an error event, never a clean end."""
        ...


class Dialect(ABC):
    """One engine route: its wire protocol, and what the gateway does with its calls.

    All that is known of a route stands here: a new one is a class like this in ``wire``, and its
    line in ``main.DIALECTS``. What isn't said is as for a route that gives one whole answer of no
    text, free of charge.

    Attributes:
        name: of the route, in one word.
        path: such as ``/v1/chat/completions``. Errors below it are told as the route tells its own.
        request_model: describes the usual fields of a request in the OpenAPI document; its
            docstring is the route's summary there.
        error_model: describes the bodies of its errors there.
        operation: of its calls in OpenTelemetry's words (``gen_ai.operation.name``); empty where
            the conventions have none: the name.
        fields: of a request, those that may go on to the engine. ``stream`` belongs to them even
            where the route doesn't stream: validation then refuses it, where others are left out.
        streams: a request may ask for a stream of events.
        charged: its tokens are charged, by an estimate where a call ends before the engine has told
            them, and each call leaves a record. The calls of other routes count apart from these.
        judged: what its answers say (see ``says``) may be sampled and judged.
        id_headers: response headers that name the request.
        max_tokens: names of the field that bounds an answer's tokens. The last one that a request
            has counts, and is sent under all of them. Empty: the route generates nothing, and has
            no choices, sampling or constraints to check.
        needs_bound: engines take no request without that field.
        sampling: which of temperature, top_p, repetition_penalty the route takes.
        batches: every message that counts is a prompt with an answer of its own.
        ping: an event that means nothing, for a stream that is silent; the default is a comment
            (WHATWG HTML, 9.2.6).
        client_header: a request header that all clients of this protocol send, and nobody else: it
            tells them where no route does. Empty: there is none.
        scores: a request may ask for no token but those of its prompt (``echo``).
        presets: a request may name a preset; its ``prompt`` is an object then.
    """

    name: str
    path: str
    request_model: type[BaseModel]
    error_model: type[BaseModel]
    operation: str = ""
    fields: frozenset[str]
    streams: bool = False
    charged: bool = False
    judged: bool = False
    id_headers: tuple[bytes, ...] = (b"x-request-id",)
    max_tokens: tuple[str, ...] = ()
    needs_bound: bool = False
    sampling: frozenset[str] = frozenset()
    batches: bool = False
    ping: bytes = b": ping\n\n"
    client_header: bytes = b""
    scores: bool = False
    presets: bool = False

    @abstractmethod
    def messages(self, body: Json) -> list[Message]:
        """Every text that reaches the model, message by message; the system text too.

        Raises:
            GatewayError: VALIDATION_ERROR with ``param`` where the shape is wrong.
        """

    @abstractmethod
    def error(self, error: GatewayError, request_id: str) -> bytes:
        """JSON body of an error in the client's dialect."""

    def limit_headers(self, limit: int, remaining: int, reset: float) -> dict[str, str]:
        """What the protocol's clients read of their window of requests, beside OpenAI's headers,
        which every answer has.

        Args:
            limit: requests that it lets through.
            remaining: those that it would still let through.
            reset: seconds until its oldest request leaves it.
        """
        del limit, remaining, reset
        return {}

    def prepend(self, body: Json, messages: list[Message], turns: list[Json]) -> dict[str, str]:
        """Put a preset's messages before what the client sent. Routes with ``presets`` say how.

        Args:
            body: the request, changed in place.
            messages: what ``messages`` found in it, changed along: the client's own keep their
                places, as it knows them.
            turns: the preset's messages, as chat completions take them.

        Returns:
            Places of messages in the body as it is now, with those by which the client knows them.
        """
        raise NotImplementedError

    def token_prompts(self, body: Json) -> list[tuple[Where, list[int]]]:
        """Prompts that are token ids, with their places: only an engine knows what they say."""
        del body
        return []

    def ask_usage(self, body: Json) -> bool:
        """For a stream: make the engine report usage at the end. True: the body was changed and
        the client did not ask for that event; False also where every stream tells it."""
        del body
        return False

    def answer(self, doc: Json) -> list[TextPart]:
        """Texts of a whole answer, channel by channel."""
        del doc
        return []

    def says(self, part: TextPart) -> bool:
        """Whether a text of an answer is what its reader is told by the (first) answer: no thought,
        no call."""
        del part
        return False

    def usage(self, doc: Json) -> Usage | None:
        """The engine's token counts in a whole answer; None where it tells none."""
        del doc
        return None

    def finish(self, doc: Json) -> str:
        """Why a whole answer ended, in the protocol's own word; empty where it doesn't tell."""
        del doc
        return ""

    def refuse(self, doc: Json, part: TextPart) -> None:
        """Make a whole answer end at ``part`` (whose text was already cut): finish reason, later
        texts of the same choice removed, logprobs cut. Every route whose ``answer`` has texts says
        how."""
        raise NotImplementedError

    def stream(self, hide_usage: bool) -> AnswerStream:
        """A reader of one streamed answer.

        Raises:
            GatewayError: the route doesn't stream; validation lets no such request through.
        """
        raise GatewayError(Code.VALIDATION_ERROR, "This route does not stream.", param="stream")
