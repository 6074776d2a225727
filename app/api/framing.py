"""A request's head by HTTP's own rules: where its content ends, and what is refused.

llhttp checks the syntax. What it lets pass, and what two readers of one connection could read in
two ways, is judged here, before anything of the request runs. Sources: RFC 9110 (semantics) and
RFC 9112 (HTTP/1.1), by section.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.errors import Code, GatewayError

Headers = list[tuple[bytes, bytes]]

MALFORMED = "The request is no valid HTTP/1.1."
# Fields of one value (9110, 5.3): of two, another reader may take the other.
SINGLE = frozenset(
    (
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"content-type",
        b"authorization",
        b"x-api-key",
    )
)
READ = SINGLE | {b"expect"}
# uri-host [":" port]; it may be empty. 9110, 7.2, and RFC 3986, 3.2.2.
HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.vV]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")
ABSOLUTE = re.compile(rb"https?://[^/?@]+(/[^?]*)?(\?.*)?", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Head:
    """What the protocol needs to know of a good head.

    Args:
        target: path and query.
        waits: the content comes after ``100 Continue`` only.
    """

    target: bytes
    waits: bool


def check(method: bytes, target: bytes, version: str, headers: Headers) -> Head:
    """Judge a head that llhttp has read.

    Args:
        version: ``1.1`` and the like.
        headers: names in lower case.

    Raises:
        GatewayError: VALIDATION_ERROR; the connection must not be read any further.
    """
    if version not in {"1.1", "1.0"}:
        raise refused("This server speaks HTTP/1.1.")
    if method == b"CONNECT":  # behind it another protocol would follow
        raise refused("This server is no proxy.")
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in READ:
            if name not in fields:
                fields[name] = value.strip(b" \t")
            elif name in SINGLE:
                raise refused(f"Send one '{name.decode()}' field.")
            else:
                fields[name] += b"," + value
    _host(fields.get(b"host"), version)
    content = _content(fields, version)
    waits = False
    if b"expect" in fields and content and version == "1.1":  # 9110, 10.1.1
        waits = b"100-continue" in [e.strip() for e in fields[b"expect"].lower().split(b",")]
    if target[:1] != b"/" or b"#" in target:
        target = _other_form(method, target)
    return Head(target, waits)


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


def _host(host: bytes | None, version: str) -> None:
    """9112, 3.2: one, and a valid one, or 400."""
    if host is None:
        if version == "1.1":
            raise refused("Send a 'host' field.")
    elif not HOST.fullmatch(host):
        raise refused("The 'host' field names no host.")


def _content(fields: dict[bytes, bytes], version: str) -> bool:
    """Whether content follows; its end must be told in one way. 9112, 6.1 to 6.3."""
    coding = fields.get(b"transfer-encoding")
    if coding is None:
        return fields.get(b"content-length", b"0").strip(b"0") != b""
    if b"content-length" in fields:
        raise refused("Send 'content-length' or 'transfer-encoding', not both.")
    if version == "1.0":
        raise refused("HTTP/1.0 knows no 'transfer-encoding'.")
    if coding.lower() != b"chunked":
        raise refused("The only 'transfer-encoding' that is understood is 'chunked'.")
    return True


def _other_form(method: bytes, target: bytes) -> bytes:
    """Path and query of a target that isn't just these. 9112, 3.2."""
    if target == b"*" and method == b"OPTIONS":
        return target
    found = ABSOLUTE.fullmatch(target)
    if found is None or b"#" in target:
        raise refused("The request's target is no path.")
    return (found[1] or b"/") + (found[2] or b"")
