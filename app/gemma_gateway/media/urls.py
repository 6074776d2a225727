"""URLs of images as clients send them: taken apart strictly, and held to the operator's list."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import unquote

from gemma_gateway.media.check import Refused
from gemma_gateway.settings.url_patterns import PORTS, UrlPattern

MOST_CHARS = 2048
# No blanks, backslashes or controls, which readers of URLs take in different ways (RFC 3986).
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[!$-;=@-\[\]_a-z~]*)?(?:\?(?P<query>[!$-;=?@-\[\]_a-z~]*))?(?:#[!-~]*)?",
    re.IGNORECASE | re.ASCII,
)
# What some resolvers read as a number, so as an address: 2130706433, 0x7f.1, 127.1, 0177.0.0.1.
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")


class Target(NamedTuple):
    """Where an image lies.

    Args:
        url: to be sent as it stands.
        address: the host, where it is an address itself.
    """

    url: str
    address: IPv4Address | IPv6Address | None


def target(url: str, allowed: Sequence[UrlPattern]) -> Target:
    """Take a URL apart.

    Args:
        url: of a client, or of a server that sends on to another.
        allowed: it has to match one of these.

    Raises:
        Refused: it can't be read in one way only, or matches none.
    """
    found = _URL.fullmatch(url) if len(url) <= MOST_CHARS else None
    if found is None:
        raise _refused(
            "This is no plain URL of an image: https://, a host, and a path in ASCII, without user "
            f"or password and of at most {MOST_CHARS} characters."
        )
    scheme, host, path = found["scheme"].lower(), found["host"].lower(), found["path"] or "/"
    port = int(found["port"] or PORTS[scheme])
    address = _address(host)
    if any(_is_step(segment) for segment in path.split("/")):
        raise _refused("The path of the URL has a step such as '..' in it.")
    if not any(pattern.matches(scheme, host, port, path) for pattern in allowed):
        raise _refused(
            "Images are not fetched from this URL; the operator lists those that are (media_urls)."
        )
    where = f"{scheme}://{host}" + (f":{port}" if port != PORTS[scheme] else "")
    return Target(where + path + (f"?{found['query']}" if found["query"] else ""), address)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    if host[0] != "[" and not _NUMBER.fullmatch(host):
        return None
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        raise _refused(
            "The host of the URL is no name, and no address in its usual form."
        ) from None


def _is_step(segment: str) -> bool:
    """Whether a server may take this part of a path for a way up, or for several parts."""
    plain = unquote(segment)
    return (
        plain.partition(";")[0] in (".", "..")
        or not plain.isprintable()
        or "/" in plain
        or "\\" in plain
    )


def _refused(text: str) -> Refused:
    return Refused("url", text)
