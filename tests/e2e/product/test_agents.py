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


# With a part of their tools and instructions: all are ten thousand tokens more, which a CPU reads
# for a minute. An answer that its bound cuts is none to an agent: it says so, and exits with 1.


async def test_claude_code(shell: Shell) -> None:
    printed = await shell.claude("--tools", "Read", "--", "Say hello.", status=None)
    assert printed
    assert "API Error" not in printed or "output token maximum" in printed


async def test_codex(shell: Shell, tmp_path: Path) -> None:
    brief = tmp_path / "brief.md"
    brief.write_text("You are a coding agent.", "utf-8")
    part = ["--disable", "multi_agent", "--disable", "goals", "--disable", "skill_search",
            "--config", f"model_instructions_file={brief}"]  # fmt: skip
    printed = await shell.codex(*part, "Say hello.", status=None)
    assert "tokens used" in printed
    assert "ERROR" not in printed or "reason: max_output_tokens" in printed
