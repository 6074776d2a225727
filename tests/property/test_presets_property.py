"""Whatever is sent for a preset: its messages, or a 400 that names a place in what was sent."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.presets.library import Library

LIBRARY = Library.load()
NAMES = sorted(
    {"name", "type", "description", "parameters", "properties", "required", "enum", "url"}
    | {"text", "image_url", "input_text", "input_image", "detail", "items", "file"}
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from([*NAMES, "data:image/png;base64,AA", "{{ 1 }}", '["german"]', "object"])
)
KEYS = st.sampled_from(NAMES) | st.text(max_size=5)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=25,
)
FUNCTION = st.fixed_dictionaries({"name": st.text(min_size=1, max_size=9)}, optional={
    "description": LEAVES, "parameters": st.dictionaries(KEYS, JSON, max_size=4),
})  # fmt: skip


def made(preset: str, variables: Any) -> None:
    refused = None
    try:
        rendered = LIBRARY.find(preset, None).render(variables)
    except GatewayError as error:
        refused = error
    if refused is None:
        assert orjson.dumps(rendered.messages)
        assert all(message["content"] for message in rendered.messages)
    else:
        assert refused.code is Code.VALIDATION_ERROR
        assert (refused.param or "").partition(".")[0] == "variables"


@pytest.mark.parametrize("preset", ["multimodal", "function-calling", "culture"])
@settings(max_examples=150)
@given(data=st.data())
def test_anything(preset: str, data: st.DataObject) -> None:
    names = sorted(LIBRARY.find(preset, None).schema.names)
    variables = st.fixed_dictionaries({}, optional=dict.fromkeys(names, JSON)) | JSON
    made(preset, data.draw(variables))


@settings(max_examples=150)
@given(functions=st.lists(FUNCTION, min_size=1, max_size=4), query=st.text(min_size=1))
def test_functions(functions: list[Any], query: str) -> None:
    made("function-calling", {"user_query": query, "available_functions": functions})


@settings(max_examples=150)
@given(image=JSON)
def test_images(image: Any) -> None:
    made("multimodal", {"text_query": "What?", "image": image})
