"""A request's head by HTTP's own rules: where its content ends, and what is refused.

llhttp checks the syntax. What it lets pass, and what two readers of one connection could read in
two ways, is judged here, before anything of the request runs. Sources: RFC 9110 (semantics) and
RFC 9112 (HTTP/1.1), by section.
"""

from __future__ import annotations

import re
from functools import lru_cache

from gemma_gateway.core.errors import Code, GatewayError

Headers = list[tuple[bytes, bytes]]

MALFORMED = "The request is not valid HTTP/1.1."
# Fields of one value (9110, 5.3): of two, another reader may take the other.
SINGLE = frozenset(
    (
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"content-type",
        b"authorization",
        b"x-api-key",
        b"api-key",
    )
)
# uri-host [":" port]; it may be empty. 9110, 7.2, and RFC 3986, 3.2.2.
HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.vV]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")
ABSOLUTE = re.compile(rb"https?://[^/?@]+(/[^?]*)?(\?.*)?", re.IGNORECASE | re.DOTALL)


def check(method: bytes, target: bytes, version: str, headers: Headers) -> tuple[bytes, bool, int]:
    """Judge a head that llhttp has read. It runs for every request: the usual one costs little.

    Args:
        version: ``1.1`` and the like.
        headers: names in lower case.

    Returns:
        Path and query, whether the client waits for ``100 Continue`` with its content, and that
        content's length in bytes (0: not told).

    Raises:
        GatewayError: VALIDATION_ERROR; the connection must not be read any further.
    """
    fields = dict(headers)
    if len(fields) != len(headers):
        _once(headers)
    if version != "1.1" and version != "1.0":  # noqa: PLR1714 - twice as fast as a set
        raise refused("This server speaks HTTP/1.1.")
    if method == b"CONNECT":  # behind it another protocol would follow
        raise refused("This server is not a proxy.")
    if b"host" in fields:
        _host(fields[b"host"])
    elif version == "1.1":  # 9112, 3.2
        raise refused("Send a 'host' field.")
    if b"transfer-encoding" in fields:
        _coding(fields, version)
    if target[:1] != b"/" or b"#" in target:
        target = _other_form(method, target)
    waits = b"expect" in fields and _waits(fields, version, headers)
    return target, waits, int(fields.get(b"content-length", 0))


def without_upgrade(method: bytes, target: bytes, version: str, headers: Headers) -> bytes:
    """A head again, without its wish to speak another protocol, which may be ignored (9110, 7.8).

    The fields are what llhttp has cut out at line ends, so none can hold one.
    """
    lines = [b"%s %s HTTP/%s" % (method, target, version.encode())]
    lines.extend(b"%s: %s" % field for field in headers if field[0] != b"upgrade")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def refused(message: str) -> GatewayError:
    """The error for a request that isn't HTTP as it should be."""
    return GatewayError(Code.VALIDATION_ERROR, message)


def _once(headers: Headers) -> None:
    """Some field comes twice."""
    seen = set()
    for name, _ in headers:
        if name in seen and name in SINGLE:
            raise refused(f"Send one '{name.decode()}' field.")
        seen.add(name)


@lru_cache(64)
def _host(host: bytes) -> None:
    """9112, 3.2: a valid one, or 400."""
    if not HOST.fullmatch(host.strip(b" \t")):
        raise refused("The 'host' field doesn't name a host.")


def _coding(fields: dict[bytes, bytes], version: str) -> None:
    """The content's end must be told in one way that is known here. 9112, 6.1 to 6.3."""
    if b"content-length" in fields:
        raise refused("Send 'content-length' or 'transfer-encoding', not both.")
    if version == "1.0":
        raise refused("HTTP/1.0 has no 'transfer-encoding'.")
    if fields[b"transfer-encoding"].strip(b" \t").lower() != b"chunked":
        raise refused("The only supported 'transfer-encoding' is 'chunked'.")


def _waits(fields: dict[bytes, bytes], version: str, headers: Headers) -> bool:
    """9110, 10.1.1: to HTTP/1.0, or without content, the word means nothing."""
    length = fields.get(b"content-length", b"").strip(b" \t0")
    if version == "1.0" or not (length or b"transfer-encoding" in fields):
        return False
    said = b",".join(value for name, value in headers if name == b"expect")
    return b"100-continue" in [word.strip() for word in said.lower().split(b",")]


def _other_form(method: bytes, target: bytes) -> bytes:
    """Path and query of a target that isn't just these. 9112, 3.2."""
    if target == b"*" and method == b"OPTIONS":
        return target
    found = ABSOLUTE.fullmatch(target)
    if found is None or b"#" in target:
        raise refused("The request's target is not a path.")
    return (found[1] or b"/") + (found[2] or b"")
