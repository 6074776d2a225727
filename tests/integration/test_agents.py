"""Coding agents as they are, with the key that `make serve` makes: whole sessions, large files."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.examples import EXAMPLES, Shell, module, node
from tests.loopback import Json, Loopback
from tests.process import Gateway

LINE = "<script setup>let level = {n}</script> `{n}` <iframe></iframe> javascript: tide {n}"
FILE = "\n".join(LINE.format(n=n) for n in range(320))
LAST = "The keeper of the lighthouse is called Ada."
MODEL = "gemma-3-270m"


class Agent(Loopback):
    """A model that uses tools: ``call: NAME ARGUMENTS`` in a user's text is done, where the request
    offers that tool, and a tool's result is answered with its last line."""

    def __init__(self) -> None:
        super().__init__()
        self.results: list[str] = []

    async def _answer(self, request: web.Request, body: Json, script: Json) -> web.StreamResponse:
        items = body.get("messages") or body["input"]
        last = [item for item in items if item.get("role") not in ("system", "developer")][-1]
        result = found(last)
        if result is not None:
            self.results.append(result)
            lines = [line for line in result.splitlines() if "Ada" in line] or ["Done."]
            script = {"pieces": lines[-1:]}
        elif wanted := re.search(r"^call: (\w+) (\{.*\})$", words(last), re.MULTILINE):
            script = {"tools": [[wanted[1], [wanted[2]]]], "pieces": []}
        return await super()._answer(request, body, script)


def words(message: Json) -> str:
    """The texts of a message, one below the other."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content)


def found(message: Json) -> str | None:
    """What a tool has found; None: this is no tool's result."""
    if message.get("type") == "function_call_output":
        return told(message["output"])
    if message.get("role") == "tool":
        return told(message["content"])
    parts = message.get("content")
    if isinstance(parts, list):
        for part in parts:
            if part.get("type") == "tool_result":
                return told(part["content"])
    return None


def told(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content)


@pytest.fixture
async def model() -> AsyncIterator[Agent]:
    async with Agent() as engine:
        yield engine


@pytest.fixture
async def gateway(model: Agent, tmp_path: Path) -> AsyncIterator[Gateway]:
    """With the key that it makes itself where it is given none."""
    process = Gateway(tmp_path / "gateway", upstreams=model.url, api_keys="")
    await asyncio.to_thread(process.__enter__)
    yield process
    await asyncio.to_thread(process.stop)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with two files of more than 20 kB."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("notes.md", "Tide.vue"):
        (folder / name).write_text(f"{FILE}\n{name}: {LAST}\n", "utf-8")
    assert len(FILE) > 20_000
    return folder


@pytest.fixture
def shell(gateway: Gateway, project: Path, tmp_path: Path) -> Shell:
    key = (tmp_path / "gateway" / "api_key").read_text("utf-8").strip()
    return Shell(gateway.url, key, project)


def call(tool: str, **arguments: object) -> str:
    return f"call: {tool} {json.dumps(arguments)}"


async def test_claude_code(shell: Shell, model: Agent, project: Path) -> None:
    read = call("Read", file_path=str(project / "notes.md"))
    assert f"notes.md: {LAST}" in await shell.claude(read)
    read = call("Read", file_path=str(project / "Tide.vue"))
    assert f"Tide.vue: {LAST}" in await shell.claude("--continue", read)
    assert len(model.results) == 2
    assert all(line in result for result in model.results for line in FILE.splitlines())
    write = call("Write", file_path=str(project / "log.md"), content=FILE)
    await shell.claude("--continue", "--permission-mode", "acceptEdits", write)
    assert (project / "log.md").read_text("utf-8") == FILE
    assert len(model.state.body["messages"]) >= 10


async def test_codex(shell: Shell, model: Agent, project: Path) -> None:
    # It cuts what tools print to a few kB unless told otherwise.
    whole = ["--config", "tool_output_token_limit=20000"]
    read = call("exec_command", cmd="cat notes.md", max_output_tokens=20_000)
    assert f"notes.md: {LAST}" in await shell.codex(*whole, read)
    read = call("exec_command", cmd="cat Tide.vue", max_output_tokens=20_000)
    assert f"Tide.vue: {LAST}" in await shell.codex("resume", *whole, "--last", read)
    assert len(model.results) == 2
    assert all(line in result for result in model.results for line in FILE.splitlines())


async def test_continue(
    gateway: Gateway, shell: Shell, model: Agent, project: Path, tmp_path: Path
) -> None:
    text = (EXAMPLES / "continue.yaml").read_text("utf-8")
    config = tmp_path / "continue.yaml"
    config.write_text(text.replace("http://127.0.0.1:8000", gateway.url), "utf-8")
    program = str(module("@continuedev/cli/dist/cn.js"))
    read = call("Read", filepath=str(project / "notes.md"))
    printed = await shell.run(node(), program, "--config", str(config), "--print", read)
    assert f"notes.md: {LAST}" in printed
    (result,) = model.results
    assert all(line in result for line in FILE.splitlines())
