"""Write what the Helm chart takes from elsewhere; ``--check``: only compare.

The table of its README comes from the comments in values.yaml, its alert rules and its dashboard
from deploy/: a chart can't read outside its own folder, so it has copies.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
CHART = ROOT / "helm" / "gemma-gateway"
BEGIN, END = "<!-- values -->", "<!-- /values -->"
COPIES = {
    ROOT / "deploy" / "prometheus" / "rules.yaml": CHART / "files" / "rules.yaml",
    ROOT / "deploy" / "grafana" / "dashboard.json": CHART / "files" / "dashboard.json",
}


def table() -> str:
    """A Markdown table of all values: name, default and the comment above each."""
    rows = ["| Value | Default | Meaning |", "|---|---|---|"]
    rows += [f"| `{name}` | {default} | {meaning} |" for name, default, meaning in values()]
    return "\n".join(rows)


def values() -> Iterator[tuple[str, str, str]]:
    """Leaves of values.yaml: name, default, meaning. A mapping on one line is one value."""
    path: list[str] = []
    comment: list[str] = []
    text = (CHART / "values.yaml").read_text("utf-8")
    whole = yaml.safe_load(text)
    for line in text.splitlines()[1:]:
        if said := re.match(r" *# (.*)", line):
            comment.append(said[1])
        elif found := re.match(r"((?:  )*)(\w+):(?: (.*))?$", line):
            depth = len(found[1]) // 2
            path[depth:] = [found[2]]
            value = whole
            for key in path:
                value = value[key]
            meaning, comment = " ".join(comment).replace("|", "\\|"), []
            if found[3] is None and isinstance(value, dict):
                if meaning:
                    yield ".".join(path), "", meaning
                continue
            default = json.dumps(value, ensure_ascii=False).replace("|", "\\|")
            yield ".".join(path), f"`{default}`", meaning
        elif not line.strip():
            comment = []


def _readme() -> str:
    text = (CHART / "README.md").read_text("utf-8")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


def wanted() -> dict[Path, str]:
    """Every file that this script writes, with what it must hold."""
    copies = {copy: source.read_text("utf-8") for source, copy in COPIES.items()}
    return {CHART / "README.md": _readme(), **copies}


def stale() -> list[str]:
    """Names of files that aren't what they must be."""
    return [
        str(file.relative_to(ROOT))
        for file, text in wanted().items()
        if not file.exists() or file.read_text("utf-8") != text
    ]


def main() -> int:
    """Rewrite or check."""
    if "--check" in sys.argv:
        for name in stale():
            print(f"{name} is stale: run 'python -m scripts.chart_readme'")
        return int(bool(stale()))
    for file, text in wanted().items():
        file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
