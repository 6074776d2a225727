"""Images through the whole product to real vLLM, in each protocol, by its own SDK."""

from __future__ import annotations

import base64
import io
from typing import Any

import anthropic
import openai
import pytest
from PIL import Image

from tests.process import KEY, Gateway

MODEL = "gemma-3-see"
USED = {"type": "tool_use", "id": "t", "name": "look", "input": {}}
TOKENS = 256  # of an image, for Gemma 3 without pan and scan
RED, BLUE = "red", "blue"


def png(colour: str, size: tuple[int, int] = (320, 200)) -> str:
    """An image of one colour, in base64."""
    data = io.BytesIO()
    Image.new("RGB", size, colour).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def url(colour: str) -> str:
    return f"data:image/png;base64,{png(colour)}"


def image(colour: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url(colour)}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def source(colour: str) -> dict[str, Any]:
    data = {"type": "base64", "media_type": "image/png", "data": png(colour)}
    return {"type": "image", "source": data}


@pytest.fixture(scope="module")
def client(seeing: Gateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{seeing.url}/v1", api_key=KEY, max_retries=0, timeout=600)


@pytest.fixture(scope="module")
def claude(seeing: Gateway) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=seeing.url, api_key=KEY, max_retries=0, timeout=600)


def chat(client: openai.OpenAI, *parts: dict[str, Any], **more: Any) -> Any:
    messages: Any = [{"role": "user", "content": list(parts)}]
    return client.chat.completions.create(
        model=MODEL, messages=messages, max_tokens=1, temperature=0, **more
    )


def test_the_model_is_known_to_see(client: openai.OpenAI) -> None:
    known: Any = client.models.retrieve(MODEL)
    assert known.input_modalities == ["text", "image"]


def test_an_image_is_seen(client: openai.OpenAI) -> None:
    question = text("What colour is this?")
    without = chat(client, question)
    answers = [
        chat(client, image(colour), question, logprobs=True, top_logprobs=5)
        for colour in (RED, BLUE)
    ]
    for answer in answers:
        assert TOKENS < answer.usage.prompt_tokens - without.usage.prompt_tokens < TOKENS + 8
    # What is likely to follow depends on what the image shows.
    red, blue = ([each.logprob for each in answer.choices[0].logprobs.content[0].top_logprobs]
                 for answer in answers)  # fmt: skip
    assert red != blue


@pytest.mark.parametrize(
    "parts",
    [
        [image(RED), image(BLUE), text("Compare.")],
        [text("A:"), image(RED), text("B:"), image(BLUE)],
        [text("Look:\n"), image(RED), text("\nand\n"), image(BLUE), text("\n")],
        [image(RED), image(RED)],
    ],
    ids=["before", "interleaved", "line breaks", "alone"],
)
def test_several_images_stand_where_they_were_put(client: openai.OpenAI, parts: Any) -> None:
    assert 2 * TOKENS < chat(client, *parts).usage.prompt_tokens < 2 * TOKENS + 260


def test_a_stream(client: openai.OpenAI) -> None:
    more = {"stream": True, "stream_options": {"include_usage": True}}
    events = list(chat(client, image(RED), text("And?"), **more))
    assert events[-1].usage.prompt_tokens > TOKENS


def test_responses(client: openai.OpenAI) -> None:
    asked: Any = [{"role": "user", "content": [
        {"type": "input_text", "text": "What colour is this?"},
        {"type": "input_image", "image_url": url(RED), "detail": "low"}]}]  # fmt: skip
    answer = client.responses.create(model=MODEL, input=asked, max_output_tokens=16)
    assert answer.usage is not None
    assert answer.usage.input_tokens > TOKENS
    given: Any = [
        {"role": "user", "content": "Look."},
        {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c",
         "output": [{"type": "input_image", "image_url": url(RED), "detail": "auto"}]},
    ]  # fmt: skip
    answer = client.responses.create(model=MODEL, input=given, max_output_tokens=16)
    assert answer.usage is not None
    assert answer.usage.input_tokens > TOKENS


def test_messages(claude: anthropic.Anthropic) -> None:
    asked: Any = [{"role": "user", "content": [source(RED), text("What colour is this?")]}]
    answer = claude.messages.create(model=MODEL, messages=asked, max_tokens=2)
    assert answer.usage.input_tokens > TOKENS
    given: Any = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": [USED]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t", "content": [source(RED)]}]},
    ]  # fmt: skip
    answer = claude.messages.create(model=MODEL, messages=given, max_tokens=2)
    assert answer.usage.input_tokens > TOKENS


def test_more_images_than_the_tier_has_are_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        chat(client, *[image(RED)] * 3)
    assert "max_images" in str(refused.value)


def test_a_broken_image_is_refused_by_its_place(client: openai.OpenAI) -> None:
    cut = f"data:image/png;base64,{png(RED)[:80]}"
    with pytest.raises(openai.BadRequestError) as refused:
        chat(client, text("What?"), {"type": "image_url", "image_url": {"url": cut}})
    assert refused.value.param == "messages.0.content.1.image_url.url"
