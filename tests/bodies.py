"""Bodies and answers that are as hard to read as their size allows: what a hostile client sends."""

from __future__ import annotations

import json
import random
from typing import Any

MIB = 1024 * 1024
SIZE = 2 * MIB  # of a body: GATEWAY_MAX_BODY_BYTES by default
USER = b'{"messages":[{"role":"user","content":"hi"}],'


def _fill(start: bytes, unit: bytes, end: bytes, size: int, between: bytes = b",") -> bytes:
    """``unit`` again and again between a start and an end, up to a size."""
    room = size - len(start) - len(end)
    return start + between.join([unit] * (room // (len(unit) + len(between)))) + end


def _text(unit: str, size: int) -> bytes:
    """A message that says one thing again and again."""
    return _fill(b'{"messages":[{"role":"user","content":"', unit.encode(), b'"}]}', size, b"")


def _many(unit: bytes, size: int, count: int = 50) -> bytes:
    """So many messages with as many parts as there is room for."""
    parts = _fill(b"[", unit, b"]", size // count - 40)
    one = b'{"role":"user","content":' + parts + b"}"
    return b'{"messages":[' + b",".join([one] * count) + b"]}"


def _shuffled(size: int) -> str:
    """No character twice in a row of many thousands."""
    planes = [chr(c) for c in range(0x3400, 0xD7A0)]
    random.Random(7).shuffle(planes)
    return "".join((planes * 40)[: size // 3 - 100])


def bodies(size: int = SIZE) -> dict[str, bytes]:
    """Bodies for /v1/chat/completions by name, each of about ``size`` bytes."""
    leaves = b'{"messages":[{"role":"user","content":"hi"}],"tools":['
    schema = b'{"type":"function","function":{"name":"f","description":"d","parameters":'
    schema += b'{"type":"object","properties":{"a":{"type":"string","description":"x"}}}}}'
    call = {"type": "function", "id": "c", "function": {"name": "f", "arguments": "{}"}}
    image = b'{"type":"image_url","image_url":{"url":"data:image/png;base64,'
    return {
        "a long key over a list": leaves + b'{"' + b"k" * (size // 3) + b'":'
        + _fill(b"[", b'"a"', b"]", size - size // 3 - 100) + b"}]}",
        "a long key over few strings": leaves + b'{"' + b"k" * 100_000 + b'":'
        + _fill(b"[", b'"a"', b"]", min(40_000, size)) + b"}]}",
        "backslashed strings": _fill(leaves, rb'"\\a"', b"]}", size),
        "strings": _fill(leaves, b'"a"', b"]}", size),
        "strings up to the bound": _fill(leaves, b'"a"', b"]}", min(size, 150_000)),
        "numbers": _fill(USER + b'"x":[', b"7", b"]}", size),
        "floats": _fill(USER + b'"x":[', b"7.5e300", b"]}", size),
        "token ids up to the bound": _fill(USER + b'"x":[', b"123456", b"]}", min(size, 1_300_000)),
        "long integers": _fill(USER + b'"x":[', b"1234567890123456789", b"]}", size),
        "empty lists": _fill(USER + b'"x":[', b"[]", b"]}", size),
        "empty lists up to the bound": _fill(USER + b'"x":[', b"[]", b"]}", min(size, 110_000)),
        "empty objects": _fill(USER + b'"x":[', b"{}", b"]}", size),
        "pairs up to the bound": _fill(USER + b'"x":[', b'{"":0}', b"]}", min(size, 260_000)),
        "towers": _fill(USER + b'"x":[', b"[" * 60 + b"]" * 60, b"]}", size),
        "deep": b'{"a":' * (size // 6) + b"1" + b"}" * (size // 6),
        "keys": USER + b'"x":{' + b",".join(b'"%d":0' % i for i in range(size // 10)) + b"}}",
        "keys up to the bound": USER + b'"tools":[{'
        + b",".join(b'"%d":0' % i for i in range(min(size // 10, 19_000))) + b"}]}",
        "keys with long names": USER + b'"tools":[{'
        + b",".join(b'"%0250d":0' % i for i in range(size // 255 - 1)) + b"}]}",
        "one key twice": _fill(b"{", b'"a":0', b"}", size),
        "quotes": b'"' * size,
        "one text": _text("a", size),
        "one text of spaces": _text("a  ", size),
        "one text of Greek": _text("αβγ ", size),
        "one text of all characters": b'{"messages":[{"role":"user","content":"'
        + _shuffled(size).encode() + b'"}]}',
        "one text with one emoji": _text("a", size - 10)[:-4] + "😀".encode() + b'"}]}',
        "one text of escapes": _text(r"\u00e9", size),
        "one text of backslashes": _text("\\\\", size),
        "one text of colons": _text(":t", size),
        "one text of angle brackets": _text("<", size),
        "one text of tags": _text("<script></script>", size),
        "one text of nested tags": _text("<scr<script></script>ipt>", size),
        "one text of open tags": _text("<embed ", size),
        "one text of schemes": _text("javascript:", size),
        "one text of terms": _text("hate ", size),
        "terms beside": _fill(leaves + b'"', b"hate", b'"]}', size // 4, b""),
        "all characters beside": leaves + b'"'
        + _shuffled(size // 4).encode() + b'"]}',
        "spaces beside": _fill(leaves + b'"', b"a  ", b'"]}', size // 4, b""),
        "escapes beside": _fill(
            leaves + b'"', rb"\\u0041", b'"]}', size // 4, b""),
        "messages": _fill(b'{"messages":[', b'{"role":"user","content":""}', b"]}", size),
        "messages up to the bound": _fill(
            b'{"messages":[', b'{"role":"user","content":""}', b"]}", min(size, 380_000)),
        "parts": _many(b'{"type":"text","text":"a"}', size),
        "parts up to the bound": _many(b'{"type":"text","text":"a"}', min(size, 500_000)),
        "strings as parts": _many(b'"a"', min(size, 150_000)),
        "tools": _fill(leaves, schema, b"]}", size),
        "tools up to the bound": _fill(leaves, schema, b"]}", min(size, 400_000)),
        "tool calls": _fill(
            b'{"messages":[{"role":"assistant","tool_calls":[', json.dumps(call).encode(),
            b"]}]}", size),
        "arguments of escapes": _fill(
            b'{"messages":[{"role":"assistant","tool_calls":[{"type":"function","id":"c",'
            b'"function":{"name":"f","arguments":"', rb"\\u0041", b'"}}]}]}', size, b""),
        "an image": b'{"messages":[{"role":"user","content":[' + image + b"A" * (size - 120)
        + b'"}}]}]}',
        "a thousand images": _many(image + b"A" * 2000 + b'"}}', size, 10),
        "a schema": USER + b'"response_format":' + _fill(
            b'{"type":"json_schema","json_schema":{"enum":[', b'"a"', b"]}}}", size),
        "a key that stands twice": _fill(USER + b'"x":[', b'"\\u003a"', b'],"x":1}', size),
    }  # fmt: skip


def answers(size: int) -> dict[str, bytes]:
    """Whole chat answers of about ``size`` bytes."""

    def entry(text: str) -> dict[str, Any]:
        return {"token": text, "logprob": -1.25, "bytes": list(text.encode())}

    tops = [entry(f" w{i}") for i in range(20)]
    one = {**entry(" w0"), "top_logprobs": tops}
    count = max(1, size // len(json.dumps(one)))
    text = {"role": "assistant", "content": " w0" * count}
    choice = {"index": 0, "message": text, "finish_reason": "stop"}
    logprobs = {**choice, "logprobs": {"content": [one] * count}}
    plain = {**choice, "message": {"role": "assistant", "content": "a" * size}}
    wide = {**choice, "message": {"role": "assistant", "content": "αβγ " * (size // 7)}}
    return {
        "logprobs": json.dumps({"choices": [logprobs]}, ensure_ascii=False).encode(),
        "one text": json.dumps({"choices": [plain]}).encode(),
        "one text of Greek": json.dumps({"choices": [wide]}, ensure_ascii=False).encode(),
    }
