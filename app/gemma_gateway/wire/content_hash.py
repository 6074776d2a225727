"""What tells the contents of calls apart, where no content may be kept."""

from __future__ import annotations

import hashlib


def content_hash(texts: list[str]) -> str:
    """First 16 hex digits of the SHA-256 of all texts, one a line."""
    return hashlib.sha256("\n".join(texts).encode("utf-8", "replace")).hexdigest()[:16]
