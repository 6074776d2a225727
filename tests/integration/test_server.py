"""The server under clients that misuse HTTP itself."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gemma_gateway.api.http import MAX_HEAD_BYTES
from tests.calls import PATHS, ask, post, state
from tests.process import AUTH, KEY, OPERATOR, Engine, Gateway
from tests.waiting import PATIENCE, until


async def talk(
    gateway: Gateway, *parts: bytes, pause: float = 0, wait: float = PATIENCE, end: bytes = b""
) -> bytes:
    """Send raw bytes; all that comes back until the server closes, or has said ``end``, or for
    ``wait`` seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    answer = b""
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        async with asyncio.timeout(wait):
            while not (end and end in answer) and (chunk := await reader.read(65536)):
                answer += chunk
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return answer


FIRST = b"POST /v1/chat/completions HTTP/1.1\r\n"
HEAD = (
    FIRST
    + (f"host: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n").encode()
)
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
    last = call.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)
    answer = await talk(gateway, call * 29 + last)
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
    answer = await talk(gateway, raw, wait=2)
    assert b" 500 " not in answer
    status, _, _ = await post(gateway, "chat", ask("chat", "echo: still here"))
    assert status == 200


@pytest.mark.parametrize("path", [b"/v1/messages", b"/v1/messages/count_tokens", b"/v1/messages/x"])
async def test_broken_http_is_refused_in_the_protocol_of_its_path(
    gateway: Gateway, path: bytes
) -> None:
    broken = b" HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n"
    answer = await talk(gateway, b"POST " + path + broken)
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "error"
    answer = await talk(gateway, b"POST " + path[: len(b"/v1/m")] + broken)
    assert list(json.loads(answer.partition(b"\r\n\r\n")[2])) == ["error"]


async def test_too_large_a_body_is_told_before_it_is_read(gateway: Gateway) -> None:
    answer = await talk(gateway, HEAD + b"content-length: 50000000\r\n\r\n")
    assert b" 413 " in answer
    assert b"REQUEST_TOO_LARGE" in answer
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    head = HEAD + b"transfer-encoding: chunked\r\n\r\n"
    answer = await talk(gateway, head, *([chunk] * 40), end=b"REQUEST_TOO_LARGE")
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


UPGRADES = pytest.mark.parametrize(
    "fields",
    [
        b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAA\r\n",
        b"connection: upgrade\r\nupgrade: websocket\r\n",
        b"upgrade: foo\r\nconnection: keep-alive, UPGRADE\r\n",
    ],
)


@UPGRADES
async def test_a_wish_to_upgrade_loses_no_body_and_makes_no_request(
    gateway: Gateway, fields: bytes
) -> None:
    """What looks like a request inside of a body stays a body, however it is cut."""
    inner = f"GET /v1/usage HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\r\n".encode()
    behind = HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
    good = HEAD + fields + b"content-length: %d\r\n\r\n" % len(BODY)
    chunked = HEAD + fields + b"transfer-encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    for first, second in ((good, BODY), (chunked, chunk)):
        for parts in ((first + second + behind,), (first, second + behind)):
            answer = await talk(gateway, *parts, pause=0.05)
            assert answer.count(b" 200 OK") == 2
            assert answer.count(b'"hi"') == 2
    smuggled = HEAD + fields + b"content-length: %d\r\n\r\n" % len(inner)
    for parts in ((smuggled + inner + behind,), (smuggled, inner + behind)):
        answer = await talk(gateway, *parts, pause=0.05)
        assert answer.count(b"HTTP/1.1 ") == 2
        assert b"requests_last_hour" not in answer
    health = b"GET /health/live HTTP/1.1\r\nhost: x\r\n" + fields
    health += b"content-length: %d\r\n\r\n" % len(inner)
    answer = await talk(gateway, health, inner + behind, pause=0.05)
    assert answer.count(b"HTTP/1.1 ") == 2


def resident(gateway: Gateway) -> int:
    """Bytes of memory that the gateway holds."""
    status = Path(f"/proc/{gateway.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def kernel_holds() -> int:
    """Bytes at most that one connection's two buffers take while nobody reads."""
    sizes = (Path(f"/proc/sys/net/ipv4/tcp_{kind}mem").read_text() for kind in "rw")
    return sum(int(size.split()[2]) for size in sizes)


def sent_until_closed(gateway: Gateway, head: bytes, part: bytes, most: int) -> int:
    """Bytes that the gateway takes before it ends the connection; ``most`` if it never does."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE) as link:
        link.sendall(head)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < most:
                link.sendall(part)
                sent += len(part)
    return sent


CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
ENDLESS = {
    "trailers": (b"0\r\n", (b"x" * 100 + b": " + b"y" * 898 + b"\r\n") * 64),
    "tiny trailers": (b"0\r\n", b"a:b\r\n" * 13_000),
    "one trailer": (b"0\r\na: ", b"y" * 65_536),
    "a trailer's name": (b"0\r\n", b"y" * 65_536),
    "a chunk's extension": (b"1;", b"y" * 65_536),
    "extensions": (b"", b"1;%s\r\nx\r\n" % (b"y" * 60_000)),
    "a chunk's size": (b"", b"0" * 65_536),
}


@pytest.mark.parametrize("key", [KEY, "nobody's"], ids=["a good key", "no key"])
@pytest.mark.parametrize(("begin", "part"), ENDLESS.values(), ids=ENDLESS.keys())
async def test_what_stands_around_a_body_is_bounded(
    gateway: Gateway, begin: bytes, part: bytes, key: str
) -> None:
    """Before any key is known, and with a good one: few bytes, then the connection ends."""
    head = HEAD.replace(KEY.encode(), key.encode()) + CHUNKED + begin
    before = resident(gateway)
    most = 16_000_000 + kernel_holds()
    assert await asyncio.to_thread(sent_until_closed, gateway, head, part, 8 * most) < most
    assert resident(gateway) - before < 16_000_000


async def test_an_endless_body_after_its_refusal_is_bounded(gateway: Gateway) -> None:
    head = HEAD.replace(KEY.encode(), b"nobody's") + CHUNKED
    part = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    most = 32_000_000 + kernel_holds()
    sent = await asyncio.to_thread(sent_until_closed, gateway, head, part, 8 * most)
    assert 20_000_000 < sent < most


@pytest.mark.parametrize("megabytes", [5, 20])
@pytest.mark.parametrize("how", [b"", b"connection: close\r\n"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_refusal_arrives_though_the_body_is_sent_whole(
    gateway: Gateway, megabytes: int, how: bytes, chunked: bool
) -> None:
    """A client that reads only once it has sent everything still reads why it was refused."""
    size = megabytes * 1_000_000
    frame = CHUNKED + b"%x\r\n" % size if chunked else b"content-length: %d\r\n\r\n" % size

    def send() -> bytes:
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE) as link:
            link.sendall(HEAD + how + frame)
            for _ in range(megabytes):
                link.sendall(b" " * 1_000_000)
            answer = b""
            while b"REQUEST_TOO_LARGE" not in answer and (more := link.recv(65_536)):
                answer += more
            return answer

    answer = await asyncio.to_thread(send)
    assert b" 413 " in answer
    assert b"REQUEST_TOO_LARGE" in answer


async def test_the_connection_lives_on_after_a_refused_body(gateway: Gateway) -> None:
    body = b" " * 1_500_000
    refused = HEAD.replace(KEY.encode(), b"nobody's")
    refused += b"content-length: %d\r\n\r\n" % len(body) + body
    good = HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
    answer = await talk(gateway, refused, good, pause=0.1)
    # 429: where earlier tests have failed too often from this address.
    assert answer.count(b"HTTP/1.1 401 ") + answer.count(b"HTTP/1.1 429 ") == 1
    assert answer.count(b" 200 OK") == 1


OTHER = "other-key-0123456789"


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[Gateway]:
    """A gateway with few places, and little time for a call."""
    with Gateway(
        tmp_path_factory.mktemp("hasty"),
        upstreams=engine.url + "/v1",
        api_keys=f"{KEY},{OTHER}",
        operator_keys=OPERATOR,
        max_in_flight=50,
        request_timeout=5,
    ) as process:
        yield process


async def test_bodies_that_don_t_come_take_no_place_and_no_request(hasty: Gateway) -> None:
    """As many silent clients as there are places: another caller's call goes through, and it costs
    their key nothing."""
    silent = [await asyncio.open_connection("127.0.0.1", hasty.port) for _ in range(60)]
    for _, writer in silent:
        writer.write(HEAD + b"content-length: 1000\r\n\r\n{")

    async def inside() -> bool:
        async with (
            aiohttp.ClientSession(headers=AUTH) as session,
            session.get(hasty.url + "/v1/usage") as reply,
        ):
            return bool((await reply.json())["in_flight"] == 60)

    await until(inside, "they are all inside")
    other = {"authorization": f"Bearer {OTHER}"}
    status, _, _ = await post(hasty, "chat", ask("chat", "echo: hi"), other)
    assert status == 200
    async with asyncio.timeout(PATIENCE):
        told = [await reader.readuntil(b"REQUEST_TIMEOUT") for reader, _ in silent]
    assert all(b" 408 " in answer for answer in told)
    for _, writer in silent:
        writer.close()
    status, _, _ = await post(hasty, "chat", ask("chat", "echo: hi"))
    assert status == 200
    usage = await talk(
        hasty, b"GET /v1/usage HTTP/1.1\r\nconnection: close\r\n" + HEAD[len(FIRST) :] + b"\r\n"
    )
    assert json.loads(usage.partition(b"\r\n\r\n")[2])["requests_last_hour"] == 1


async def logged(gateway: Gateway, call_id: str) -> Any:
    """The log's line about a call."""
    await until(lambda: call_id in gateway.text(), "the call is logged")
    return next(json.loads(line) for line in gateway.text().splitlines() if call_id in line)


async def test_a_body_that_comes_too_slowly_is_a_408_and_recorded_as_such(hasty: Gateway) -> None:
    """One that trickles on, too; the client in its dialect and the log say the same."""

    async def slow(dialect: str) -> None:
        head = HEAD.replace(PATHS["chat"].encode(), PATHS[dialect].encode())
        head = head.replace(b"host", f"x-request-id: slow-{dialect}\r\nhost".encode())
        reader, writer = await asyncio.open_connection("127.0.0.1", hasty.port)
        writer.write(head + b"content-length: 100000\r\n\r\n")

        async def trickle() -> None:
            while True:
                writer.write(b" ")
                await asyncio.sleep(0.05)

        sending = asyncio.create_task(trickle())
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()
        sending.cancel()
        writer.close()
        told, _, raw = answer.partition(b"\r\n\r\n")
        assert b" 408 " in told
        assert b"connection: close" in told
        error = json.loads(raw)["error"]
        assert error["gateway_code"] == "REQUEST_TIMEOUT"
        if dialect == "messages":
            assert error["type"] == "timeout_error"
        line = await logged(hasty, f"slow-{dialect}")
        assert (line["status"], line["outcome"]) == (408, "REQUEST_TIMEOUT")

    await asyncio.gather(*map(slow, PATHS))


async def test_a_body_that_breaks_is_recorded_as_the_client_was_told(gateway: Gateway) -> None:
    broken = HEAD.replace(b"host", b"x-request-id: broken-chunk\r\nhost") + CHUNKED + b"zz\r\n"
    answer = await talk(gateway, broken)
    assert b" 400 " in answer
    line = await logged(gateway, "broken-chunk")
    assert (line["status"], line["outcome"]) == (400, "VALIDATION_ERROR")


async def test_a_client_that_leaves_is_missed_though_it_has_asked_for_more(
    gateway: Gateway, engine: Engine
) -> None:
    """A second request behind a running one hides the departure from nobody."""
    body = json.dumps(ask("chat", "x", stream=True, loopback={"stall": 1, "pieces": ["a ", "b "]}))
    call = HEAD + b"content-length: %d\r\n\r\n" % len(body) + body.encode()
    before = (await state(engine))["aborted"]
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(call + call)
    await reader.readuntil(b"data:")
    writer.close()

    async def missed() -> bool:
        return bool((await state(engine))["aborted"] > before)

    await until(missed, "the engine is told")


@pytest.mark.parametrize(
    "path",
    ["/v1/keys/", "/v1/usage/", "/health/", "/metrics/", "/console/", "/docs/", "//evil.example/"],
)
async def test_no_redirect_is_made_of_what_the_client_calls_our_host(
    gateway: Gateway, path: str
) -> None:
    head = f"GET {path} HTTP/1.1\r\nhost: evil.example\r\nx-forwarded-proto: https\r\n"
    answer = await talk(gateway, head.encode() + b"connection: close\r\n\r\n")
    assert b"http://" not in answer
    assert b"evil" not in answer
    page = path in {"/console/", "/docs/"}
    assert (b" 307 " if page else b" 404 ") in answer


async def test_a_body_refused_before_its_call_asks_for_it(gateway: Gateway) -> None:
    """What the call still says (100 Continue) meets a connection that is closed for writing."""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
        "content-type: application/json\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n"
    )
    for _ in range(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(head.encode() + b"\r\ng\r\n")
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"100 Continue" not in answer
        writer.close()
    assert '"call failed"' not in gateway.text()


async def test_the_edge_s_settings_reach_the_server(tmp_path: Path, engine: Engine) -> None:
    """Pages of other origins may read what the protocol refuses; both families are served; HEAD
    has no body, and the length that GET's has."""
    page = "https://app.example.com"
    settings = {"upstreams": engine.url + "/v1", "host": "::", "cors_origins": page}
    with Gateway(tmp_path, **settings) as gateway:
        refused = await talk(
            gateway, b"GET /v1/models HTTP/1.1\r\nhost: x y\r\norigin: %s\r\n\r\n" % page.encode()
        )
        assert refused.startswith(b"HTTP/1.1 400 ")
        assert b"access-control-allow-origin: %s\r\n" % page.encode() in refused
        asked = b"HEAD /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
        last = b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        head, _, rest = (await talk(gateway, asked, last)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert rest.startswith(b"HTTP/1.1 200 ")
        body = rest.partition(b"\r\n\r\n")[2]
        assert b"content-length: %d\r\n" % len(body) in head + b"\r\n"


async def test_a_compressed_body_comes_in_pieces(gateway: Gateway) -> None:
    """And one whose coding isn't known leaves the connection usable."""
    body = gzip.compress(BODY)
    last = b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    for coding, status, said in ((b"gzip", 200, b"hi"), (b"lz4", 415, b"accept-encoding: gzip")):
        head = HEAD + b"content-encoding: %s\r\ncontent-length: %d\r\n\r\n" % (coding, len(body))
        answer = await talk(gateway, head, *(body[i : i + 1] for i in range(len(body))), last)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert said in answer
        assert answer.endswith(b'{"status":"alive"}')
