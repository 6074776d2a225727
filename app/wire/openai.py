"""What OpenAI's routes share: error bodies, server-sent events, text slots, token trails."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any

import orjson

from app.errors import Code, GatewayError
from app.usage import Usage
from app.wire import large_json
from app.wire.dialect import Json, Slot, Where

DONE = b"data: [DONE]\n\n"
# String leaves of answers and messages that name things and hold no text of the model's.
MAX_NAME_CHARS = 32
NAMES = frozenset({"role", "id", "type", "call_id", "tool_call_id", "index", "finish_reason"})


def invalid(message: str, param: str | None = None) -> GatewayError:
    """A VALIDATION_ERROR (400) about one field."""
    return GatewayError(Code.VALIDATION_ERROR, message, param=param)


def error_object(error: GatewayError) -> Json:
    """OpenAI's error object: message, type, param, code."""
    return {
        "message": error.message,
        "type": error.code.value.openai,
        "param": error.param,
        "code": error.code.name,
    }


def error_body(error: GatewayError, request_id: str) -> bytes:
    """JSON body of an error. OpenAI names the request in the ``x-request-id`` header only."""
    del request_id
    return orjson.dumps({"error": error_object(error)})


def event(doc: Any, name: str = "") -> bytes:
    """One server-sent event with a JSON document, and an ``event:`` line where it has a name."""
    head = b"event: " + name.encode() + b"\ndata: " if name else b"data: "
    return head + orjson.dumps(doc) + b"\n\n"


def payload(raw: bytes) -> bytes:
    """The data of one server-sent event: its ``data:`` lines joined; empty where it has none.

    Source: WHATWG HTML, "Interpreting an event stream".
    """
    if raw.startswith(b"data: ") and b"\n" not in raw[:-2] and b"\r" not in raw[:-4]:
        return raw[6:].strip()
    lines = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    datas = (line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
    return b"\n".join(datas).strip()


def decode(data: bytes) -> Json | None:
    """A JSON object, or None where the data is anything else (``[DONE]``, a broken line)."""
    try:
        doc = large_json.loads(data)
    except ValueError:
        return None
    return doc if isinstance(doc, dict) else None


def leaves(
    root: Any,
    where: Where,
    skip: frozenset[str] = NAMES,
    channel: Callable[[tuple[Hashable, ...]], Hashable] | None = None,
) -> list[Slot]:
    """Every string below a dict or list of an answer: a node's own strings first.

    Args:
        root: decoded JSON; a list's entries that carry an ``index`` go by it in the path.
        where: path of ``root`` for error messages.
        skip: keys whose values are no texts.
        channel: makes a channel from the path below ``root``; None: the place is the channel.
    """
    found: list[Slot] = []
    stack: list[tuple[Any, Where, tuple[Hashable, ...]]] = [(root, where, ())]
    while stack:
        node, at, path = stack.pop()
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        children = []
        for key, value in pairs:
            if key in skip:
                continue
            if isinstance(value, str):
                here = (at, key)
                found.append(Slot(node, key, here, channel((*path, key)) if channel else here))
            elif isinstance(value, (dict, list)) and value:
                place = value.get("index", key) if isinstance(value, dict) else key
                place = place if isinstance(place, int | str) else key
                children.append((value, (at, key), (*path, place)))
        stack.extend(reversed(children))
    return found


def read_usage(doc: Any) -> Usage | None:
    """Counts from OpenAI's ``usage`` object, or None where there is none."""
    usage = doc.get("usage") if isinstance(doc, dict) else None
    if not isinstance(usage, dict):
        return None
    return Usage(
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        cached_tokens=_count(usage.get("prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=_count(usage.get("completion_tokens_details"), "reasoning_tokens"),
    )


def short_name(value: Any) -> str:
    """A short word of the protocol, such as a finish reason; empty for anything else."""
    return value[:MAX_NAME_CHARS] if isinstance(value, str) else ""


def _count(holder: Any, key: str) -> int:
    value = holder.get(key) if isinstance(holder, dict) else None
    return value if isinstance(value, int) and value > 0 else 0


def ask_usage(body: Json) -> bool:
    """Set ``stream_options.include_usage``. True: the client had not asked for it."""
    options = body.get("stream_options")
    options = options if isinstance(options, dict) else {}
    if options.get("include_usage") is True:
        return False
    body["stream_options"] = {**options, "include_usage": True}
    return True


def _entries(holder: Json, key: str) -> list[Any]:
    value = holder.get(key)
    return value if isinstance(value, list) else []


def _dropper(table: Any, item: Any) -> Callable[[], None]:
    def drop() -> None:
        if isinstance(table, dict):
            table.pop(item, None)
        else:  # by identity: equal alternatives may stand in one list
            table[:] = [other for other in table if other is not item]

    return drop


class TokenTrail:
    """Logprobs of chat and Responses: a list of {token, bytes, logprob, top_logprobs}.

    Args:
        holder: object that holds the list.
        key: its field, such as ``content``.
        prompt: vLLM's ``prompt_logprobs`` beside it, whose alternatives are side texts too.
    """

    def __init__(self, holder: Json, key: str, prompt: Any = None) -> None:
        self._holder = holder
        self._key = key
        self._prompt = prompt

    def take(self) -> list[tuple[str, Any]]:
        entries = _entries(self._holder, self._key)
        if entries:
            self._holder[self._key] = []
        return [(_token(entry), entry) for entry in entries]

    def give(self, entries: list[tuple[str, Any]]) -> None:
        if entries or self._key in self._holder:
            self._holder[self._key] = [entry for _, entry in entries]

    def side_texts(self) -> Iterator[tuple[str, Callable[[], None]]]:
        for entry in _entries(self._holder, self._key):
            table = _entries(entry, "top_logprobs") if isinstance(entry, dict) else []
            for other in list(table):
                yield _token(other), _dropper(table, other)
        yield from prompt_alternatives(self._prompt)


class ArrayTrail:
    """Logprobs of completions: parallel arrays tokens, token_logprobs, top_logprobs, text_offset.

    Source: vLLM's CompletionLogProbs; ``top_logprobs`` holds {token: logprob} or null.
    """

    ARRAYS = ("tokens", "token_logprobs", "top_logprobs", "text_offset")

    def __init__(self, logprobs: Json, prompt: Any = None) -> None:
        self._logprobs = logprobs
        self._prompt = prompt

    def take(self) -> list[tuple[str, Any]]:
        tokens = _entries(self._logprobs, "tokens")
        columns = [_entries(self._logprobs, name) for name in self.ARRAYS]
        rows = [
            tuple(column[i] if i < len(column) else None for column in columns)
            for i in range(len(tokens))
        ]
        self.give([])
        return [(str(row[0]), row) for row in rows]

    def give(self, entries: list[tuple[str, Any]]) -> None:
        for place, name in enumerate(self.ARRAYS):
            if name in self._logprobs:
                self._logprobs[name] = [row[place] for _, row in entries]

    def side_texts(self) -> Iterator[tuple[str, Callable[[], None]]]:
        for table in _entries(self._logprobs, "top_logprobs"):
            if isinstance(table, dict):
                for token in list(table):
                    yield token, _dropper(table, token)
        yield from prompt_alternatives(self._prompt)


def prompt_alternatives(prompt: Any) -> Iterator[tuple[str, Callable[[], None]]]:
    """Side texts of vLLM's ``prompt_logprobs``: a list of {token id: {decoded_token, ...}}."""
    for table in prompt if isinstance(prompt, list) else ():
        if isinstance(table, dict):
            for token_id, entry in list(table.items()):
                text = entry.get("decoded_token") if isinstance(entry, dict) else None
                if isinstance(text, str):
                    yield text, _dropper(table, token_id)


def _token(entry: Any) -> str:
    token = entry.get("token") if isinstance(entry, dict) else None
    return token if isinstance(token, str) else ""


def cut(trail: TokenTrail | ArrayTrail, text: str) -> None:
    """Keep the entries whose tokens, put together, are the beginning of ``text``."""
    kept: list[tuple[str, Any]] = []
    length = 0
    for token, entry in trail.take():
        if not text.startswith(token, length):
            break
        length += len(token)
        kept.append((token, entry))
    trail.give(kept)
