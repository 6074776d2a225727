"""Why an answer ended, and what it cost: what records are told by each protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gemma_gateway.core.dialect import Dialect
from gemma_gateway.core.usage import Usage
from gemma_gateway.engines.local.footprint import Footprint
from gemma_gateway.engines.local.work import Work
from gemma_gateway.safety.output import OutputGuard
from gemma_gateway.safety.policy import Policy
from gemma_gateway.wire.anthropic.count_tokens import CountTokens
from gemma_gateway.wire.anthropic.messages import Messages
from gemma_gateway.wire.openai.chat import Chat
from gemma_gateway.wire.openai.completions import Completions
from gemma_gateway.wire.openai.responses import Responses
from gemma_gateway.wire.vllm.tokenize import Detokenize, Tokenize
from tests import loopback_wire as wire

Json = dict[str, Any]
SAMPLES = Path(__file__).parent / "samples"
POLICY = Policy.load(None)
Stream = Callable[[wire.Said, bool], Iterator[bytes]]
WAYS: list[tuple[Dialect, Stream, Callable[[wire.Said], Json], dict[str, str]]] = [
    (Chat(), wire.chat_stream, wire.chat_answer, {"stop": "stop", "length": "length"}),
    (
        Completions(),
        wire.completion_stream,
        wire.completion_answer,
        {"stop": "stop", "length": "length"},
    ),
    (
        Responses(),
        wire.response_stream,
        wire.response_answer,
        {"stop": "completed", "length": "max_output_tokens"},
    ),
    (
        Messages(),
        wire.message_stream,
        wire.message_answer,
        {"stop": "end_turn", "length": "max_tokens"},
    ),
]
DIALECTS = pytest.mark.parametrize(
    ("dialect", "stream", "answer", "words"), WAYS, ids=[way[0].name for way in WAYS]
)


def said(finish: str, choices: int = 1) -> wire.Said:
    texts = [["one ", "two"]] * choices
    return wire.Said("x", "gemma", texts, finish=finish, completion_tokens=2 * choices)


@DIALECTS
@pytest.mark.parametrize("finish", ["stop", "length"])
def test_how_an_answer_ends(
    dialect: Dialect, stream: Stream, answer: Any, words: dict[str, str], finish: str
) -> None:
    assert dialect.finish(answer(said(finish))) == words[finish]
    guard = OutputGuard(POLICY, dialect.stream(False))
    for number, event in enumerate(stream(said(finish), True)):
        assert number or guard.finish == ""
        guard.feed(event)
    assert guard.finish == words[finish]


def test_of_several_choices_the_first_to_end_tells() -> None:
    answer = wire.chat_answer(said("length", 3))
    answer["choices"][0]["finish_reason"] = "stop"
    assert Chat().finish(answer) == "stop"


@pytest.mark.parametrize(
    ("dialect", "name", "word"),
    [
        (Responses(), "responses_stream_plain.txt", "max_output_tokens"),
        (Responses(), "responses_stream_tools_required.txt", "max_output_tokens"),
        (Messages(), "messages_stream_plain.txt", "max_tokens"),
        (Messages(), "messages_stream_tools_any.txt", "max_tokens"),
    ],
)
def test_what_vllm_really_wrote(dialect: Dialect, name: str, word: str) -> None:
    guard = OutputGuard(POLICY, dialect.stream(False))
    guard.feed((SAMPLES / name).read_bytes())
    guard.close()
    assert (guard.finish, guard.ended) == (word, True)


@DIALECTS
@pytest.mark.parametrize("bad", [None, 7, ["stop"], {"a": 1}, "x" * 1000])
def test_odd_words_are_no_error(
    dialect: Dialect, stream: Any, answer: Any, words: Any, bad: Any
) -> None:
    del stream, words
    doc = answer(said("stop"))
    for field in ("stop_reason", "status", "incomplete_details"):
        if field in doc:
            doc[field] = bad
    for choice in doc.get("choices", ()):
        choice["finish_reason"] = bad
    assert dialect.finish(doc) in {"", "x" * 32}
    for empty in ({}, {"choices": []}, {"choices": [None]}, {"choices": 3}):
        assert dialect.finish(empty) == ""


@pytest.mark.parametrize("dialect", [CountTokens(), Tokenize(), Detokenize()])
def test_what_generates_nothing_has_no_end(dialect: Dialect) -> None:
    assert dialect.finish({"finish_reason": "stop"}) == ""


def test_cached_and_reasoning_tokens() -> None:
    openai = {
        "prompt_tokens": 20,
        "completion_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 16},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    assert Chat().usage({"usage": openai}) == Usage(20, 9, 16, 5)
    responses = {
        "input_tokens": 20,
        "output_tokens": 9,
        "input_tokens_details": {"cached_tokens": 16},
        "output_tokens_details": {"reasoning_tokens": 5},
    }
    assert Responses().usage({"usage": responses}) == Usage(20, 9, 16, 5)
    for odd in (None, "x", {"reasoning_tokens": "many"}, {"reasoning_tokens": -1}):
        assert Chat().usage({"usage": {**openai, "completion_tokens_details": odd}}) == Usage(
            20, 9, 16, 0
        )


# ---- what the engine in process knows


def test_counts_add_up_over_choices_and_prompts() -> None:
    def state(prompt: int, generated: int, parent: object = None) -> SimpleNamespace:
        written = SimpleNamespace(num_output_tokens=lambda: generated)
        return SimpleNamespace(parent_req=parent, prompt_len=prompt, detokenizer=written)

    parent = object()
    work = Work(engine=None, states=[state(7, 3, parent), state(7, 4, parent), state(5, 2)])
    assert work.counts() == (12, 9)
    assert Work(engine=None).counts() == (0, 0)


class _State:
    """What vLLM's request state holds, see ``RequestState`` and ``RequestStateStats``."""

    def __init__(self, queued: float, scheduled: float) -> None:
        self.stats: Any = type("Stats", (), {"queued_ts": queued, "scheduled_ts": scheduled})()


def test_queue_time_is_the_longest_of_a_calls_requests() -> None:
    work = Work(engine=None)
    assert work.queue_time() is None
    work.states = [_State(10.0, 10.5), _State(10.0, 12.0), _State(10.0, 0.0), _State(0.0, 0.0)]
    assert work.queue_time() == 2.0
    work.states = [_State(10.0, 0.0)]
    assert work.queue_time() is None  # it is still waiting
    without = _State(1.0, 2.0)
    without.stats = None  # --disable-log-stats
    work.states = [without]
    assert work.queue_time() is None


class _Nvml:
    """The driver of a machine with two GPUs, one of which may fall off the bus."""

    def __init__(self) -> None:
        self.used = [3 * 2**30, 5 * 2**30]
        self.started = 0

    def nvmlInit(self) -> None:
        self.started += 1

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:
        return number

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return type("Info", (), {"used": self.used[handle]})()


def test_gpu_memory() -> None:
    nvml = _Nvml()
    footprint = Footprint(nvml, [0, 1])
    assert footprint.gpu() == 8 * 2**30
    assert Footprint(nvml, [1]).gpu() == 5 * 2**30
    assert Footprint().gpu() == Footprint(nvml, []).gpu() == 0
    nvml.used.pop()
    assert footprint.gpu() == 0  # it is only a figure: no call fails for it
    nvml.used.append(1)
    assert (footprint.gpu(), nvml.started) == (0, 2)
    assert footprint.resident() > 10 * 2**20
