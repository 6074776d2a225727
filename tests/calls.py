"""Calls as clients make them, in every dialect, and what is in the answers."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from tests.process import AUTH, Engine, Gateway

Json = dict[str, Any]
MODEL = "gemma-3-270m"
PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}
DIALECTS = pytest.mark.parametrize("dialect", list(PATHS))


def content_type(path: str) -> dict[str, str]:
    """The header of a route's requests."""
    form = "multipart/form-data; boundary=x"
    return {"content-type": form if path.startswith("/v1/audio/") else "application/json"}


def ask(dialect: str, text: str, **more: Any) -> Json:
    """A request body that asks ``text``."""
    body: Json = {"model": MODEL, **more}
    if dialect == "completions":
        return {"prompt": text, **body}
    if dialect == "responses":
        return {"input": text, **body}
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 100, **body}


async def post(
    gateway: Gateway, dialect: str, body: Any, headers: dict[str, str] = AUTH
) -> tuple[int, bytes, aiohttp.typedefs.LooseHeaders]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    path = PATHS.get(dialect, dialect)
    kind = {"content-type": "application/json"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(gateway.url + path, data=data, headers={**kind, **headers}) as reply,
    ):
        return reply.status, await reply.read(), reply.headers


async def state(engine: Engine) -> Json:
    async with aiohttp.ClientSession() as session, session.get(engine.url + "/_state") as reply:
        return dict(await reply.json())


def events(raw: bytes) -> list[Any]:
    """The decoded data of every event; ``[DONE]`` as that text."""
    found = []
    for block in raw.decode().split("\n\n"):
        for line in block.splitlines():
            if line.startswith("data:"):
                data = line[5:].strip()
                found.append(data if data == "[DONE]" else json.loads(data))
    return found


def streamed(dialect: str, docs: list[Any]) -> str:
    """All the text that a reader of the stream has seen."""
    text = ""
    for doc in docs:
        if doc == "[DONE]":
            continue
        if dialect == "chat":
            text += "".join(c["delta"].get("content") or "" for c in doc.get("choices", ()))
        elif dialect == "completions":
            text += "".join(c["text"] for c in doc.get("choices", ()))
        elif dialect == "responses" and doc["type"] == "response.output_text.delta":
            text += doc["delta"]
        elif dialect == "messages" and doc["type"] == "content_block_delta":
            text += doc["delta"].get("text", "")
    return text


def whole(dialect: str, doc: Json) -> str:
    """The text of a whole answer."""
    if dialect == "chat":
        return doc["choices"][0]["message"]["content"] or ""
    if dialect == "completions":
        return str(doc["choices"][0]["text"])
    if dialect == "responses":
        items = [i for i in doc["output"] if i["type"] == "message"]
        return "".join(p["text"] for i in items for p in i["content"])
    return "".join(b["text"] for b in doc["content"] if b["type"] == "text")


def ending(dialect: str, docs: list[Any]) -> Any:
    """How the stream says why it ended, and whether it ended cleanly."""
    if dialect in ("chat", "completions"):
        reasons = [
            c["finish_reason"] for d in docs if d != "[DONE]" for c in d.get("choices", ())
            if c.get("finish_reason")
        ]  # fmt: skip
        return (reasons[-1] if reasons else None), docs[-1] == "[DONE]"
    if dialect == "responses":
        last = docs[-1]
        response = last.get("response", {})
        details = response.get("incomplete_details") or {}
        return details.get("reason") or response.get("status"), last["type"]
    reasons = [d["delta"]["stop_reason"] for d in docs if d["type"] == "message_delta"]
    return (reasons[-1] if reasons else None), docs[-1]["type"]


REFUSED = {
    "chat": ("content_filter", True),
    "completions": ("content_filter", True),
    "responses": ("content_filter", "response.incomplete"),
    "messages": ("refusal", "message_stop"),
}


async def metrics(gateway: Gateway) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.get(gateway.url + "/metrics") as reply,
    ):
        return await reply.text()
