"""Who a client is by its address, also behind proxies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

Address = IPv4Address | IPv6Address

MOST_HOPS = 32  # proxies in a row that are looked at
LONGEST_HOP = 200  # characters of what one writes; no address is longer
_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*("[^"]*"|[^;\s]*)', re.IGNORECASE)


class Peers:
    """Tells the address of the client of a request.

    That is the other end of the connection, unless it is a trusted proxy. Then it is the last
    address in ``X-Forwarded-For`` (without that header: in ``Forwarded``, RFC 7239) that is not
    itself a trusted proxy's: each proxy appends the address that it sees, so that what stands
    further left is whatever the client has written.

    Args:
        trusted: the proxies whose headers are believed; without any, none are.
    """

    def __init__(self, trusted: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._trusted = tuple(trusted)
        self._known = lru_cache(maxsize=4096)(self._read)  # networks are slow to look into

    def client(self, scope: Scope) -> tuple[str, int] | None:
        """ASGI's ``client`` with the client's own address; None where the connection has none
        (a Unix socket). Behind a proxy the port is 0."""
        peer: tuple[str, int] | None = scope.get("client")
        if peer is None or not (self._trusted or ":" in peer[0]):
            return peer
        address, trusted = self._known(peer[0])
        if not trusted:
            return address or peer[0], peer[1]
        for hop in _hops(scope["headers"]):
            found, trusted = self._known(hop)
            address = found or address  # a proxy that doesn't say is the last that is known
            if not (found and trusted):
                break
        return address, 0

    def _read(self, text: str) -> tuple[str, bool]:
        """An address as it is shown, empty if it is none, and whether a trusted proxy has it."""
        address = _parse(text)
        if address is None:
            return "", False
        return str(address), any(address in network for network in self._trusted)


def _hops(headers: Sequence[tuple[bytes, bytes]]) -> Iterator[str]:
    """Addresses as the proxies have written them, the nearest one's first."""
    values = [value for name, value in headers if name == b"x-forwarded-for"]
    forwarded = not values
    if forwarded:
        values = [value for name, value in headers if name == b"forwarded"]
    hops = b",".join(values).decode("latin-1").rsplit(",", MOST_HOPS)[-MOST_HOPS:]
    for hop in reversed(hops):
        if len(hop) > LONGEST_HOP:
            yield ""
        elif forwarded:
            found = _FOR.search(hop)
            yield found.group(1) if found else ""
        else:
            yield hop


def _parse(text: str) -> Address | None:
    """``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1`` or ``[2001:db8::1]:80``, also in quotes;
    None: none of these. An IPv4 address in an IPv6 one is that IPv4 address."""
    text = text.strip(' \t"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
