"""How much of the middle is tested, branches too: a table, and exit status 1 below the gate.

``make test`` runs it after the tests that are measured, in this process and in their children.
"""

from __future__ import annotations

import io
import sys

import coverage

LEAST = 95.0  # per cent
GATED = ("access", "limits", "pipeline", "safety", "validation", "wire")
SHOWN = (
    *("api", "core", "engines", "media", "monitoring", "alerts", "quality", "storage"),
    "settings",
)


def main() -> int:
    """Print the table; 1 where a gated package is below ``LEAST``."""
    found = coverage.Coverage()
    found.load()
    low = False
    for name in (*GATED, *SHOWN):
        out = io.StringIO()
        percent = found.report(include=[f"*/gemma_gateway/{name}/*"], file=out, skip_covered=True)
        gated = name in GATED
        print(f"{name:12} {percent:5.1f} %{'' if gated else '  (no gate)'}")
        if gated and percent < LEAST:
            low = True
            found.report(
                include=[f"*/gemma_gateway/{name}/*"], show_missing=True, skip_covered=True
            )
    if low:
        print(f"Below {LEAST:g} %: test what the lines above name.", file=sys.stderr)
    return int(low)


if __name__ == "__main__":
    sys.exit(main())
