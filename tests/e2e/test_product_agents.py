"""Coding agents' first turn on real vLLM: it takes all that they send, and they end well."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import AGENT
from tests.examples import Shell
from tests.process import Gateway


@pytest.fixture
def shell(real: Gateway, tmp_path: Path) -> Shell:
    folder = tmp_path / "project"
    folder.mkdir()
    return Shell(real.url, AGENT, folder)


async def test_claude_code(shell: Shell) -> None:
    assert await shell.claude("Say hello.")


async def test_codex(shell: Shell) -> None:
    assert "tokens used" in await shell.codex("Say hello.")
