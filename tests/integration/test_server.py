"""The server under clients that misuse HTTP itself."""

from __future__ import annotations

import asyncio
import json

import pytest

from app.api.http import MAX_HEAD_BYTES
from tests.integration.test_road import ask, post
from tests.process import KEY, Gateway


async def talk(gateway: Gateway, *parts: bytes, pause: float = 0) -> bytes:
    """Send raw bytes; all that comes back until the server closes, or for two seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    answer = b""
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        async with asyncio.timeout(2):
            while chunk := await reader.read(65536):
                answer += chunk
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return answer


HEAD = (
    f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
    "content-type: application/json\r\n"
).encode()
BODY = json.dumps(ask("chat", "echo: hi")).encode()


async def test_a_head_without_end_is_refused(gateway: Gateway) -> None:
    line = b"x-filler: " + b"a" * 8000 + b"\r\n"
    answer = await talk(gateway, HEAD, *([line] * 20))
    assert b" 431 " in answer or answer == b""
    one = await talk(gateway, HEAD + b"x-filler: ", *([b"a" * 8192] * 20))
    assert b" 431 " in one or one == b""
    assert gateway.is_ready()


async def test_a_large_body_after_a_small_head_is_fine(gateway: Gateway) -> None:
    body = BODY + b" " * (4 * MAX_HEAD_BYTES)
    head = HEAD + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    answer = await talk(gateway, head + body)
    assert b" 200 OK" in answer


async def test_many_calls_on_one_connection(gateway: Gateway) -> None:
    call = HEAD + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
    answer = await talk(gateway, call * 30)
    assert answer.count(b" 200 OK") == 30


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_a_body_that_trickles_in(gateway: Gateway, size: int) -> None:
    parts = [BODY[i : i + size] for i in range(0, len(BODY), size)]
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    head = HEAD + b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    answer = await talk(gateway, head, chunked[:40], chunked[40:], pause=0.01)
    assert b" 200 OK" in answer


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: -5\r\n\r\n",
        HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"content-length: 99999999999999999999\r\n\r\n",
        HEAD + b"content-length: 10\r\n\r\n{}",
        b"\r\n" * 1000,
        b"\x00" * 1000,
    ],
)
async def test_broken_http(gateway: Gateway, raw: bytes) -> None:
    answer = await talk(gateway, raw)
    assert b" 500 " not in answer
    status, _, _ = await post(gateway, "chat", ask("chat", "echo: still here"))
    assert status == 200


async def test_too_large_a_body_is_told_before_it_is_read(gateway: Gateway) -> None:
    answer = await talk(gateway, HEAD + b"content-length: 50000000\r\n\r\n")
    assert b" 413 " in answer
    assert b"REQUEST_TOO_LARGE" in answer
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    answer = await talk(gateway, HEAD + b"transfer-encoding: chunked\r\n\r\n", *([chunk] * 40))
    assert b" 413 " in answer


async def test_a_client_that_reads_nothing_hurts_nobody(gateway: Gateway) -> None:
    """Its stream waits at the socket; others go on."""
    body = json.dumps(
        ask("chat", "x", stream=True, max_tokens=1000, loopback={"pieces": ["word " * 2000] * 900})
    ).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=2**10)
    writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
    await asyncio.sleep(0.5)
    status, _, _ = await post(gateway, "chat", ask("chat", "echo: hi"))
    assert status == 200
    writer.close()
    del reader
