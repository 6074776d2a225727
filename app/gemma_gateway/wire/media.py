"""The one rule for media: only what travels in the request itself. Nothing is loaded on a client's
behalf, neither here nor by an engine."""

from __future__ import annotations

from gemma_gateway.core.dialect import Where
from gemma_gateway.wire.openai.openai import invalid
from gemma_gateway.wire.place import place


def check_url(url: object, where: Where) -> None:
    """Raise VALIDATION_ERROR unless this is a data: URL."""
    if not isinstance(url, str) or url[:5].lower() != "data:":
        raise invalid(
            "Remote media is off: send a data: URL such as data:image/png;base64,...", place(where)
        )


def check_file(words: str, where: Where) -> None:
    """Raise VALIDATION_ERROR where a file part (all that is said in it) names a URL."""
    if "://" in words:
        raise invalid("Remote media is off: send the file itself, in base64.", place(where))
