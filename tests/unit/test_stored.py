"""What a request may not point to: everything that it holds stands in itself."""

from __future__ import annotations

from typing import Any

import pytest

from tests.calls import PATHS, ask
from tests.road import Road

FILE = {"file_id": "file-1"}


def chat(part: Any, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "tool_call_id": "c", "content": [part]}]}


def item(found: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": "hi"}, found]}


def part(found: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": [found]}]}


def tool(kind: str, **more: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "name": "f"}, {"type": kind, **more}]}


def refusals() -> list[tuple[str, dict[str, Any], str]]:
    """Dialect, fields of the request, and the place that is named."""
    found: list[tuple[str, dict[str, Any], str]] = [
        ("responses", {"previous_response_id": "resp_1"}, "previous_response_id"),
        ("responses", {"conversation": "conv_1"}, "conversation"),
        ("responses", {"conversation": {"id": "conv_1"}}, "conversation"),
        ("responses", {"background": True}, "background"),
        ("responses", item({"type": "item_reference", "id": "msg_1"}), "input.1"),
        ("responses", item({"type": None, "id": "msg_1"}), "input.1"),
        ("responses", item({"id": "msg_1"}), "input.1"),
        ("responses", item({"type": "compaction", "encrypted_content": "x"}),
         "input.1.encrypted_content"),
        ("responses", item({"type": "reasoning", "summary": [], "encrypted_content": "x"}),
         "input.1.encrypted_content"),
        ("responses", item({"type": "image_generation_call", "id": "ig_1"}), "input.1"),
        ("responses", item({"type": "mcp_approval_response", "approve": True}), "input.1"),
        ("responses", item({"type": "code_interpreter_call", "container_id": "c"}),
         "input.1.container_id"),
        ("responses", item({"type": "computer_call_output", "call_id": "c", "output": FILE}),
         "input.1.output.file_id"),
        ("responses", item({"type": "function_call_output", "call_id": "c",
                            "output": [{"type": "input_file", **FILE}]}),
         "input.1.output.0.file_id"),
        ("responses", part({"type": "input_file", **FILE}), "input.0.content.0.file_id"),
        ("responses", part({"type": "input_image", **FILE}), "input.0.content.0.file_id"),
        ("responses", part({"type": "input_file", "file_url": "https://a.example/b"}),
         "input.0.content.0.file_url"),
        ("chat", chat({"type": "file", "file": FILE}), "messages.0.content.0.file.file_id"),
        ("chat", chat({"type": "file", "file": FILE}, "tool"), "messages.0.content.0.file.file_id"),
        ("chat", {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]},
         "messages.0.content"),
        ("messages", chat({"type": "container_upload", **FILE}), "messages.0.content.0.file_id"),
        ("messages", {"container": "container_1"}, "container"),
        ("messages", {"container": {"skills": ["x"]}}, "container"),
        ("messages", {"mcp_servers": [{"type": "url", "url": "https://a.example"}]}, "mcp_servers"),
    ]  # fmt: skip
    for kind in ("image", "document"):
        for dialect in ("messages", "/v1/messages/count_tokens"):
            source = {"type": kind, "source": {"type": "file", **FILE}}
            nested = {"type": "tool_result", "tool_use_id": "t", "content": [source]}
            found += [
                (dialect, chat(source), "messages.0.content.0.source.file_id"),
                (dialect, chat(nested), "messages.0.content.0.content.0.source.file_id"),
            ]
    for dialect in ("chat", "responses", "messages"):
        found += [
            (dialect, tool("mcp", server_label="x", server_url="https://a.example"), "tools.1"),
            (dialect, tool("mcp", connector_id="connector_x"), "tools.1"),
            (dialect, tool("function", server_url="https://a.example"), "tools.1"),
            (dialect, tool("mcp_toolset", mcp_server_name="x"), "tools.1"),
            (dialect, tool("file_search", vector_store_ids=["vs_1"]), "tools.1"),
            (dialect, tool("code_interpreter", container="cntr_1"), "tools.1"),
            (dialect, tool("code_interpreter", container={"type": "auto"}), "tools.1"),
            (dialect, tool("namespace", tools=[{"type": "mcp"}]), "tools.1.tools.0"),
        ]
    for dialect in ("chat", "completions", "messages"):
        for name in ("previous_response_id", "conversation", "background"):
            found.append((dialect, {name: "x"}, name))
    for dialect in PATHS:
        for name in ("cached_content", "cachedContent", "assistant_id", "file_ids", "attachments",
                     "tool_resources", "vector_store_ids", "data_sources"):  # fmt: skip
            found.append((dialect, {name: ["x"]}, name))
    return found


@pytest.mark.parametrize(("dialect", "fields", "where"), refusals())
async def test_it_is_refused_with_its_place_and_a_cure(
    dialect: str, fields: dict[str, Any], where: str
) -> None:
    road = Road()
    body = ask("messages" if dialect.startswith("/") else dialect, "hi") | fields
    reply = await road.post(dialect, body)
    error = reply.json()["error"]
    assert (reply.status, error["gateway_code"], error["param"]) == (400, "VALIDATION_ERROR", where)
    assert "send" in error["message"] or "leave" in error["message"] or "here" in error["message"]
    assert not road.engine.requests


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        ("responses", {"previous_response_id": None, "conversation": None, "background": False}),
        ("responses", {"store": True}),
        ("responses", tool("web_search")),
        ("responses", tool("namespace", tools=[{"type": "function", "name": "g"}])),
        ("responses", part({"type": "input_file", "file_id": None, "file_data": "AAAA"})),
        ("responses", item({"type": "reasoning", "summary": [], "encrypted_content": None})),
        ("responses", item({"type": "mcp_call", "name": "x", "arguments": "{}", "output": "y"})),
        ("responses", item({"type": "function_call", "call_id": "c", "name": "f",
                            "arguments": '{"file_id":"x"}'})),
        ("chat", {"store": True, "prompt_cache_key": "x"}),
        ("chat", {"tools": [{"type": "function", "function": {"name": "f", "parameters": {
            "type": "object", "properties": {"file_id": {"type": "string"}}}}}]}),
        ("messages", {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant",
            "content": [{"type": "tool_use", "id": "t", "name": "f", "input": FILE}]}]}),
        ("messages", {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant",
            "content": [{"type": "redacted_thinking", "data": "AAAA"}]}]}),
    ],
)  # fmt: skip
async def test_what_only_looks_like_it_passes(dialect: str, fields: dict[str, Any]) -> None:
    reply = await Road().post(dialect, ask(dialect, "hi") | fields)
    assert reply.status == 200, reply.body


async def test_nothing_is_kept_whatever_was_asked_for() -> None:
    road = Road()
    assert (await road.post("responses", ask("responses", "hi", store=True))).status == 200
    assert road.engine.requests[0].document["store"] is False
