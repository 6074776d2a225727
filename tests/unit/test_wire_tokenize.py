"""The tokenizer routes: what goes in, and whose text comes out."""

from __future__ import annotations

from typing import Any

import pytest

from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.wire.numbers import MAX_TOKENS
from gemma_gateway.wire.vllm.tokenize import Detokenize, Tokenize

TOKENIZE, DETOKENIZE = Tokenize(), Detokenize()


def test_tokenize_takes_a_prompt_or_messages() -> None:
    body: dict[str, Any] = {"prompt": "a"}
    (message,) = TOKENIZE.messages(body)
    message.texts[0].put("b")
    assert body["prompt"] == "b"
    (message,) = TOKENIZE.messages({"messages": [{"role": "user", "content": "hi"}]})
    assert message.texts[0].text == "hi"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": ["a"]}, "prompt"),
        ({"prompt": "hidden", "messages": [{"role": "user", "content": "hi"}]}, "prompt"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
    ],
)
def test_tokenize_names_the_wrong_field(body: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        TOKENIZE.messages(body)
    assert caught.value.param == param


def test_tokenize_answers_hold_no_new_text() -> None:
    doc = {"count": 3, "max_model_len": 2048, "tokens": [2, 9259], "token_strs": ["<bos>", "Hi"]}
    assert TOKENIZE.answer(doc) == []
    assert TOKENIZE.usage(doc) is None


@pytest.mark.parametrize(
    ("tokens", "param"),
    [
        (None, "tokens"),
        ("2", "tokens"),
        ([2, "9"], "tokens.1"),
        ([True], "tokens.0"),
        ([1.5], "tokens.0"),
        ([-1], "tokens.0"),
        ([2**31], "tokens.0"),
        ([[2]], "tokens.0"),
        ([0] * (MAX_TOKENS + 1), "tokens"),
    ],
)
def test_detokenize_takes_bounded_ids(tokens: Any, param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        DETOKENIZE.messages({"tokens": tokens})
    assert caught.value.code is Code.VALIDATION_ERROR
    assert caught.value.param == param


def test_detokenized_text_is_judged_like_an_answer() -> None:
    (message,) = DETOKENIZE.messages({"tokens": [2, 9259, 1902]})
    assert message.counts
    assert message.texts == []
    doc = {"prompt": "<bos>Hello world"}
    (part,) = DETOKENIZE.answer(doc)
    part.put("<bos>Hello ")
    DETOKENIZE.refuse(doc, part)
    assert doc == {"prompt": "<bos>Hello ", "code": "RESPONSE_FILTERED"}
