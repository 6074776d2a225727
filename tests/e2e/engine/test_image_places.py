"""Where images may stand: vLLM's own conversions hand on those that the gateway lets through, and
lose those that it refuses. No engine is started."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gemma_gateway.core.errors import GatewayError
from gemma_gateway.wire.anthropic.messages import Messages
from gemma_gateway.wire.openai.responses import Responses
from tests.calls import Json
from tests.e2e.conftest import need
from tests.images import coded, file, parts

IMAGE = parts(coded(file()))
BLOCK, ITEM = IMAGE["messages"], IMAGE["responses"]
TEXT, INPUT_TEXT = {"type": "text", "text": "a"}, {"type": "input_text", "text": "a"}
RESULT = {"type": "tool_result", "tool_use_id": "t"}
DIALECTS = {"messages": Messages(), "responses": Responses()}


def turn(role: str, *content: Json) -> Json:
    return {"role": role, "content": list(content)}


def output(kind: str) -> Json:
    return {"type": f"{kind}_output", "call_id": "c", "output": [INPUT_TEXT, ITEM]}


SEEN: list[tuple[str, Json]] = [
    ("messages", {"messages": [turn("user", TEXT, BLOCK, TEXT, BLOCK)]}),
    ("messages", {"messages": [turn("user", {**RESULT, "content": [TEXT, BLOCK]})]}),
    ("messages", {"messages": [turn("user", TEXT), turn("assistant", TEXT, BLOCK)]}),
    ("responses", {"input": [turn("user", INPUT_TEXT, ITEM, ITEM)]}),
    ("responses", {"input": [output("function_call")]}),
    ("responses", {"input": [output("custom_tool_call")]}),
]
LOST: list[tuple[str, Json]] = [
    ("messages", {"system": [TEXT, BLOCK], "messages": [turn("user", TEXT)]}),
    ("messages", {"messages": [turn("system", TEXT, BLOCK), turn("user", TEXT)]}),
    ("messages", {"messages": [turn("user", {**RESULT, "content": [IMAGE["chat"]]})]}),
    ("messages", {"messages": [turn("user", {**RESULT, "content": [
        {"type": "document", "content": [BLOCK]}]})]}),
    ("messages", {"messages": [turn("user", {"type": "image", "source": {
        "type": "url", "data": BLOCK["source"]["data"]}}, TEXT)]}),
    ("responses", {"input": [turn("user", INPUT_TEXT), turn("assistant", INPUT_TEXT, ITEM)]}),
]  # fmt: skip


def converted(dialect: str, body: Json) -> list[Any]:
    """The chat messages that vLLM makes of a request."""
    need("vllm", "its conversions are looked at (make setup)")
    body = {"model": "m", **body}
    if dialect == "messages":
        from vllm.entrypoints.anthropic.protocol import AnthropicMessagesRequest
        from vllm.entrypoints.anthropic.serving import AnthropicServingMessages

        request = AnthropicMessagesRequest(**body, max_tokens=5)
        return list(AnthropicServingMessages.to_chat_completion_request(request).messages)
    from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
    from vllm.entrypoints.openai.responses.utils import construct_input_messages

    asked = ResponsesRequest(**body)
    return list(construct_input_messages(request_input=asked.input))


def images(node: Any) -> Iterator[str]:
    """The data: URLs of images below a node."""
    if isinstance(node, str):
        if node.startswith("data:image/") and len(node) > 60:
            yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from images(value)
    elif hasattr(node, "__iter__"):
        for value in node:
            yield from images(value)


def sent(body: Json) -> int:
    return str(body).count(BLOCK["source"]["data"])


@pytest.mark.parametrize(("dialect", "body"), SEEN)
def test_an_image_that_passes_reaches_the_model(dialect: str, body: Json) -> None:
    DIALECTS[dialect].messages(body)
    found = list(images(converted(dialect, body)))
    assert found == [ITEM["image_url"]] * sent(body)


@pytest.mark.parametrize(("dialect", "body"), LOST)
def test_an_image_that_is_refused_would_not(dialect: str, body: Json) -> None:
    with pytest.raises(GatewayError):
        DIALECTS[dialect].messages({**body})
    assert not list(images(converted(dialect, body)))
