"""A JSON document or a table, written piece by piece: its size doesn't matter for the memory."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterable
from typing import Any

import orjson

PIECE = 64 * 1024  # bytes that are gathered before they are sent
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets take for the beginning of one


class JsonObject:
    """Writes one JSON object member by member; always a whole one, however a member's source ends.

    To be used as ``async for piece in object.array(...)``, ``object.member(...)``, and
    ``object.end()`` at last.
    """

    def __init__(self) -> None:
        self._begun = False

    def member(self, name: str, value: Any) -> bytes:
        """One member.

        Args:
            name: its name.
            value: anything that orjson writes.
        """
        return self._name(name) + orjson.dumps(value)

    async def array(self, name: str, items: AsyncIterator[Any]) -> AsyncIterator[bytes]:
        """A member that is an array.

        Args:
            name: its name.
            items: what orjson writes. It should end, not raise: what was written stands.
        """
        pieces, size, separator = [self._name(name), b"["], 0, b"\n"
        async for item in items:
            text = orjson.dumps(item)
            pieces += (separator, text)
            size += len(text)
            separator = b",\n"
            if size >= PIECE:
                yield b"".join(pieces)
                pieces, size = [], 0
        pieces.append(b"]")
        yield b"".join(pieces)

    def end(self) -> bytes:
        """The end of the object."""
        return b"}\n" if self._begun else b"{}\n"

    def _name(self, name: str) -> bytes:
        start = b",\n" if self._begun else b"{"
        self._begun = True
        return start + orjson.dumps(name) + b":"


async def table(
    columns: Iterable[str], rows: AsyncIterator[dict[str, Any]]
) -> AsyncIterator[bytes]:
    """A CSV table (RFC 4180) in UTF-8.

    Args:
        columns: the names of the columns, which are the rows' keys.
        rows: the rows; texts that a spreadsheet would take for a formula get a ``'`` before them.
    """
    out = io.StringIO()
    names = list(columns)
    writer = csv.writer(out)
    writer.writerow(names)
    async for row in rows:
        writer.writerow([_cell(row[name]) for name in names])
        if out.tell() >= PIECE:
            yield out.getvalue().encode()
            out.seek(0)
            out.truncate()
    yield out.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(FORMULA):
        return "'" + value
    return value
