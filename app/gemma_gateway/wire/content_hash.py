"""What tells the contents of calls apart, where no content may be kept."""

from __future__ import annotations

import hashlib

from gemma_gateway.core.dialect import Message


def content_hash(messages: list[Message]) -> str:
    """First 16 hex digits of the SHA-256 of all texts, one a line: tells calls apart in logs."""
    texts = "\n".join(slot.text for message in messages for slot in message.slots)
    return hashlib.sha256(texts.encode("utf-8", "replace")).hexdigest()[:16]
