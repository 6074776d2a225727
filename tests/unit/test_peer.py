"""The client's address: who connects, or what trusted proxies say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gemma_gateway.api.peer import MOST_HOPS, Peers
from gemma_gateway.settings import Settings

PROXIES = ("10.0.0.0/8", "192.0.2.7", "2001:db8:1::/48")


def client(peer: Any, *headers: tuple[str, str], trusted: tuple[str, ...] = PROXIES) -> str | None:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    peers = Peers(Settings(trusted_proxies=trusted).trusted_proxies)
    found = peers.client({"client": peer and (peer, 5000), "headers": raw})
    return found and found[0]


def xff(*values: str) -> list[tuple[str, str]]:
    return [("X-Forwarded-For", value) for value in values]


def test_without_trusted_proxies_no_header_is_believed() -> None:
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
        value = "for=1.2.3.4" if header == "Forwarded" else "1.2.3.4"
        assert client("10.0.0.1", (header, value), trusted=()) == "10.0.0.1"
    assert client("::ffff:10.0.0.1", trusted=()) == "10.0.0.1"
    assert client("fe80::1%eth0", trusted=()) == "fe80::1"
    assert client(None, *xff("1.2.3.4"), trusted=()) is None  # a Unix socket


@pytest.mark.parametrize(
    ("peer", "headers", "found"),
    [
        # who isn't a proxy says nothing about himself
        ("203.0.113.9", xff("1.2.3.4"), "203.0.113.9"),
        ("203.0.113.9", [("Forwarded", "for=1.2.3.4")], "203.0.113.9"),
        # from the right, past trusted proxies, however the headers are cut
        ("10.0.0.1", xff("203.0.113.9"), "203.0.113.9"),
        ("10.0.0.1", xff("1.2.3.4, 203.0.113.9"), "203.0.113.9"),
        ("10.0.0.1", xff("1.2.3.4", "203.0.113.9"), "203.0.113.9"),
        ("10.0.0.1", xff("1.2.3.4", "203.0.113.9, 192.0.2.7", "10.9.9.9"), "203.0.113.9"),
        ("10.0.0.1", xff("10.1.1.1,10.2.2.2"), "10.1.1.1"),  # nothing but proxies
        ("192.0.2.7", xff("192.0.2.8"), "192.0.2.8"),
        ("192.0.2.8", xff("1.2.3.4"), "192.0.2.8"),
        # IPv6, in each spelling
        ("::ffff:10.0.0.1", xff("2001:db8::1"), "2001:db8::1"),
        ("2001:db8:1::5", xff("[2001:DB8::0001]:443"), "2001:db8::1"),
        ("10.0.0.1", xff("::ffff:203.0.113.9"), "203.0.113.9"),
        ("10.0.0.1", xff("203.0.113.9:1234"), "203.0.113.9"),
        ("10.0.0.1", xff('"203.0.113.9"'), "203.0.113.9"),
        # RFC 7239
        ("10.0.0.1", [("Forwarded", "for=203.0.113.9")], "203.0.113.9"),
        ("10.0.0.1", [("Forwarded", 'For="[2001:db8::1]:47";proto=https')], "2001:db8::1"),
        ("10.0.0.1", [("Forwarded", "for=1.2.3.4, by=10.0.0.1; for=203.0.113.9")], "203.0.113.9"),
        ("10.0.0.1", [("Forwarded", "for=1.2.3.4"), ("Forwarded", "for=203.0.113.9")],
         "203.0.113.9"),
        ("10.0.0.1", [("Forwarded", "for=_hidden")], "10.0.0.1"),
        ("10.0.0.1", [("Forwarded", "for=1.2.3.4, for=unknown")], "10.0.0.1"),
        ("10.0.0.1", [("Forwarded", "proto=https;xfor=1.2.3.4")], "10.0.0.1"),
        # X-Forwarded-For is the one that proxies write
        ("10.0.0.1", [("Forwarded", "for=1.2.3.4"), *xff("203.0.113.9")], "203.0.113.9"),
        # what a trusted proxy writes and is no address: that proxy is the last that is known
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", xff(""), "10.0.0.1"),
        ("10.0.0.1", xff("1.2.3.4, "), "10.0.0.1"),
        ("10.0.0.1", xff("1.2.3.4, unknown"), "10.0.0.1"),
        ("10.0.0.1", xff("1.2.3.4, 10.5.5.5, \xff\x00<script>"), "10.0.0.1"),
        ("10.0.0.1", xff("1.2.3.4, <script>, 10.5.5.5"), "10.5.5.5"),
        ("10.0.0.1", xff("1.2.3.256"), "10.0.0.1"),
        ("10.0.0.1", xff("[::1"), "::1"),
        ("10.0.0.1", xff("1" * 60_000), "10.0.0.1"),
    ],
)  # fmt: skip
def test_behind_proxies(peer: str, headers: list[tuple[str, str]], found: str) -> None:
    assert client(peer, *headers) == found


def test_a_chain_of_proxies_is_followed_only_so_far() -> None:
    chain = ", ".join(["203.0.113.9", *["10.0.0.2"] * 20_000])
    assert client("10.0.0.1", *xff(chain)) == "10.0.0.2"
    chain = ", ".join(["203.0.113.9", *["10.0.0.2"] * (MOST_HOPS - 1)])
    assert client("10.0.0.1", *xff(chain)) == "203.0.113.9"


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("fd00::/8", "fd00::/8"),
        ("::1", "::1/128"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
    ],
)
def test_networks(text: str, network: str) -> None:
    (found,) = Settings(trusted_proxies=text).trusted_proxies
    assert str(found) == network


@pytest.mark.parametrize(
    "text",
    ["*", "nginx", "10.0.0.1/8", "10.0.0.0/33", "0.0.0.0/0", "::/0", "::ffff:0:0/96", "1.2.3",
     "http://10.0.0.1", "10.0.0.1:80", "[::1]", [1], 7, {"a": "b"}],
)  # fmt: skip
def test_what_is_no_network_is_refused(text: Any) -> None:
    with pytest.raises(ValidationError, match=r"trusted_proxies\n"):
        Settings(trusted_proxies=text)
