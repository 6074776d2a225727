"""Completions: prompts in, texts and parallel logprobs arrays out, as vLLM 0.32 writes them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.wire.logprobs import CompletionLogprobs
from gemma_gateway.wire.numbers import MAX_TOKENS
from gemma_gateway.wire.openai.completions import Completions

COMPLETIONS = Completions()
HEAD = {"id": "cmpl-1", "object": "text_completion", "created": 17, "model": "gemma"}
PIECE = (
    b'data: {"id":"cmpl-1","object":"text_completion","created":17,"model":"gemma","choices":['
    b'{"index":2,"text":" years","logprobs":null,"finish_reason":null,"stop_reason":null,'
    b'"prompt_token_ids":null,"token_ids":null}]}\n\n'
)
LOGPROBS = (
    b'data: {"id":"cmpl-1","object":"text_completion","created":17,"model":"gemma","choices":['
    b'{"index":0,"text":" the capital","logprobs":{"text_offset":[0,4],"token_logprobs":[-1.5,'
    b'-0.5],"tokens":[" the"," capital"],"top_logprobs":[{" the":-1.5," a":-2.25},null]},'
    b'"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}]}\n\n'
)


def logprobs(*tokens: str) -> dict[str, Any]:
    return {
        "text_offset": list(range(len(tokens))),
        "token_logprobs": [-1.0] * len(tokens),
        "tokens": list(tokens),
        "top_logprobs": [{token: -1.0, "other": -2.0} for token in tokens],
    }


def test_each_prompt_is_a_message_and_can_be_replaced() -> None:
    body: dict[str, Any] = {"prompt": "a", "suffix": "z", "stop": ["s"]}
    prompt, stop = COMPLETIONS.messages(body)
    assert [part.text for part in prompt.texts] == ["a", "z"]
    assert prompt.role == "user"
    assert not stop.counts
    prompt.texts[0].put("b")
    assert body["prompt"] == "b"

    body = {"prompt": ["a", "b"]}
    first, second = COMPLETIONS.messages(body)
    assert (first.where, second.where) == ("prompt.0", "prompt.1")
    second.texts[0].put("c")
    assert body["prompt"] == ["a", "c"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": {}}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt.1"),
        ({"prompt": [1, None]}, "prompt.1"),
        ({"prompt": [1.5]}, "prompt.0"),
        ({"prompt": [-1]}, "prompt.0"),
        ({"prompt": [2**31]}, "prompt.0"),
        ({"prompt": [1, True]}, "prompt.1"),
        ({"prompt": [True]}, "prompt.0"),
        ({"prompt": [[1, 2], 3]}, "prompt.1"),
        ({"prompt": [[1, 2], "a"]}, "prompt.1"),
        ({"prompt": [[1, 2], []]}, "prompt.1"),
        ({"prompt": [[1], ["2"]]}, "prompt.1.0"),
        ({"prompt": [[[1]]]}, "prompt.0.0"),
        ({"prompt": [5] * (MAX_TOKENS + 1)}, "prompt"),
        ({"prompt": [[5] * MAX_TOKENS, [5]]}, "prompt.1"),
        ({"prompt": ["a", [1]]}, "prompt.1"),
        ({"prompt": ["a", None]}, "prompt.1"),
        ({"prompt": "a", "suffix": 5}, "suffix"),
        ({"prompt": "a", "prompt_embeds": "AAAA"}, "prompt_embeds"),
    ],
)
def test_what_cannot_be_read_is_refused(body: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        COMPLETIONS.messages(body)
    assert caught.value.code is Code.VALIDATION_ERROR
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("a", []),
        (["a", "b"], []),
        ([2, 818.0], [("prompt", [2, 818])]),
        ([[2], [3, 4.0]], [(("prompt", 0), [2]), (("prompt", 1), [3, 4])]),
    ],
)
def test_token_ids_are_found(prompt: Any, found: list[Any]) -> None:
    body = {"prompt": prompt}
    messages = COMPLETIONS.messages(body)
    assert sum(message.counts for message in messages) == (len(found) or len(prompt))
    assert COMPLETIONS.token_prompts(body) == found


def test_quick_and_read_agree() -> None:
    stream = COMPLETIONS.stream(False)
    assert stream.fast_text(PIECE) == ((2, "text"), " years")
    (part,) = stream.read(PIECE).texts
    assert (part.channel, part.text) == ((2, "text"), " years")
    assert stream.fast_text(LOGPROBS) is None
    assert (
        stream.fast_text(PIECE.replace(b'"finish_reason":null', b'"finish_reason":"stop"')) is None
    )
    assert stream.fast_text(PIECE.replace(b'" years"', b'""')) is None
    assert stream.fast_text(PIECE.replace(b"stop_reason", b"new_field")) is None
    assert stream.fast_text(b"data: [DONE]\n\n") is None


def test_parallel_arrays_are_taken_and_given_row_by_row() -> None:
    stream = COMPLETIONS.stream(False)
    event = stream.read(LOGPROBS)
    (part,) = event.texts
    assert isinstance(part.logprobs, CompletionLogprobs)
    assert [text for text, _ in part.logprobs.side_texts()] == [" the", " a"]
    list(part.logprobs.side_texts())[1][1]()
    entries = part.logprobs.take()
    assert [text for text, _ in entries] == [" the", " capital"]
    part.put(" the")
    part.logprobs.give(entries[:1])
    choice = orjson.loads(stream.write(event)[6:])["choices"][0]
    assert choice["text"] == " the"
    assert choice["logprobs"] == {
        "text_offset": [0],
        "token_logprobs": [-1.5],
        "tokens": [" the"],
        "top_logprobs": [{" the": -1.5}],
    }


def test_held_text_and_endings_have_the_routes_shape() -> None:
    stream = COMPLETIONS.stream(False)
    stream.fast_text(PIECE)
    extra = orjson.loads(stream.insert((2, "text"), "held")[6:])
    assert {key: extra[key] for key in HEAD} == HEAD
    assert extra["choices"] == [
        {"index": 2, "text": "held", "logprobs": None, "finish_reason": None}
    ]
    ending, done, rest = stream.refusal().split(b"\n\n")
    doc = orjson.loads(ending[6:])
    assert doc["choices"] == [
        {"index": 2, "text": "", "logprobs": None, "finish_reason": "content_filter"}
    ]
    assert doc["code"] == "RESPONSE_FILTERED"
    assert (done, rest) == (b"data: [DONE]", b"")
    assert b"[DONE]" not in stream.failure(GatewayError(Code.ENGINE_TIMEOUT))


def test_refuse_cuts_text_and_arrays() -> None:
    choices = [
        {
            "index": i,
            "text": "a bad",
            "logprobs": logprobs("a", " bad"),
            "finish_reason": "length",
            "stop_reason": None,
            "prompt_logprobs": [None, {"7": {"decoded_token": "side"}}],
        }
        for i in range(2)
    ]
    doc = {**HEAD, "choices": choices, "usage": {"prompt_tokens": 6, "completion_tokens": 5}}
    first, second = COMPLETIONS.answer(doc)
    assert first.logprobs is not None
    assert [text for text, _ in first.logprobs.side_texts()] == [
        "a",
        "other",
        " bad",
        "other",
        "side",
    ]
    second.put("a ")
    COMPLETIONS.refuse(doc, second)
    assert choices[0]["text"] == "a bad"
    assert choices[0]["finish_reason"] == "length"
    assert choices[1]["finish_reason"] == "content_filter"
    assert choices[1]["logprobs"] == logprobs("a")
    assert doc["code"] == "RESPONSE_FILTERED"
    usage = COMPLETIONS.usage(doc)
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (6, 5)
