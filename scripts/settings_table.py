"""Write the tables of docs/settings.md from ``settings`` (``--check``: only compare)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from gemma_gateway.settings import SECTIONS, Settings, Tier
from gemma_gateway.settings.tier import BUILT_IN

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
BEGIN, END = "<!-- settings -->", "<!-- /settings -->"


def table() -> str:
    """The two Markdown tables: settings, and the fields of a tier."""
    rows = ["| Variable | Section | Default | Meaning |", "|---|---|---|---|"]
    sections = {name: section for section, part in SECTIONS.items() for name in part.model_fields}
    for name in [*sections, *(name for name in Settings.model_fields if name not in sections)]:
        field, section = Settings.model_fields[name], sections.get(name, "")
        shown = f"`{section}`" if section else ""
        variable = f"`GATEWAY_{name.upper()}`"
        rows.append(f"| {variable} | {shown} | {_default(field)} | {field.description} |")
    rows += ["", "A tier, under `tiers:` in the YAML file:", ""]
    rows += ["| Field | Default | In `open` | Meaning |", "|---|---|---|---|"]
    for name, field in Tier.model_fields.items():
        opened = _open(name)
        rows.append(f"| `{name}` | {_default(field)} | {opened} | {field.description} |")
    return "\n".join(rows)


def _open(name: str) -> str:
    """What the tier ``open`` has of its own."""
    fields = BUILT_IN["open"]
    if name not in fields:
        return ""
    value = fields[name]
    if isinstance(value, tuple):
        return "; ".join(f"{window['limit']:,} in {window['seconds']:,} s" for window in value)
    return "null" if value is None else f"`{value}`"


def _default(field: Any) -> str:
    value = field.default
    if value is PydanticUndefined or value in ("", (), None):
        return ""
    return f"`{value}`"


def main() -> int:
    """Rewrite or check the page."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    wanted = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if "--check" in sys.argv:
        if wanted != text:
            print("docs/settings.md is stale: run 'python -m scripts.settings_table'")
        return int(wanted != text)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
