"""The HTTP/1.1 client against servers that write the bytes given here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from math import inf
from pathlib import Path

import pytest

from gemma_gateway.engines.upstream import http1
from gemma_gateway.engines.upstream.http1 import MAX_BUFFERED, Broken, Connection
from gemma_gateway.engines.upstream.origin import KEEP_ALIVE_SECONDS, ConnectFailed, Origin
from tests.waiting import PATIENCE, until

Writer = Callable[[asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"


@contextlib.asynccontextmanager
async def origin(
    answer: bytes | Writer, cut: int = 0, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[Origin, list[bytes]]]:
    """A server that answers every request with ``answer``, in writes of ``cut`` bytes; bytes that
    end in ``EOF`` end with the connection. Gives the client and the request heads seen."""
    heads: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = (asyncio.IncompleteReadError, ConnectionError)
        with contextlib.closing(writer), contextlib.suppress(*ended):
            while True:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                if callable(answer):
                    await answer(writer)
                    continue
                data = answer.removesuffix(b"EOF")
                for at in range(0, len(data), cut or len(data)):
                    writer.write(data[at : at + (cut or len(data))])
                    await asyncio.sleep(0.001 if cut else 0)
                if data != answer:
                    return

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    client = Origin(f"{'https' if tls else 'http'}://{host}:{port}/base", {"a": "b"}, PATIENCE)
    try:
        yield client, heads
    finally:
        client.close()
        server.close()


async def read(connection: Connection) -> bytes:
    parts = []
    while part := await connection.read():
        parts.append(part)
    return b"".join(parts)


async def get(client: Origin) -> tuple[int, bytes]:
    connection = await client.request("GET", "/path", {}, b"")
    return connection.status, await read(connection)


BODIES = {
    "length": (OK + b"content-length: 5\r\n\r\nhello", (200, b"hello")),
    "chunked": (
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nt: u\r\n\r\n",
        (200, b"hello"),
    ),
    "empty": (OK + b"content-length: 0\r\n\r\n", (200, b"")),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
    "until the end": (OK + b"\r\nhelloEOF", (200, b"hello")),
    "http/1.0": (b"HTTP/1.0 200 OK\r\n\r\nhelloEOF", (200, b"hello")),
    "close": (OK + b"connection: close\r\ncontent-length: 5\r\n\r\nhelloEOF", (200, b"hello")),
    "interim": (
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"content-length: 5\r\n\r\nhello",
        (200, b"hello"),
    ),
    "interim with a length": (
        b"HTTP/1.1 103 Early\r\ncontent-length: 3\r\ncontent-type: a/b\r\n\r\n"
        + OK
        + b"\r\nhelloEOF",
        (200, b"hello"),
    ),
    "identity": (OK + b"transfer-encoding: identity\r\n\r\nhelloEOF", (200, b"hello")),
    "last coding not chunked": (
        OK + b"transfer-encoding: chunked, gzip\r\n\r\nhelloEOF",
        (200, b"hello"),
    ),
    "last coding chunked": (
        OK + b"transfer-encoding: gzip, Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        (200, b"hello"),
    ),
    "error": (b"HTTP/1.1 503 Busy\r\ncontent-length: 1\r\n\r\nx", (503, b"x")),
}


@pytest.mark.parametrize("cut", [0, 1, 7])
@pytest.mark.parametrize("kind", BODIES)
async def test_bodies_however_they_are_framed_and_cut(kind: str, cut: int) -> None:
    answer, expected = BODIES[kind]
    async with origin(answer, cut) as (client, heads):
        for _ in range(3):
            assert await get(client) == expected
        assert len(heads) == 3


BROKEN = {
    "short of its length": OK + b"content-length: 9\r\n\r\nhelloEOF",
    "chunk without its end": OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nEOF",
    "chunk cut": OK + b"transfer-encoding: chunked\r\n\r\n9\r\nhelloEOF",
    "chunk size that is none": OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_what_came_is_read_before_the_failure(kind: str) -> None:
    async with origin(BROKEN[kind]) as (client, _):
        connection = await client.request("GET", "/path", {}, b"")
        assert await connection.read() == b"hello"
        with pytest.raises(Broken):
            await connection.read()
        with pytest.raises(Broken):
            await connection.read()


UPGRADED = b"HTTP/1.1 101 Up\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
EVIL = b"HTTP/1.1 500 No\r\ncontent-length: 4\r\n\r\nevil"


@pytest.mark.parametrize("cut", [0, 1])
async def test_a_second_answer_is_nobodys(cut: int) -> None:
    """Its status, type and bytes stay out of the first one, and the connection isn't used again."""
    async with origin(OK + b"content-length: 2\r\n\r\nok" + EVIL, cut) as (client, heads):
        for served in (1, 2):
            connection = await client.request("GET", "/path", {}, b"")
            assert await read(connection) == b"ok"
            assert (connection.status, connection.content_type) == (200, "text/plain")
            await gone(client)
            assert len(heads) == served
        assert client._idle == []


async def gone(client: Origin) -> None:
    """No connection is left."""
    await until(lambda: not client._open, "all connections closed")


@pytest.mark.parametrize(
    "answer",
    [b"EOF", b"\x16\x03\x01\x02", b"HTTP/1.1 101 Up\r\n\r\nEOF", UPGRADED, UPGRADED + b"x"],
)
async def test_no_http_answer(answer: bytes) -> None:
    async with origin(answer) as (client, heads):
        with pytest.raises(Broken) as broken:
            await get(client)
        assert not broken.value.stale
        assert len(heads) == 1  # a connection of its own: not sent again


@pytest.mark.parametrize("how", ["closes at once", "has had time to read", "is late"])
async def test_stale_is_what_the_server_was_just_closing(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kept-alive connection that fails after its server had time to read has had the request."""
    monkeypatch.setattr(http1, "STALE_SECONDS", 0.0 if how == "has had time to read" else 60.0)
    taken = 0

    async def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        taken += 1
        if taken == 1:
            writer.write(BODIES["length"][0])
        elif how == "is late":
            await asyncio.sleep(300)
        else:
            writer.transport.abort()

    async with origin(answer) as (client, _):
        await get(client)
        deadline = asyncio.get_running_loop().time() if how == "is late" else inf
        call = asyncio.create_task(client.request("POST", "/path", {}, b"{}", deadline))
        if how == "is late":
            await until(lambda: taken == 2, "the request was read")
            client.prune()
        with pytest.raises(Broken) as broken:
            await call
        assert taken == 2
        assert broken.value.stale == (how == "closes at once")
        assert broken.value.late == (how == "is late")


async def test_a_connection_is_closed_before_its_server_may_close_it() -> None:
    """uvicorn, in front of vLLM, keeps an idle connection for 5 s."""
    assert 0 < KEEP_ALIVE_SECONDS < 5
    async with origin(BODIES["length"][0]) as (client, _):
        await get(client)
        (idle,) = client._idle
        idle.idle_since -= KEEP_ALIVE_SECONDS
        client.prune()
        assert client._idle == []


async def test_request_bytes() -> None:
    async with origin(BODIES["length"][0]) as (client, heads):
        await read(await client.request("POST", "/v1/x", {"x-request-id": "7"}, b""))
        start, *headers = heads[0].decode().split("\r\n")
        assert start == "POST /base/v1/x HTTP/1.1"
        assert headers[1:] == ["a: b", "x-request-id: 7", "content-length: 0", "", ""]
        assert headers[0].startswith("host: 127.0.0.1:")


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/a b", {}), ("/a\r\nx: y", {}), ("/ä", {}), ("/a", {"x": "1\r\ny: 2"}), ("/", {"x": "\n"})],
)
async def test_nothing_can_be_slipped_into_the_head(path: str, headers: dict[str, str]) -> None:
    async with origin(BODIES["length"][0]) as (client, heads):
        with pytest.raises(ValueError, match=r"path|line break"):
            await client.request("GET", path, headers, b"")
        assert heads == []


async def test_connections_are_kept_and_pruned(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        ports.add(writer.get_extra_info("peername")[1])
        writer.write(BODIES["length"][0])

    ports: set[int] = set()
    async with origin(answer) as (client, _):
        for _ in range(5):
            await get(client)
        assert len(ports) == 1
        await asyncio.gather(*(get(client) for _ in range(3)))
        assert len(ports) == 3
        monkeypatch.setattr(f"{Origin.__module__}.KEEP_ALIVE_SECONDS", 0.0)
        client.prune()
        await get(client)
        assert len(ports) == 4


async def test_a_reader_that_is_slow_holds_the_server_back() -> None:
    size = 64 * MAX_BUFFERED
    written = 0

    async def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(OK + b"content-length: %d\r\n\r\n" % size)
        while written < size:
            writer.write(b"x" * 65536)
            written += 65536
            await writer.drain()

    async with origin(answer) as (client, _):
        connection = await client.request("GET", "/path", {}, b"")
        await asyncio.sleep(0.3)
        assert written < size
        assert len(await read(connection)) == size


async def test_abort_wakes_the_reader() -> None:
    async with origin(OK + b"content-length: 9\r\n\r\n") as (client, _):
        connection = await client.request("GET", "/path", {}, b"")
        reading = asyncio.create_task(connection.read())
        await asyncio.sleep(0.01)
        connection.abort()
        with pytest.raises(Broken, match="aborted"):
            await reading


async def test_nobody_listens() -> None:
    for url in ("http://127.0.0.1:1", "http://no-such-host.invalid", f"http://{'x' * 70}.invalid"):
        with pytest.raises(ConnectFailed):
            await Origin(url, {}, 1.0).request("GET", "/", {}, b"")


async def test_tls_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("openssl") is None:
        if os.environ.get("CI"):
            pytest.fail("openssl is not installed")
        pytest.skip("openssl is not installed")
    files = {name: str(tmp_path / name) for name in ("key.pem", "cert.pem")}
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-keyout", files["key.pem"], "-out", files["cert.pem"]]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["cert.pem"], files["key.pem"])
    answer = BODIES["length"][0]
    async with origin(answer, tls=context, host="localhost") as (client, _):
        with pytest.raises(ConnectFailed, match="TLS: "):
            await get(client)
    monkeypatch.setenv("SSL_CERT_FILE", files["cert.pem"])
    async with origin(answer, tls=context, host="localhost") as (client, _):
        assert await get(client) == (200, b"hello")
        assert await get(client) == (200, b"hello")
    async with origin(answer, tls=context, host="127.0.0.1") as (client, _):
        with pytest.raises(ConnectFailed, match="TLS: "):
            await get(client)
