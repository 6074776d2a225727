"""Write the table of a record's fields in docs/monitoring.md (``--check``: only compare)."""

from __future__ import annotations

import sys

from gemma_gateway.monitoring.views import CallView
from scripts.generated import ROOT, put, section

FILE = ROOT / "docs" / "monitoring.md"


def text() -> str:
    """The whole file, with the table as it must be."""
    rows = [f"| `{name}` | {field.description} |" for name, field in CallView.model_fields.items()]
    table = "\n".join(["| Field | Meaning |", "|---|---|", *rows])
    return section(FILE.read_text("utf-8"), "record", table)


if __name__ == "__main__":
    sys.exit(put(FILE, text()))
