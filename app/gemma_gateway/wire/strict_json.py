"""Request bodies to JSON objects, strictly, without a way to make the reader slow or deep.

Two servers that read one body differently are a hole: the policy would judge one text and the
engine would see another. So what JSON parsers disagree on (duplicate keys, numbers past 64 bits,
lone surrogates, NaN) is refused here, and the engine gets our own serialisation of what was read.

orjson refuses bad UTF-8, byte order marks, NaN, infinities, lone surrogates and trailing data by
itself, and nests at most 1,024 deep. The rest is checked with counts over bytes, which run at C
speed: about 5 us for a usual body. What stands in a body is bounded by number before any of it is
built, so that none becomes many times as large in memory.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from gemma_gateway.core.dialect import Json
from gemma_gateway.wire.openai.openai import invalid

# Possessive, so that no input makes it go back.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_LONG_NUMBER = re.compile(rb"[\d.eE+-]{19,}+")
_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
_LOWEST, _HIGHEST = -(2**63), 2**64 - 1
_MAX_MARKS = 200_000  # brackets, colons, commas: more than any context's worth of token ids
_MAX_BRACKETS = 40_000  # objects and lists: 80 to 240 bytes each, for as few as three of the body
_MAX_STRINGS = 40_000  # keys among them
_NAMED_UP_TO = 64 * 1024  # bytes: longer bodies don't get their duplicate key named


def loads(raw: bytes, max_depth: int) -> Json:
    """Decode a request body.

    Args:
        raw: the body's bytes, already bounded in size.
        max_depth: how many arrays and objects may stand inside one another.

    Raises:
        GatewayError: VALIDATION_ERROR with a plain message; nothing else ever.
    """
    brackets, colons = raw.count(b"[") + raw.count(b"{"), raw.count(b":")
    if len(raw) > _MAX_BRACKETS:  # else there is no room for too many
        many = brackets > _MAX_BRACKETS or raw.count(b'"') > 2 * _MAX_STRINGS
        if many or brackets + colons + raw.count(b",") > _MAX_MARKS:
            _check_numbers(raw)
    try:
        doc = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise invalid(_reason(raw, error)) from None
    except (RecursionError, MemoryError):
        raise invalid("The body is nested too deeply.") from None
    if not isinstance(doc, dict):
        raise invalid("The body must be a JSON object.")
    if b"0" * 19 in raw.translate(_ZEROS):
        _check_integers(raw)
    if brackets > max_depth:
        _check_depth(doc, max_depth)
    try:
        again = orjson.dumps(doc)
    except TypeError:  # it writes half as deep as it reads
        raise invalid("The body is nested too deeply.") from None
    _check_keys(raw, colons, again)
    return doc


def _reason(raw: bytes, error: orjson.JSONDecodeError) -> str:
    if not raw.strip():
        return "The body is empty; send a JSON object."
    text = str(error)
    if "UTF-8" in text:
        return "The body must be UTF-8 without a byte order mark."
    if "surrogate" in text:
        return "The body holds half a surrogate pair; strings must be valid Unicode."
    if "infinity" in text:
        return "The body holds a number that is too large."
    if "depth" in text:
        return "The body is nested too deeply."
    return f"The body is not valid JSON (line {error.lineno}, column {error.colno})."


def _bare(raw: bytes) -> bytes:
    """The body without its strings: structure, numbers, literals."""
    return _STRING.sub(b"", raw)


def _check_numbers(raw: bytes) -> None:
    """Bound the number of values before any of them is built."""
    bare, strings = _STRING.subn(b"", raw, _MAX_STRINGS + 1)
    if strings > _MAX_STRINGS:
        raise invalid(f"The body holds more than {_MAX_STRINGS} strings.")
    brackets = bare.count(b"[") + bare.count(b"{")
    if brackets > _MAX_BRACKETS:
        raise invalid(f"The body holds more than {_MAX_BRACKETS} objects and lists.")
    if brackets + bare.count(b":") + bare.count(b",") > _MAX_MARKS:
        raise invalid(f"The body holds more than {_MAX_MARKS} values.")


def _check_integers(raw: bytes) -> None:
    """orjson makes a float of an integer past 64 bits; the engine's parser might not."""
    for found in _LONG_NUMBER.finditer(_bare(raw)):
        digits = found[0].removeprefix(b"-")
        if digits.isdigit() and (len(digits) > 20 or not _LOWEST <= int(found[0]) <= _HIGHEST):
            raise invalid("The body holds an integer that does not fit 64 bits.")


def _check_depth(doc: Json, max_depth: int) -> None:
    level: list[Any] = [doc]
    for _ in range(max_depth):
        level = [
            value
            for node in level
            for value in (node.values() if node.__class__ is dict else node)
            if value.__class__ is dict or value.__class__ is list
        ]
        if not level:
            return
    raise invalid(f"The body is nested too deeply: at most {max_depth} levels.")


def _check_keys(raw: bytes, colons: int, again: bytes) -> None:
    """A key that stands twice in one object costs the body, written again, a colon or more."""
    # a colon may be written as an escape: count outside of strings only
    if b"\\" in raw and b"\\u003" in raw:
        twice = _bare(raw).count(b":") != _bare(again).count(b":")
    else:
        twice = colons != again.count(b":")
    if twice:
        name = _duplicate(raw) if len(raw) <= _NAMED_UP_TO else None
        raise invalid("A key appears twice in one object of the body.", name)


def _duplicate(raw: bytes) -> str | None:
    """The first key that stands twice in its object."""
    found: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in items:
            if key in seen:
                found.append(key)
                raise ValueError
            seen.add(key)

    try:
        json.loads(raw, object_pairs_hook=pairs)
    except (ValueError, RecursionError):
        return found[0] if found else None
    return None
