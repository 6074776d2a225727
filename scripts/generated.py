"""Files that a script writes: put in place, or with ``--check`` only compared."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def section(text: str, name: str, content: str) -> str:
    """A Markdown text with other content between ``<!-- NAME -->`` and ``<!-- /NAME -->``."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, rest = text.split(begin)
    return f"{before}{begin}\n{content}\n{end}{rest.split(end)[1]}"


def put(file: Path, wanted: str) -> int:
    """Write a file, or check it; returns the exit status."""
    if "--check" not in sys.argv:
        file.write_text(wanted, "utf-8")
        return 0
    stale = file.read_text("utf-8") != wanted
    if stale:
        print(f"{file.relative_to(ROOT)} is out of date: run 'make generated'")
    return int(stale)
