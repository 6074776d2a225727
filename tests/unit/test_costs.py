"""What a body of the allowed size costs, whatever it holds: memory, and one piece of time."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from gemma_gateway.core.call import Call
from gemma_gateway.core.dialect import Dialect
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.pipeline.delivery import judged
from gemma_gateway.safety import input as incoming
from gemma_gateway.safety.policy import Policy
from gemma_gateway.settings import Tier
from gemma_gateway.wire import large_json
from gemma_gateway.wire.anthropic.messages import Messages
from gemma_gateway.wire.openai.chat import Chat
from gemma_gateway.wire.openai.completions import Completions
from gemma_gateway.wire.openai.responses import Responses
from tests.bodies import MIB, answers, bodies
from tests.road import read

POLICY = Policy.load()
SIZE = MIB // 2
TIMES = 20  # the size, at most
MORE = 20 * MIB  # for what is bounded by number, not by size; orjson reserves more than it uses
BODIES = bodies(SIZE)


def peak(work: Callable[[], object]) -> int:
    """Bytes that work holds at most, beside what was there."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def take(raw: bytes, dialect: Dialect) -> None:
    try:
        request = read(raw, dialect, Tier(), 64, frozenset())
        incoming.check(POLICY, request.messages)
    except GatewayError as error:
        assert error.code in (Code.VALIDATION_ERROR, Code.CONTENT_FILTERED)  # noqa: PT017
        assert len(str(error.param)) <= 300  # noqa: PT017


@pytest.mark.parametrize("name", BODIES)
def test_a_body_takes_at_most_twenty_times_its_size(name: str) -> None:
    raw = BODIES[name]
    assert peak(lambda: take(raw, Chat())) <= TIMES * len(raw) + MORE


PART = b'{"messages":[{"role":"user","content":[{"type":"text","text":"x","m":'
WIDE = b'{"%s":[' % (b"k" * 100_000) + b",".join([b'"a"'] * 39_000) + b"]}"


@pytest.mark.parametrize(
    ("dialect", "start", "end"),
    [
        (Chat(), b'{"messages":[{"role":"user","content":"x"}],"tools":[', b"]}"),
        (Chat(), b'{"messages":[{"role":"user","content":"x","more":', b"}]}"),
        (Chat(), PART, b"}]}]}"),
        (Chat(), b'{"messages":[{"role":"assistant","tool_calls":[', b"]}]}"),
        (Responses(), b'{"input":[{"type":"tomorrow","x":', b"}]}"),
        (Responses(), b'{"input":"x","text":{"format":', b"}}"),
        (Messages(), PART, b"}]}]}"),
        (Messages(), b'{"messages":[],"system":[{"type":"text","text":"x","m":', b"}]}"),
        (Completions(), b'{"prompt":"x","structured_outputs":', b"}"),
    ],
)  # fmt: skip
def test_long_keys_over_many_strings(dialect: Dialect, start: bytes, end: bytes) -> None:
    """The path of each string is as long as the keys above it: it is never put together."""
    raw = start + WIDE + end
    assert peak(lambda: take(raw, dialect)) <= TIMES * len(raw) + MORE


@pytest.mark.parametrize("name", answers(1000))
@pytest.mark.parametrize("size", [100_000, 3 * MIB])
def test_an_answer_takes_at_most_twenty_times_its_size(name: str, size: int) -> None:
    raw = answers(size)[name]
    verdict: list[Any] = []
    held = peak(lambda: verdict.append(judged(POLICY, Call("", Chat()), raw)))
    assert held <= TIMES * len(raw) + MORE
    assert verdict[0][1] is raw


def test_the_same_alternative_is_judged_once() -> None:
    asked: list[str] = []

    class Counting(Policy):
        def find(self, text: str) -> Any:
            asked.append(text)
            return super().find(text)

    raw = answers(300_000)["logprobs"]
    judged(Counting(), Call("", Chat()), raw)
    assert len([text for text in asked if text.startswith(" w") and len(text) < 5]) <= 21


@pytest.mark.parametrize(
    "raw",
    [b"{", b"[1,", b'{"a":NaN}', b'{"a":-Infinity}', b"\xff", b"[" * 100_000, b'{"a":"\xff"}'],
)
def test_large_documents_are_read_like_small_ones(raw: bytes) -> None:
    padded = raw + b" " * large_json.LARGE_BYTES
    for document in (raw, padded):
        with pytest.raises(ValueError):  # noqa: PT011
            large_json.loads(document)
    good = b'{"a":[1,2.5,"\\u00e9",null,{"b":[true]}]}'
    pad = b" " * large_json.LARGE_BYTES
    assert large_json.loads(good) == large_json.loads(good + pad)


def test_a_document_is_taken_apart() -> None:
    doc = {"a": [[1, {"b": []}], {}], "c": {"d": "e"}}
    inner = doc["a"]
    large_json.dismantle(doc)
    assert (doc, inner) == ({}, [])
    large_json.dismantle("text")
