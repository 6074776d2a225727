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


# With a part of their tools: all are ten thousand tokens more, which a CPU reads for a minute.


async def test_claude_code(shell: Shell) -> None:
    assert await shell.claude("--tools", "Read", "--", "Say hello.")


async def test_codex(shell: Shell) -> None:
    part = ["--disable", "multi_agent", "--disable", "goals", "--disable", "skill_search"]
    assert "tokens used" in await shell.codex(*part, "Say hello.")
