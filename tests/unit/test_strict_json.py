"""Request bodies: what is read, what is refused, and how fast."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_gateway.core.call import Change
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.wire.strict_json import loads
from tests.growth import TIMES, is_linear

DEPTH = 64
MIB = 1024 * 1024


def refusal(raw: bytes, depth: int = DEPTH) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        loads(raw, depth, [])
    assert caught.value.code is Code.VALIDATION_ERROR
    return caught.value


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"", "empty"),
        (b" \n\t", "empty"),
        (b"[]", "object"),
        (b'"text"', "object"),
        (b"null", "object"),
        (b"{", "line 1"),
        (b"{} {}", "not valid JSON"),
        (b'{"a":1,}', "not valid JSON"),
        (b"{'a':1}", "not valid JSON"),
        (b'{"a":NaN}', "not valid JSON"),
        (b'{"a":Infinity}', "not valid JSON"),
        (b'{"a":-Infinity}', "not valid JSON"),
        (b'{"a":01}', "not valid JSON"),
        (b'{"a":"\x01"}', "not valid JSON"),
        (b'{"a":1e999}', "too large"),
        (b'{"a":-1e999}', "too large"),
        (b'{"a":"\xff"}', "UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "UTF-8"),
        (b"\xef\xbb\xbf\xef\xbb\xbf{}", "UTF-8"),
        (b"\xef\xbb\xbf", "empty"),
        (b'\xef\xbb\xbf{"a":1,"a":2}', "twice"),
        (b'{"\\ud800":1,"\\udfff":2}', "twice"),
        (b'{"a":"\\ud800\xff"}', "UTF-8"),
        (b'{"a":18446744073709551616}', "64 bits"),
        (b'{"a":[-9223372036854775809]}', "64 bits"),
        (b'{"a":' + b"9" * 300 + b"}", "64 bits"),
        (b'{"a":' + b"9" * 5000 + b"}", "too large"),
    ],
)
def test_refused_with_a_plain_reason(raw: bytes, word: str) -> None:
    assert word in refusal(raw).message


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (b'{"a":1,"a":1}', "a"),
        (b'{"a":{"b":[{"c":1,"c":2}]}}', "c"),
        (b'{"messages":[],"messages":[{"role":"user"}]}', "messages"),
        (b'{"a":1,"\\u0061":2}', "a"),
        (b'{"a:b":":","a\\u003ab":"::"}', "a:b"),
        (b'{"x":"\\u003a","a":{},"a":{}}', "a"),
        (b'{"":1,"":2}', ""),
    ],
)
def test_a_key_that_stands_twice_is_named(raw: bytes, key: str) -> None:
    error = refusal(raw)
    assert "twice" in error.message
    assert error.param == key


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (b"18446744073709551616", "64 bits"),
        (b"-9223372036854775809", "64 bits"),
        (b"9" * 300, "64 bits"),
        (b"9" * 5000, "too large"),
        (b"1e999", "too large"),
    ],
)
@pytest.mark.parametrize(
    ("around", "param"),
    [
        (b'{"seed":%s}', "seed"),
        (b'{"model":"m","stop_token_ids":[1,%s]}', "stop_token_ids.1"),
        (b'{"messages":[{"tool_calls":[{"index":%s}]}],"seed":18446744073709551615}',
         "messages.0.tool_calls.0.index"),
    ],
)  # fmt: skip
def test_a_number_that_is_too_large_is_named(
    number: bytes, word: str, around: bytes, param: str
) -> None:
    error = refusal(around % number)
    assert word in error.message
    assert error.param == param


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (r"cut \ud83d", "cut \ufffd"),
        (r"\ude00 cut", "\ufffd cut"),
        (r"\uDE00\uD83D", "\ufffd\ufffd"),
        (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (r"\ud83d\ude00", "\U0001f600"),
        (r"\\ud83d \ud83d", r"\ud83d " + "\ufffd"),
        (r"\\\ud83d\n", "\\\ufffd\n"),
        (r"\ud83d\u0041", "\ufffdA"),
    ],
)
def test_half_a_pair_is_replaced(escaped: str, text: str) -> None:
    changes: list[Change] = []
    raw = rb'{"a":"b","messages":[{"content":"%s"}]}' % escaped.encode()
    assert loads(raw, DEPTH, changes) == {"a": "b", "messages": [{"content": text}]}
    assert changes == ([Change("messages.0.content", "replaced")] if "\ufffd" in text else [])


def test_what_was_replaced_is_told_within_bounds() -> None:
    changes: list[Change] = []
    assert loads(listed(rb'"\ud800"', 1000), DEPTH, changes)
    assert [where for where, _ in changes] == [f"a.{n}" for n in range(16)]


def test_a_byte_order_mark_is_passed_over() -> None:
    changes: list[Change] = []
    assert loads(b'\xef\xbb\xbf{"a":"\\ud800"}', DEPTH, changes) == {"a": "\ufffd"}
    assert changes == [Change("a", "replaced")]
    assert loads(b'\xef\xbb\xbf {"a":"\xef\xbb\xbf"}', DEPTH) == {"a": "\ufeff"}


def test_colons_in_strings_are_no_keys() -> None:
    doc = {"a": ":::", "b:": '":"', "c": ["\\u003a", "\\:"], "d": "\\"}
    assert loads(json.dumps(doc).encode(), DEPTH) == doc
    assert loads(b'{"a":"\\u003a:"}', DEPTH) == {"a": "::"}


def test_numbers_at_the_edge_are_read() -> None:
    raw = (
        b'{"a":18446744073709551615,"b":-9223372036854775808,"c":1e300,"d":"99999999999999999999"}'
    )
    assert loads(raw, DEPTH) == {
        "a": 2**64 - 1,
        "b": -(2**63),
        "c": 1e300,
        "d": "99999999999999999999",
    }
    assert loads(b'{"a":0.12345678901234567890123,"b":1000000000000000000000.5}', DEPTH)


def test_depth_is_exact() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' * (levels - 1) + b"[]" + b"}" * (levels - 1)

    assert loads(nested(8), 8)
    assert "at most 8 levels" in refusal(nested(9), 8).message
    braces = json.dumps({"a": "[{" * 500, "b": [[1], [2]] * 50}).encode()
    assert loads(braces, 8)
    assert "deep" in refusal(nested(400), 512).message  # deeper than orjson writes
    refusal(nested(1000))
    refusal(nested(5000))


def wide(unit: bytes, size: int) -> bytes:
    return b'{"a":[' + b",".join([unit] * (size // (len(unit) + 1))) + b"]}"


BOMBS: dict[str, Callable[[int], bytes]] = {
    "brackets": lambda size: b"[" * size,
    "closed brackets": lambda size: b"[" * (size // 2) + b"]" * (size // 2),
    "lists": lambda size: wide(b"[]", size),
    "objects": lambda size: wide(b"{}", size),
    "pairs": lambda size: wide(b'{"":0}', size),
    "duplicates": lambda size: wide(b'{"a":0,"a":0}', size),
    "towers": lambda size: wide(b"[" * 60 + b"]" * 60, size),
    "empty strings": lambda size: wide(b'""', size),
    "quotes": lambda size: b'"' * size,
    "backslashes": lambda size: b'{"a":"' + b"\\" * size + b'"}',
    "escapes": lambda size: b'{"a":"' + b"\\n" * (size // 2) + b'\\u003a[[[[[[[["}',
    "digits": lambda size: b'{"a":' + b"9" * size + b"}",
    "fraction": lambda size: b'{"a":0.' + b"9" * size + b"}",
    "integers": lambda size: wide(b"1234567890123456789", size),
    "outer duplicate": lambda size: b'{"a":0,"a":' + wide(b'"x"', size) + b"}",
    "halves": lambda size: b'{"a":"' + b"\\ud800" * (size // 6) + b'"}',
    "keys": lambda size: b"{" + b",".join(b'"%d":0' % i for i in range(size // 12)) + b"}",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_take_linear_time(name: str) -> None:
    def read(size: int) -> None:
        try:
            loads(BOMBS[name](size), DEPTH)
        except GatewayError as error:
            assert error.code is Code.VALIDATION_ERROR  # noqa: PT017

    assert is_linear(read, 2 * MIB // TIMES)


def listed(unit: bytes, count: int) -> bytes:
    return b'{"a":[' + b",".join([unit] * count) + b"]}"


@pytest.mark.parametrize(
    ("unit", "most", "word"),
    [
        (b'"x"', 39_999, "strings"),
        (b"[]", 39_998, "objects and lists"),
        (b"{}", 39_998, "objects and lists"),
        (b"1", 199_998, "values"),
        (rb'"\\\""', 39_999, "strings"),
        (b'"[{:,"', 39_999, "strings"),
    ],
)
def test_what_stands_in_a_body_is_bounded_by_number(unit: bytes, most: int, word: str) -> None:
    assert loads(listed(unit, most), DEPTH)
    assert word in refusal(listed(unit, most + 1)).message


def test_structure_in_strings_is_not_counted() -> None:
    for text in (b"[" * 300_000, b",:" * 300_000, rb"\"" * 300_000):
        assert loads(b'{"a":"' + text + b'"}', DEPTH)


def strict_reference(raw: bytes) -> object:
    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        if len({key for key, _ in items}) != len(items):
            raise ValueError("twice")
        return dict(items)

    return json.loads(raw, object_pairs_hook=pairs)


keys = st.sampled_from(["a", "b", ":", "\\", '"', "é"])
leaf = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=6)
trees = st.recursive(
    leaf,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(st.tuples(keys, inner), max_size=3).map(lambda items: ("pairs", items))
    ),
    max_leaves=12,
)


def write(tree: object, ascii_only: bool) -> str:
    if isinstance(tree, tuple):
        body = ",".join(
            json.dumps(key, ensure_ascii=ascii_only) + ":" + write(value, ascii_only)
            for key, value in tree[1]
        )
        return "{" + body + "}"
    if isinstance(tree, list):
        return "[" + ",".join(write(item, ascii_only) for item in tree) + "]"
    return json.dumps(tree, ensure_ascii=ascii_only)


@given(st.lists(st.tuples(keys, trees), max_size=3), st.booleans())
def test_agrees_with_a_reader_that_looks_at_every_key(
    items: list[tuple[str, object]], ascii_only: bool
) -> None:
    raw = write(("pairs", items), ascii_only).replace("a", "\\u0061" if ascii_only else "a")
    raw = raw.replace('":"', '"\\u003a"') if ascii_only else raw
    encoded = raw.encode("utf-8", "surrogatepass")
    try:
        expected = strict_reference(encoded)
    except ValueError:
        expected = None
    if expected is None:
        refusal(encoded)
    else:
        assert loads(encoded, DEPTH) == expected


@given(st.binary(max_size=200))
def test_bytes_never_raise_anything_else(raw: bytes) -> None:
    try:
        assert isinstance(loads(raw, DEPTH), dict)
    except GatewayError as error:
        assert error.code is Code.VALIDATION_ERROR  # noqa: PT017
