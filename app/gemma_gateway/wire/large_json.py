"""JSON of an engine, of any size, read without holding up the event loop.

A thread only helps the event loop where it lets go of the interpreter, which a parser written in C
does not do before its end: 10 MB of logprobs take orjson 100 ms. So large documents are read by
Python's own parser, which calls back for every object, and are taken apart object by object.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import orjson

LARGE_BYTES = 1024 * 1024  # orjson reads so much in about 10 ms


def loads(raw: bytes) -> Any:
    """Decode a document.

    Raises:
        ValueError: it is no JSON.
    """
    if len(raw) <= LARGE_BYTES:
        return orjson.loads(raw)
    try:
        return json.loads(raw, object_hook=_same, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dismantle(doc: Any) -> None:
    """Empty all objects and lists of a document that nobody needs any more."""
    stack = [doc]
    while stack:
        node = stack.pop()
        if node.__class__ is dict:
            stack.extend(node.values())
            node.clear()
        elif node.__class__ is list:
            stack.extend(node)
            node.clear()


def _same(node: dict[str, Any]) -> dict[str, Any]:
    return node


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
