"""Server-sent events, as engines and their clients write them (WHATWG HTML, 9.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

DONE = b"data: [DONE]\n\n"
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")


def event(doc: Any, name: str = "") -> bytes:
    """One server-sent event with a JSON document, and an ``event:`` line where it has a name."""
    head = b"event: " + name.encode() + b"\ndata: " if name else b"data: "
    return head + orjson.dumps(doc) + b"\n\n"


def payload(raw: bytes) -> bytes:
    """The data of one server-sent event: its ``data:`` lines joined; empty where it has none.

    Source: WHATWG HTML, "Interpreting an event stream".
    """
    if raw.startswith(b"data: ") and b"\n" not in raw[:-2] and b"\r" not in raw[:-4]:
        return raw[6:].strip()
    lines = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    datas = (line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
    return b"\n".join(datas).strip()


class Splitter:
    """Cuts a stream into its events.

    Attributes:
        rest: the beginning of an event that hasn't come to its end.
    """

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The events that end in the next bytes, blank line included."""
        searched = max(0, len(self.rest) - 3)  # a blank line may have begun in it
        data, start = self.rest + data, 0
        while (found := _BLANK_LINE.search(data, max(start, searched))) is not None:
            yield data[start : found.end()]
            start = found.end()
        self.rest = data[start:]
