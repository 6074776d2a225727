"""HTTP/1.1 on raw sockets: every field that frames a message or belongs to the connection, by its
RFC, in one segment, in two and byte by byte, always with a second request behind."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
import uvicorn
from starlette.types import Receive, Scope, Send

from gemma_gateway.api import http
from gemma_gateway.api.errors import ErrorBodies
from gemma_gateway.main import DIALECTS
from tests.waiting import PATIENCE

pytestmark = pytest.mark.asyncio(loop_scope="module")
BODY = b'{"a": "GET /smuggled HTTP/1.1"}'
NEXT = b"GET /next HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
HOST = b"host: x\r\n"
SIZED = b"content-length: %d\r\n\r\n%s" % (len(BODY), BODY)
CHUNKED = b"transfer-encoding: chunked\r\n\r\n5;a=b\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (
    BODY[:5],
    len(BODY) - 5,
    BODY[5:],
)
ONE_CHUNK = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


class Http(http.BoundedHttp):
    """The server's protocol, with the gateway's routes."""

    errors = ErrorBodies(DIALECTS)


@dataclass(frozen=True)
class Answer:
    """One answer on the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Says what it was asked; below ``/early`` before it has read the body, at ``/slow`` late."""
    if scope["path"] == "/slow":
        await asyncio.sleep(0.2)
    body = b""
    while scope["path"] != "/early":
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    names = {name: value.decode("latin-1") for name, value in scope["headers"]}
    told = {
        "asked": f"{scope['method']} {scope['path']}",
        "body": body.decode("latin-1"),
        "evil": names.get(b"x-evil"),
    }
    out = json.dumps(told).encode()
    length = [] if scope["path"] == "/stream" else [(b"content-length", b"%d" % len(out))]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": out[:9], "more_body": True})
    await send({"type": "http.response.body", "body": out[9:]})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port() -> AsyncIterator[int]:
    config = uvicorn.Config(echo, port=0, http=Http, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await running


async def talk(port: int, *parts: bytes, pause: float = 0) -> list[Answer]:
    """Send the parts; every answer until the server ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await asyncio.sleep(pause)
    async with asyncio.timeout(PATIENCE):
        raw = await reader.read()
    writer.close()
    return answers(raw)


def answers(raw: bytes) -> list[Answer]:
    """Cut by what each head says of its length."""
    found = []
    while raw:
        head, _, raw = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split()[1])
        headers = dict(line.lower().split(": ", 1) for line in lines)
        if status == 100:
            continue
        if "content-length" in headers:
            body, raw = raw[: int(headers["content-length"])], raw[int(headers["content-length"]) :]
        elif headers.get("transfer-encoding") == "chunked":
            size, rest = None, b""
            while size != 0:
                line, _, raw = raw.partition(b"\r\n")
                size = int(line, 16)
                rest, raw = rest + raw[:size], raw[size + 2 :]
            body = rest
        else:
            assert headers["connection"] == "close"
            body, raw = raw, b""
        found.append(Answer(status, headers, body))
    return found


def asked(answer: Answer) -> tuple[str, str]:
    """What the application was asked: method and path, and the body."""
    doc = json.loads(answer.body)
    assert doc["evil"] is None
    return doc["asked"], doc["body"]


async def in_every_cut(port: int, raw: bytes, last: bool = False) -> list[list[Answer]]:
    """The answers when it comes in one segment, head and body apart, and byte by byte.

    Args:
        last: what comes after the answer finds no connection, so nothing does.
    """
    cut = raw.find(b"\r\n\r\n") + 4
    whole = raw if last else raw + NEXT
    return [
        await talk(port, raw + NEXT),
        await talk(port, raw[:cut], raw[cut:] + NEXT, pause=0.01),
        await talk(port, *(whole[i : i + 1] for i in range(len(whole)))),
    ]


def post(*lines: bytes, rest: bytes = SIZED, start: bytes = b"POST /a HTTP/1.1") -> bytes:
    return start + b"\r\n" + HOST + b"".join(line + b"\r\n" for line in lines) + rest


UP = b"connection: Upgrade"
# Each of these is POST /a with BODY, and the connection goes on.
GOOD = {
    "plain": post(),
    "chunked": post(rest=CHUNKED),
    "chunked, in capitals": post(b"Transfer-Encoding: CHUNKED", rest=b"\r\n" + ONE_CHUNK),
    "chunked, with spaces": post(b"transfer-encoding: \t chunked  ", rest=b"\r\n" + ONE_CHUNK),
    "h2c": post(b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AA"),
    "h2c, chunked": post(UP, b"upgrade: h2c", rest=CHUNKED),
    "websocket": post(
        UP, b"upgrade: websocket", b"sec-websocket-key: AA==", b"sec-websocket-version: 13"
    ),
    "websocket, chunked": post(UP, b"upgrade: websocket", rest=CHUNKED),
    "upgrade to HTTP/2.0": post(UP, b"upgrade: HTTP/2.0"),
    "upgrade to a list": post(UP, b"upgrade: foo, bar/3"),
    "upgrade, no connection": post(b"upgrade: h2c"),
    "upgrade, connection alone": post(UP),
    "upgrade, odd letters": post(b"uPGRADE: H2C", b"CONNECTION: uPGRADE"),
    "upgrade, tabs": post(b"connection:\tupgrade\t", b"upgrade:\th2c\t"),
    "upgrade, empty": post(UP, b"upgrade:"),
    "upgrade, twice": post(UP, b"upgrade: a", b"upgrade: b", b"connection: keep-alive"),
    "upgrade last": post(b"upgrade: h2c", UP, b"connection: x"),
    "upgrade in a list": post(b"connection: x, upgrade ,y", b"upgrade: h2c"),
    "http2-settings alone": post(b"http2-settings: AA"),
    "trailers": post(
        b"trailer: x-evil",
        b"transfer-encoding: chunked",
        rest=b"\r\n" + ONE_CHUNK[:-2] + b"x-evil: 1\r\nhost: evil\r\n\r\n",
    ),
    "host with port": b"POST /a HTTP/1.1\r\nhost: a-b_c.example:8080\r\n" + SIZED,
    "host, IPv6": b"POST /a HTTP/1.1\r\nhost: [::1]:8080\r\n" + SIZED,
    "host, empty": b"POST /a HTTP/1.1\r\nhost:\r\n" + SIZED,
    "absolute target": post(start=b"POST http://other.example:1/a HTTP/1.1"),
    "absolute target, https": post(start=b"POST HTTPS://other.example/a?q HTTP/1.1"),
    "expect": post(b"expect: 100-continue"),
    "expect, capitals": post(b"Expect: 100-Continue"),
    "expect, a list": post(b"expect: foo, 100-continue"),
    "expect, unknown": post(b"expect: foo"),
    "expect, empty": post(b"expect:"),
    "connection: keep-alive": post(b"connection: keep-alive"),
    "connection, unknown": post(b"connection: foo,, bar"),
    "connection names content-length": post(b"connection: content-length"),
    "connection names authorization": post(b"connection: authorization", b"authorization: a b"),
    "keep-alive": post(b"keep-alive: timeout=5, max=1"),
    "proxy-connection": post(b"proxy-connection: keep-alive"),
    "te": post(b"te: trailers, gzip;q=0.5"),
    "trailer": post(b"trailer: content-length"),
    "content-length, leading zero": post(b"content-length: 0%d" % len(BODY), rest=b"\r\n" + BODY),
    "content-length, spaces": post(b"content-length: \t%d " % len(BODY), rest=b"\r\n" + BODY),
    "chunk size, leading zero": post(
        b"transfer-encoding: chunked", rest=b"\r\n0" + ONE_CHUNK
    ),
    "lines before": b"\r\n\r\n" + post(),
}  # fmt: skip
# The same, and then the connection ends.
LAST = {
    "close": post(b"connection: close"),
    "close and keep-alive": post(b"connection: close, keep-alive"),
    "close and upgrade": post(b"connection: close, upgrade", b"upgrade: h2c"),
    "proxy-connection: close": post(b"proxy-connection: close"),
    "upgrade and close": post(b"connection: upgrade", b"connection: close", b"upgrade: h2c"),
    "HTTP/1.0": b"POST /a HTTP/1.0\r\n" + SIZED,
    "HTTP/1.0, keep-alive": b"POST /a HTTP/1.0\r\nconnection: keep-alive\r\n" + SIZED,
    "HTTP/1.0, upgrade": b"POST /a HTTP/1.0\r\nconnection: upgrade\r\nupgrade: h2c\r\n" + SIZED,
    "HTTP/1.0, expect": b"POST /a HTTP/1.0\r\nexpect: 100-continue\r\n" + SIZED,
}
TE = [
    b"xchunked", b"chunkedx", b"chunked, identity", b"identity", b"gzip, chunked", b"gzip",
    b"chunked, chunked", b"chunked;q=1", b"", b'"chunked"', b"chunked,", b",chunked", b"x, chunked",
    b"identity, chunked", b"\x0bchunked", b"chunked\x0c", b"chunked\x00", b"chun ked",
    b"\xa0chunked", b"chunked\t",
]  # fmt: skip
LENGTHS = [
    b"+%d", b"-%d", b"0x%d", b"%d, %d", b"%d %d", b"%d,", b",%d", b"", b"%d.0", b"%de0", b"1_%d",
    b"99999999999999999999%d", b"\xb2%d", b'"%d"', b"%d;", b"\x0b%d",
]  # fmt: skip
CHUNKS = [
    b"0x%x", b"-%x", b"+%x", b" %x", b"%x ", b"%x ;a", b"g", b"", b"%x\n", b"%x\r",
    b"fffffffffffffffff%x", b'%x;a="b\r\nc"', b"%x\x00", b"_%x", b"%x,1",
]  # fmt: skip
# Refused with 400, and the connection ends.
BAD = {
    **{
        f"transfer-encoding {v!r}": post(b"transfer-encoding: " + v, rest=b"\r\n" + ONE_CHUNK)
        for v in TE
    },
    **{
        f"content-length {v!r}": post(
            b"content-length: " + v.replace(b"%d", b"%d" % len(BODY)), rest=b"\r\n" + BODY
        )
        for v in LENGTHS
    },
    **{
        f"chunk size {v!r}": post(
            b"transfer-encoding: chunked",
            rest=b"\r\n" + v.replace(b"%x", b"%x" % len(BODY)) + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
        )
        for v in CHUNKS
    },
    "two lengths": post(b"content-length: 1"),
    "two equal lengths": post(b"content-length: %d" % len(BODY)),
    "two codings": post(b"transfer-encoding: chunked", rest=CHUNKED),
    "length and coding": post(b"content-length: 5", rest=CHUNKED),
    "coding and length": post(
        b"transfer-encoding: chunked", b"content-length: 5", rest=b"\r\n" + ONE_CHUNK
    ),
    "length, coding, upgrade": post(UP, b"upgrade: h2c", b"content-length: 5", rest=CHUNKED),
    "coding not at all, upgrade": post(
        UP, b"upgrade: h2c", b"transfer-encoding: gzip", rest=b"\r\n" + ONE_CHUNK
    ),
    "chunk longer than it says": post(
        b"transfer-encoding: chunked", rest=b"\r\n1\r\nab\r\n0\r\n\r\n"
    ),
    "length among the trailers": post(
        b"transfer-encoding: chunked", rest=b"\r\n" + ONE_CHUNK[:-2] + b"content-length: 9\r\n\r\n"
    ),
    "HTTP/1.0, chunked": b"POST /a HTTP/1.0\r\n" + CHUNKED,
    "HTTP/0.9": b"GET /a HTTP/0.9\r\n\r\n",
    "HTTP/2.0": post(start=b"POST /a HTTP/2.0"),
    "HTTP/3.0": post(start=b"POST /a HTTP/3.0"),
    "HTTP/1.2": post(start=b"POST /a HTTP/1.2"),
    "no version": b"GET /a\r\n\r\n",
    "version in small letters": post(start=b"POST /a http/1.1"),
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "no host": b"POST /a HTTP/1.1\r\n" + SIZED,
    "no host, absolute target": b"POST http://x/a HTTP/1.1\r\n" + SIZED,
    "no host, upgrade": b"POST /a HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n" + SIZED,
    "two hosts": post(b"host: x"),
    "two hosts, HTTP/1.0": post(b"host: x", start=b"POST /a HTTP/1.0"),
    **{
        f"host {v!r}": b"POST /a HTTP/1.1\r\nhost: " + v + b"\r\n" + SIZED
        for v in (
            b"a b", b"a/b", b"a@b", b"a:b", b"a, b", b"[::1", b"a\\b", b"a?b", b"\xe9", b"a:1:2"
        )
    },
    "connect": b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n",
    "connect to a path": post(start=b"CONNECT /a HTTP/1.1"),
    "connect, upgrade": post(UP, b"upgrade: h2c", start=b"CONNECT /a HTTP/1.1"),
    "star": post(start=b"POST * HTTP/1.1"),
    "other scheme": post(start=b"POST ftp://x/a HTTP/1.1"),
    "user in the target": post(start=b"POST http://u@x/a HTTP/1.1"),
    "authority": post(start=b"POST x:80 HTTP/1.1"),
    "fragment": post(start=b"POST /a#b HTTP/1.1"),
    "bytes in the target": post(start=b"POST /\xff HTTP/1.1"),
    "space in the target": post(start=b"POST /a b HTTP/1.1"),
    "no path": post(start=b"POST a HTTP/1.1"),
    "unknown method": post(start=b"FOO /a HTTP/1.1"),
    "folded": post(b"a: b", b" c: d"),
    "folded upgrade": post(UP, b"upgrade:", b" h2c"),
    "folded coding": post(b"transfer-encoding:", b" chunked", rest=b"\r\n" + ONE_CHUNK),
    "space before the colon": post(b"upgrade : h2c", UP),
    "space before the coding's colon": post(
        b"transfer-encoding : chunked", rest=b"\r\n" + ONE_CHUNK
    ),
    "bare CR": post(b"a: b\rtransfer-encoding: chunked"),
    "bare LF": post(b"a: b\ntransfer-encoding: chunked"),
    "NUL": post(b"a: b\x00c"),
    "no colon": post(b"a"),
    "no name": post(b": a"),
    "two authorizations": post(b"authorization: Bearer a", b"authorization: Bearer b"),
    "two keys": post(b"x-api-key: a", b"x-api-key: a"),
    "two content types": post(b"content-type: a/b", b"content-type: application/json"),
}  # fmt: skip


@pytest.mark.parametrize("raw", GOOD.values(), ids=GOOD.keys())
async def test_it_is_read_by_its_length_and_the_next_request_is_the_next(
    port: int, raw: bytes
) -> None:
    for found in await in_every_cut(port, raw):
        assert [asked(a) for a in found] == [("POST /a", BODY.decode()), ("GET /next", "")]


@pytest.mark.parametrize("raw", LAST.values(), ids=LAST.keys())
async def test_it_is_the_last_request(port: int, raw: bytes) -> None:
    for found in await in_every_cut(port, raw, last=True):
        assert [asked(a) for a in found] == [("POST /a", BODY.decode())]
        assert found[0].headers["connection"] == "close"


@pytest.mark.parametrize("raw", BAD.values(), ids=BAD.keys())
async def test_it_is_refused_in_json_and_nothing_behind_it_is_read(port: int, raw: bytes) -> None:
    for found in await in_every_cut(port, raw):
        assert len(found) == 1
        refused = found[0]
        assert refused.status == 400
        assert refused.headers["connection"] == "close"
        assert refused.headers["x-request-id"].startswith("req-")
        error = json.loads(refused.body)["error"]
        assert error["gateway_code"] == "VALIDATION_ERROR"
        assert error["message"]


async def test_a_stream_of_requests_cut_anywhere(port: int) -> None:
    """A hundred good ones behind each other, mixed, in segments of every size."""
    for seed in range(10):
        dice = random.Random(seed)
        chosen = [dice.choice(list(GOOD.values())) for _ in range(50)]
        whole = b"".join(chosen) + NEXT
        cuts = sorted(dice.sample(range(len(whole)), 60))
        parts = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        found = await talk(port, *parts)
        assert [asked(a) for a in found] == [("POST /a", BODY.decode())] * 50 + [("GET /next", "")]


@pytest.mark.parametrize("size", [1, 20_000])
async def test_an_answer_that_didn_t_wait_for_the_body(port: int, size: int) -> None:
    """The rest of it isn't the next request, even where it looks like one."""
    body = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n" * size
    head = b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n" % len(body)
    for more, behind in ((b"\r\n", ["GET /next"]), (b"connection: close\r\n\r\n", [])):
        found = await talk(port, head + more, body, NEXT, pause=0.05)
        assert [asked(a)[0] for a in found] == ["POST /early", *behind]


async def test_an_answer_before_too_long_a_body_says_that_the_connection_ends(port: int) -> None:
    """Whose rest would not all be read: the client's next request needs another connection."""
    for size, ends in ((http.LINGER_BYTES, False), (http.LINGER_BYTES + 1, True)):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size)
        async with asyncio.timeout(PATIENCE):
            raw = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        assert (b"connection: close" in raw) is ends


async def test_a_client_that_waits_and_is_refused_needn_t_send_the_body(port: int) -> None:
    """So the connection ends: nobody could tell what the next bytes are (RFC 9110, 10.1.1)."""
    head = b"POST /early HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"
    found = await talk(port, head, NEXT, pause=0.05)
    assert [asked(a)[0] for a in found] == ["POST /early"]
    assert found[0].headers["connection"] == "close"


async def test_a_fault_is_told_after_the_answers_before_it(port: int) -> None:
    slow = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n"
    broken = post(b"transfer-encoding: chunked", rest=b"\r\n5\r\nhello\r\nzz\r\n")
    for fault in (b"nonsense\r\n\r\n", broken):
        found = await talk(port, slow * 2 + fault)
        assert [a.status for a in found] == [200, 200, 400]


async def test_requests_that_wait_on_a_connection_are_bounded(port: int) -> None:
    slow, quick = (b"GET /%s HTTP/1.1\r\nhost: x\r\n\r\n" % path for path in (b"slow", b"a"))
    found = await talk(port, slow + quick * 5000)
    assert [a.status for a in found] == [200] * http.MAX_DUE + [400]


async def test_an_answer_without_content_is_its_head(port: int) -> None:
    asked_twice = b"HEAD /a HTTP/1.1\r\nhost: x\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(asked_twice)
    async with asyncio.timeout(PATIENCE):
        first = await reader.readuntil(b"\r\n\r\n")
        writer.write(asked_twice.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        last = await reader.read()
    writer.close()
    for head in first, last:
        assert head.startswith(b"HTTP/1.1 200 ")
        assert head.endswith(b"\r\n\r\n")
        assert head.count(b"\r\n\r\n") == 1


async def test_http_1_0_gets_a_stream_without_chunks(port: int) -> None:
    found = await talk(port, b"POST /stream HTTP/1.0\r\n" + SIZED)
    assert "transfer-encoding" not in found[0].headers
    assert asked(found[0]) == ("POST /stream", BODY.decode())


async def test_the_client_s_own_id_and_dialect_are_kept(port: int) -> None:
    head = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-request-id: mine-1\r\n"
    found = await talk(port, head + b"transfer-encoding: chunked\r\n\r\nzz\r\n")
    assert found[0].headers["x-request-id"] == "mine-1"
    assert json.loads(found[0].body)["type"] == "error"


async def test_a_stranger_writes_no_line(port: int, caplog: pytest.LogCaptureFixture) -> None:
    for raw in (GOOD["websocket"], GOOD["h2c"], BAD["TLS"], BAD["two hosts"], BAD["connect"]):
        await talk(port, raw + NEXT)
    assert not [r for r in caplog.records if re.match("uvicorn|gateway", r.name)]
