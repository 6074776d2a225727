"""From a call and the bytes of its answer to what is judged."""

from __future__ import annotations

import re
from collections.abc import Iterator

import orjson

from gemma_gateway.core.call import Call
from gemma_gateway.core.dialect import Json, Message
from gemma_gateway.quality.item import Item, Turn

ROLES = {"developer": "system", "function": "tool"}
KNOWN = frozenset({"system", "user", "assistant", "tool"})
NO_TEXT = frozenset({"id", "call_id", "tool_call_id", "name"})  # they name things
DOCUMENT_TEXTS = ("text", "content")
_BLANK_LINE = re.compile(rb"(?<=\n)\r?\n")


def item_of(call: Call, answer: bytes, filtered: bool) -> Item | None:
    """What there is to judge.

    Args:
        call: a finished call.
        answer: every byte of its answer, as the client got it.
        filtered: the content policy has cut it.

    Returns:
        None where the answer has no text (tool calls alone), or nobody asked anything.
    """
    turns = tuple(_turns(call.dialect.messages(call.request.body)))
    said = _streamed(call, answer) if call.request.stream else _whole(call, answer)
    text = "".join(said).strip()
    if not text or not turns:
        return None
    context = [turn.text for turn in turns if turn.role == "tool"] + _documents(call.request.body)
    return Item(turns, text, call.request.model, "\n\n".join(context), filtered=filtered)


def _turns(messages: list[Message]) -> Iterator[Turn]:
    for message in messages:
        role = ROLES.get(message.role, message.role)
        texts = (part.text for part in message.texts if part.key not in NO_TEXT)
        text = "\n".join(filter(None, texts))
        if message.counts and text and role in KNOWN:
            yield Turn(role, text)


def _documents(body: Json) -> list[str]:
    """Texts of ``documents``, where vLLM's chat template takes what an answer should rest on."""
    documents = body.get("documents")
    texts = []
    for document in documents if isinstance(documents, list) else ():
        if isinstance(document, dict):
            texts += [v for k, v in document.items() if k in DOCUMENT_TEXTS and isinstance(v, str)]
    return texts


def _whole(call: Call, answer: bytes) -> Iterator[str]:
    for part in call.dialect.answer(orjson.loads(answer)):
        if call.dialect.says(part):
            yield part.text


def _streamed(call: Call, answer: bytes) -> Iterator[str]:
    stream = call.dialect.stream(False)
    for raw in _BLANK_LINE.split(answer):
        for part in stream.read(raw + b"\n").texts:
            if call.dialect.says(part):
                yield part.text
