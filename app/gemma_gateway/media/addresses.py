"""Which addresses the gateway may fetch from: nothing of its own machine, network or cloud.

Sources: IANA's registries of special-purpose addresses (RFC 6890 and its updates), OWASP's cheat
sheet on server-side request forgery.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

# Beside what ``ipaddress`` knows to be private, loopback, link-local, reserved or multicast.
FURTHER = tuple(
    map(
        ip_network,
        (
            "100.64.0.0/10",  # shared by carriers (RFC 6598)
            "168.63.129.16/32",  # Azure's own services, for each virtual machine
            "192.0.0.0/24",  # for protocols (RFC 6890)
            "192.88.99.0/24",  # relays of 6to4 (RFC 7526)
            "198.18.0.0/15",  # benchmarks (RFC 2544)
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
UNICAST = IPv6Network("2000::/3")  # all that is global and of IPv6
FURTHER_V6 = tuple(
    map(IPv6Network, ("2001::/23", "2001:db8::/32", "3fff::/20"))  # protocols, documentation
)
# IPv4 addresses within others: RFC 6052, RFC 8215.
NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
COMPATIBLE = IPv6Network("::/96")
# An operator's own networks, for ``media_allow_private_urls``.
OWN = tuple(
    map(
        ip_network,
        (
            *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8"),
            *("::1/128", "fc00::/7"),
        ),
    )
)
METADATA = (IPv6Network("fd00:ec2::/32"), IPv6Network("fd20:ce::/32"))  # AWS's, Google's

Address = IPv4Address | IPv6Address


def may_be_asked(address: str | Address, *, private: bool = False) -> bool:
    """Whether the gateway may connect to an address on a client's behalf.

    Args:
        address: as a resolver gives it.
        private: those of the operator's own networks are allowed, too.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        if found.scope_id is not None:
            return False
        if (inner := _within(found)) is not None:
            return may_be_asked(inner, private=private)
    if private and _is_in(found, OWN):
        return not _is_in(found, METADATA)
    return _is_public(found)


def _within(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that traffic to an IPv6 address comes out at; None: there is none."""
    if (inner := address.ipv4_mapped or address.sixtofour) is not None:
        return inner
    if address.teredo is not None:
        return address.teredo[1]
    number = int(address)
    at_the_end = (
        _is_in(address, NAT64)
        or (address in COMPATIBLE and number > 1)
        or number >> 32 & 0xFCFF_FFFF == 0x5EFE  # ISATAP (RFC 5214)
    )
    return IPv4Address(number & 0xFFFF_FFFF) if at_the_end else None


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address):
        return address in UNICAST and address.is_global and not _is_in(address, FURTHER_V6)
    if address.is_multicast or address.is_unspecified or address.is_loopback:
        return False
    return address.is_global and not _is_in(address, FURTHER)


def _is_in(address: Address, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    return any(address in network for network in networks)
