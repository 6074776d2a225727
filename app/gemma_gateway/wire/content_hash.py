"""What tells the contents of calls apart, where no content may be kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from gemma_gateway.core.dialect import Media, Message


def content_hash(messages: Iterable[Message], media: list[Media] | None = None) -> str:
    """First 16 hex digits of the SHA-256 of all texts, one a line, and of the media after them.

    Args:
        media: gets the media.
    """
    texts: list[str] = []
    media = [] if media is None else media
    for message in messages:
        for part in message.texts:
            texts.append(part.text)  # noqa: PERF401 - there is mostly one: a list costs more
        if message.media:
            media += message.media
    digest = hashlib.sha256("\n".join(texts).encode("utf-8", "replace"))
    for each in media:
        digest.update(b"\0" + hashlib.sha256(each.data.encode("utf-8", "replace")).digest())
    return digest.hexdigest()[:16]
