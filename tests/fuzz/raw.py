"""Raw bytes on a socket: framing that is odd, cut anywhere, with requests inside of requests.

Every request carries an ``x-request-id`` of its own, which the gateway gives back. The requests
that stand where a body is expected carry ids, too: an answer with one of those is smuggling.
"""

from __future__ import annotations

import http.client
import json
import random
import re
import socket
import time
from collections import Counter
from contextlib import suppress
from io import BytesIO

from tests.fuzz.requests import MODEL, TURN
from tests.process import KEY, Gateway

CALL = json.dumps({"model": MODEL, "messages": TURN, "max_tokens": 2}).encode()
METHODS = ("POST", "GET", "HEAD", "OPTIONS", "PUT", "TRACE", "CONNECT", "PRI", "post", "")
TARGETS = (
    "/v1/chat/completions", "/v1/messages", "/v1/models", "/health/live", "/v1/usage", "*", "/",
    "http://127.0.0.1/v1/models", "//evil/v1/models", "/v1/models/", "/docs", "/v1/keys/", "a:80",
)  # fmt: skip
VERSIONS = (
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/2.0",
    "HTTP/0.9",
    "HTTP/1.1 x",
    "",
)
FRAMING = (
    "Upgrade: h2c", "Upgrade: websocket", "Upgrade: foo, HTTP/2.0", "upgrade:",
    "Connection: Upgrade", "Connection: upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABk",
    "Connection: close", "Connection: keep-alive", "Connection: content-length",
    "Connection: transfer-encoding, close", "Keep-Alive: timeout=1", "Proxy-Connection: close",
    "TE: trailers", "Trailer: content-length", "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity", "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding : chunked", "Transfer-Encoding: xchunked", "Transfer-Encoding:\tchunked",
    "Transfer-Encoding: \"chunked\"", "Content-Length: 0", "Content-Length: 1",
    "Content-Length: +61", "Content-Length: -1", "Content-Length: 1, 1", "Content-Length: 0x10",
    "Content-Length: 99999999999999999999", "Content-Length:", "Content-Length: 5 5",
    "Expect: 100-continue", "Expect: 200-ok", "Host: evil", "Host:", " folded: line", "no colon",
    "x: \x00", "x: \x7f", "X-Forwarded-For: 1.2.3.4", "x" * 70_000 + ": y",
)  # fmt: skip
PAUSES = (0.0, 0.0, 0.001, 0.02)  # seconds between segments
QUIET = 0.25  # seconds without a byte, after which no more is expected


def chunked(chance: random.Random, body: bytes) -> bytes:
    """The body in chunks, with what may stand beside them, now and then wrong."""
    out = b""
    step = chance.choice([1, 7, 1000, len(body) or 1])
    for at in range(0, len(body), step):
        part = body[at : at + step]
        extension = chance.choice([b"", b"", b";a=b", b";" + b"x" * chance.choice([9, 20_000])])
        out += b"%x" % len(part) + extension + b"\r\n" + part + b"\r\n"
    trailer = chance.choice([b"", b"", b"x: y\r\n", b"content-length: 9\r\n", b"a:b\r\n" * 30_000])
    return (
        out
        + chance.choice([b"0\r\n", b"0\r\n", b"0;x\r\n", b"00\r\n", b"g\r\n"])
        + trailer
        + b"\r\n"
    )


class Conversation:
    """A few requests on one connection.

    Attributes:
        data: all bytes.
        mine: ids of the requests; an answer may carry one of them, or one of the gateway's making.
        hidden: ids of what stands in bodies; no answer may carry them.
    """

    def __init__(self, chance: random.Random, number: int) -> None:
        self.mine: list[str] = []
        self.hidden: list[str] = []
        self.data = b""
        for place in range(chance.choice([1, 2, 2, 3])):
            self._add(chance, f"{number}-{place}")

    def _add(self, chance: random.Random, name: str) -> None:
        plain = chance.random() < 0.5
        target = "/v1/chat/completions" if plain else chance.choice(TARGETS)
        lines = [
            f"{'POST' if plain else chance.choice(METHODS)} {target} {chance.choice(VERSIONS)}"
        ]
        lines += ["Host: 127.0.0.1", f"x-request-id: mine-{name}"]
        if chance.random() < 0.8:
            lines += [f"Authorization: Bearer {KEY}", "Content-Type: application/json"]
        body = CALL
        well_framed = chance.random() < 0.7
        if chance.random() < 0.6:  # a request as the body of this one
            inside = f"hidden-{name}"
            body = f"GET /v1/models HTTP/1.1\r\nhost: h\r\nx-request-id: {inside}\r\n\r\n".encode()
            if well_framed:  # else it may rightly be read as the next request
                self.hidden.append(inside)
        odd = chance.sample(FRAMING, chance.choice([0, 1, 1, 2]))
        if well_framed:
            framing = ("content-length", "transfer-encoding")
            odd = [line for line in odd if not line.lower().startswith((*framing, " ", "no colon"))]
            if chance.random() < 0.5:
                lines.append(f"Content-Length: {len(body)}")
            else:
                lines.append("Transfer-Encoding: chunked")
                body = chunked(chance, body)
        lines[2:2] = odd
        self.mine.append(f"mine-{name}")
        self.data += "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body

    def hold(self, chance: random.Random, gateway: Gateway) -> Counter[int]:
        """Send it in segments, read what comes, and check it; the statuses that came.

        Raises:
            AssertionError: an answer to what was a body, a 5xx that isn't a stated 503, or bytes
                that are no HTTP.
        """
        came = b""
        with socket.create_connection(("127.0.0.1", gateway.port), 20) as link:
            link.settimeout(20)
            with suppress(ConnectionError):
                for segment in _cut(chance, self.data):
                    link.sendall(segment)
                    time.sleep(chance.choice(PAUSES))
                link.settimeout(QUIET)
                with suppress(TimeoutError):
                    while data := link.recv(65536):
                        came += data
        return self._check(came)

    def _check(self, came: bytes) -> Counter[int]:
        found = Counter[int]()
        for name in self.hidden:
            assert name.encode() not in came, (self.data[:3000], came[:3000])
        for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", came):
            found[int(status)] += 1
            assert int(status) < 500 or int(status) == 503, (self.data[:3000], came[:3000])
        assert not came or came.startswith(b"HTTP/1."), came[:200]
        final = came.partition(b"HTTP/1.1 100 Continue\r\n\r\n")
        if final[0] or final[2]:  # the answer may not have come in the time that was waited
            first = http.client.HTTPResponse(_Bytes(came))  # type: ignore[arg-type]
            first.begin()
        assert found.total() <= len(self.mine) * 2 + 1, (self.data[:3000], came[:3000])
        return found


class _Bytes:
    """What http.client wants of a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> BytesIO:
        return BytesIO(self._data)


def _cut(chance: random.Random, data: bytes) -> list[bytes]:
    """The bytes in one segment, in two, or in many."""
    places = {len(data)}
    end = data.find(b"\r\n\r\n") + 4
    for _ in range(chance.choice([0, 1, 1, 5])):
        places.add(chance.choice([end, chance.randint(0, len(data))]))
    cuts = sorted(places)
    return [data[a:b] for a, b in zip([0, *cuts], cuts, strict=False) if a < b]
