"""Compressed request bodies, on engine routes and on the others."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.wire import coding
from gemma_gateway.wire.coding import CODINGS, MAX_PARTS, TAKEN
from tests.calls import PATHS, ask
from tests.process import AUTH, OPERATOR, OPERATOR_AUTH
from tests.road import Road

DATA = json.dumps(ask("chat", "echo: hello")).encode()
MOST = 2**20
ROUTES = (*PATHS.values(), "/v1/messages/count_tokens", "/tokenize", "/detokenize")
# Of the gateway's own, each with the field of {"nonsense": 1} that is at fault.
OTHERS = {
    "/v1/feedback": "response_id",
    "/v1/keys": "name",
    "/v1/monitoring/alerts/silences": "rule",
}


def raw_deflate(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return made.compress(data) + made.flush()


def zstd(data: bytes) -> bytes:
    if coding.zstd is None:
        pytest.skip("this Python has no zstd")
    return bytes(coding.zstd.compress(data))


def br(data: bytes) -> bytes:
    if coding.brotli is None:
        pytest.skip("brotli is not installed (the extra br)")
    return bytes(coding.brotli.compress(data, quality=3))  # its best takes a minute for the bomb


# What clients write in the header, and what they send with it.
ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "GZip": (" GZip ", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "gzip and nothing": ("identity, gzip,", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without a wrapper": ("deflate", raw_deflate),
    "zstd": ("zstd", zstd),
    "br": ("br", br),
    "identity": ("identity", bytes),
    "empty": ("", bytes),
    "two members": ("gzip", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
    "two frames": ("zstd", lambda data: zstd(data[:9]) + zstd(data[9:])),
}
ENCODED = pytest.mark.parametrize("encoder", list(ENCODERS))
TAKES = pytest.mark.parametrize("name", ["gzip", "deflate", "zstd", "br"])


@ENCODED
async def test_a_compressed_body_is_read(encoder: str) -> None:
    field, encode = ENCODERS[encoder]
    road = Road(operator_keys=(OPERATOR,))
    headers = OPERATOR_AUTH | {"content-encoding": field}
    for dialect in PATHS:
        body = json.dumps(ask(dialect, "echo: hello")).encode()
        reply = await road.post(dialect, encode(body), headers)
        assert reply.status == 200, reply.body
        assert b"hello" in reply.body
        assert b"hello" in road.engine.requests[-1].body
    for path, wrong in OTHERS.items():
        reply = await road.post(path, encode(b'{"nonsense": 1}'), headers)
        assert (reply.status, reply.json()["error"]["param"]) == (400, wrong), reply.body


@pytest.mark.parametrize(
    "field", ["bz2", "compress", "aes128gcm", "gzip, gzip", "gzip, zstd", "\xff", "gzip;q=1", "*"]
)
async def test_what_is_not_known_is_named_with_what_is(field: str) -> None:
    """RFC 9110, 15.5.16."""
    road = Road(operator_keys=(OPERATOR,))
    for path in (*ROUTES, *OTHERS):
        reply = await road.post(path, b"{}", OPERATOR_AUTH | {"content-encoding": field})
        assert reply.status == 415, reply.body
        assert reply.json()["error"]["gateway_code"] == "UNSUPPORTED_ENCODING"
        assert reply.headers["accept-encoding"] == TAKEN
    assert not road.engine.requests


def test_gzip_and_deflate_are_always_taken() -> None:
    assert {"gzip", "deflate"} <= CODINGS.keys()


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut": (lambda data: data[:-1], "ends before"),
    "cut in the middle": (lambda data: data[: len(data) // 2], "ends before"),
    "empty": (lambda data: b"", "ends before"),
    "not compressed": (lambda data: DATA, "not valid"),
    "damaged": (lambda data: data[:-4] + bytes(4), ""),
    "followed by something": (lambda data: data + b"\r\n\r\nGET / HTTP/1.1", ""),
    "many parts": (lambda data: data * (MAX_PARTS + 1), "parts"),
}


@TAKES
async def test_what_is_broken_is_the_client_s_error(name: str) -> None:
    road = Road()
    for breaking, words in BROKEN.values():
        body = breaking(ENCODERS[name][1](DATA))
        for path in ("/v1/chat/completions", "/v1/feedback"):
            reply = await road.post(path, body, AUTH | {"content-encoding": name})
            error = reply.json()["error"]
            assert (reply.status, error["gateway_code"]) == (400, "VALIDATION_ERROR")
            assert words in error["message"] or (name, words) == ("br", "parts")  # it has none
    assert not road.engine.requests


@TAKES
async def test_the_bound_is_on_what_comes_of_it(name: str) -> None:
    encode, body = ENCODERS[name][1], DATA.ljust(2048)
    road = Road(max_body_bytes=len(body))
    headers = AUTH | {"content-encoding": name}
    assert (await road.post("chat", encode(body), headers)).status == 200
    reply = await road.post("chat", encode(body + b" "), headers)
    assert (reply.status, reply.json()["error"]["gateway_code"]) == (413, "REQUEST_TOO_LARGE")


@TAKES
def test_a_bomb_stops_early(name: str) -> None:
    """A thousandth of it is all that is ever held."""
    bomb = ENCODERS[name][1](bytes(1000 * MOST))
    tracemalloc.start()
    try:
        with pytest.raises(GatewayError) as error:
            coding.decode(bomb, name, MOST)
        assert tracemalloc.get_traced_memory()[1] < 4 * MOST
    finally:
        tracemalloc.stop()
    assert error.value.code is Code.REQUEST_TOO_LARGE


def test_a_frame_may_not_ask_for_a_large_window() -> None:
    if coding.zstd is None:
        pytest.skip("this Python has no zstd")
    level = {coding.zstd.CompressionParameter.window_log: 27}
    made = coding.zstd.ZstdCompressor(options=level)
    frame = made.compress(b"x") + made.flush()
    with pytest.raises(GatewayError, match="8 MiB"):
        coding.decode(frame, "zstd", MOST)
