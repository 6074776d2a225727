"""Request bodies to JSON objects, strictly, without a way to make the reader slow or deep.

Two servers that read one body differently are a hole: the policy would judge one text and the
engine would see another. So what JSON parsers disagree on (duplicate keys, numbers past 64 bits,
NaN) is refused here, and the engine gets our own serialisation of what was read. Half a surrogate
pair, which a client leaves where it cuts a text, becomes U+FFFD: refused, it would end an agent's
conversation for good. A byte order mark before the body is passed over (RFC 8259, 8.1).

orjson refuses bad UTF-8, byte order marks, NaN, infinities, lone surrogates and trailing data by
itself, and nests at most 1,024 deep. The rest is checked with counts over bytes, which run at C
speed: about 5 us for a usual body. What stands in a body is bounded by number before any of it is
built, so that none becomes many times as large in memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import islice
from math import inf, isinf
from typing import Any

import orjson

from gemma_gateway.core.call import Change
from gemma_gateway.core.dialect import Json, Where
from gemma_gateway.wire.openai.openai import invalid
from gemma_gateway.wire.place import place

# Possessive, so that no input makes it go back.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_LONG_NUMBER = re.compile(rb"[\d.eE+-]{19,}+")
_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
_LOWEST, _HIGHEST = -(2**63), 2**64 - 1
_MAX_MARKS = 200_000  # brackets, colons, commas: more than any context's worth of token ids
_MAX_BRACKETS = 40_000  # objects and lists: 80 to 240 bytes each, for as few as three of the body
_MAX_STRINGS = 40_000  # keys among them
_NAMED_UP_TO = 64 * 1024  # bytes: longer bodies don't get the place of what is wrong named
_MOST_PLACES = 16  # of what was replaced are told
_MARK = b"\xef\xbb\xbf"
# Escapes of surrogates in a row (the group), or all that stands between such.
_ESCAPES = re.compile(
    rb"((?:\\u[dD][89a-fA-F][0-9a-fA-F]{2})++)|(?:[^\\]++|\\(?!u[dD][89a-fA-F]).)++", re.DOTALL
)


def loads(raw: bytes, max_depth: int, changes: list[Change] | None = None) -> Json:
    """Decode a request body.

    Args:
        raw: the body's bytes, already bounded in size.
        max_depth: how many arrays and objects may stand inside one another.
        changes: gets the places of halves of surrogate pairs, which become U+FFFD; None: they are
            refused.

    Raises:
        GatewayError: VALIDATION_ERROR with a plain message; nothing else ever.
    """
    try:
        return _read(raw, max_depth)
    except orjson.JSONDecodeError as error:
        if raw.startswith(_MARK):
            raw = raw[len(_MARK) :]
        elif "surrogate" not in str(error) or changes is None:
            raise invalid(*_reason(raw, error)) from None
    whole = raw if changes is None else _ESCAPES.sub(_paired, raw)
    try:
        doc = _read(whole, max_depth)
    except orjson.JSONDecodeError as error:
        raise invalid(*_reason(whole, error)) from None
    if changes is not None and whole != raw:
        texts = _places(doc, lambda value: value.__class__ is str and "\ufffd" in value)
        changes += [Change(where, "replaced") for where in islice(texts, _MOST_PLACES)]
    return doc


def _read(raw: bytes, max_depth: int) -> Json:
    """The same for a body that needs no mending.

    Raises:
        orjson.JSONDecodeError: it is no JSON.
        GatewayError: all that ``loads`` raises beside.
    """
    brackets, colons = raw.count(b"[") + raw.count(b"{"), raw.count(b":")
    if len(raw) > _MAX_BRACKETS:  # else there is no room for too many
        many = brackets > _MAX_BRACKETS or raw.count(b'"') > 2 * _MAX_STRINGS
        if many or brackets + colons + raw.count(b",") > _MAX_MARKS:
            _check_numbers(raw)
    try:
        doc = orjson.loads(raw)
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


def _paired(found: re.Match[bytes]) -> bytes:
    """Surrogates as the characters that they are in pairs; each other half as U+FFFD."""
    if not found[1]:
        return found[0]
    halves = found[1].decode("unicode_escape").encode("utf-16", "surrogatepass")
    return halves.decode("utf-16", "replace").encode()


def _reason(raw: bytes, error: orjson.JSONDecodeError) -> tuple[str, str | None]:
    """What is wrong with a body, and where, as far as that can be said."""
    if not raw.strip():
        return "The body is empty; send a JSON object.", None
    text = str(error)
    if "UTF-8" in text:
        return "The body must be UTF-8.", None
    if "infinity" in text:
        return "The body holds a number that is too large.", _large_number(raw)
    if "depth" in text:
        return "The body is nested too deeply.", None
    return f"The body is not valid JSON (line {error.lineno}, column {error.colno}).", None


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
            words = "The body holds an integer that does not fit 64 bits."
            raise invalid(words, _large_number(raw))


def _large_number(raw: bytes) -> str | None:
    """The place of the first number that is past 64 bits, or past all floats."""
    if len(raw) > _NAMED_UP_TO:
        return None
    try:
        doc = json.loads(raw, parse_int=_infinite, parse_float=float)
    except (ValueError, RecursionError):
        return None
    return next(_places(doc, lambda value: value.__class__ is float and isinf(value)), None)


def _infinite(digits: str) -> float:
    """An integer's text: infinite where it is past 64 bits, and else nothing to look for."""
    return 0.0 if len(digits) <= 20 and _LOWEST <= int(digits) <= _HIGHEST else inf


def _places(doc: Any, wanted: Callable[[Any], bool]) -> Iterator[str]:
    """Where the values of a document stand that are wanted, in order."""
    stack: list[tuple[Any, Where]] = [(doc, "")]
    while stack:
        node, at = stack.pop()
        if wanted(node):
            yield place(at).removeprefix(".")
        elif node.__class__ is dict:
            stack.extend((value, (at, key)) for key, value in reversed(node.items()))
        elif node.__class__ is list:
            stack.extend((value, (at, key)) for key, value in reversed([*enumerate(node)]))


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
