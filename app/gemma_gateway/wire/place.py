"""Where something stands in a document, as errors say it."""

from __future__ import annotations

from gemma_gateway.core.dialect import Where


def place(where: Where) -> str:
    """A path as errors name it, its steps joined by dots."""
    steps: list[str] = []
    while where.__class__ is tuple:
        where, step = where
        steps.append(str(step))
    steps.append(str(where))
    return ".".join(reversed(steps))
