"""Where images may be fetched from: addresses, forms of URLs, and the operator's patterns."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gemma_gateway.media.addresses import may_be_asked
from gemma_gateway.media.check import Refused
from gemma_gateway.media.urls import target
from gemma_gateway.settings import MediaSettings, Settings
from gemma_gateway.settings.url_patterns import url_pattern

PUBLIC = [
    "8.8.8.8",
    "93.184.215.14",
    "172.32.0.1",
    "100.128.0.1",
    "2606:4700::6810:84e5",
    "2a00:1450:4001:830::200e",
    "::ffff:8.8.8.8",
    "2002:0808:0808::1",  # 6to4 of 8.8.8.8
    "64:ff9b::8.8.8.8",
]
# The operator's own, that a setting allows.
OWN = [
    "127.0.0.1",
    "127.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",  # shared by carriers
    "::1",
    "fc00::1",
    "fd12:3456:789a::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:7f00:1",
    "2002:7f00:1::1",  # 6to4 of 127.0.0.1
    "2002:c0a8:101::1",  # 6to4 of 192.168.1.1
    "64:ff9b::10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::c0a8:1",
    "2001:0:808:808:0:0:80ff:fffe",  # Teredo, client 127.0.0.1
    "::127.0.0.1",
    "::5efe:10.0.0.1",  # ISATAP
    "2001:db8:1::200:5efe:192.168.0.1",
]
NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",  # metadata of most clouds
    "169.254.170.2",
    "168.63.129.16",  # Azure's
    "192.0.0.192",  # Oracle's
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "fd00:ec2::254",  # AWS's metadata
    "fd20:ce::254",  # Google's
    "100::1",
    "2001:db8::1",
    "3fff::1",
    "4000::1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "2001:0:0:0:0:0:5601:5601",  # Teredo, client 169.254.169.254
    "",
    "localhost",
    "1.2.3",
    "0177.0.0.1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_may_be_asked(address: str) -> None:
    assert may_be_asked(address)
    assert may_be_asked(address, private=True)


@pytest.mark.parametrize("address", OWN)
def test_what_is_the_operators_own_may_be_asked_where_they_say_so(address: str) -> None:
    assert not may_be_asked(address)
    assert may_be_asked(address, private=True)


@pytest.mark.parametrize("address", NEVER)
def test_what_is_neither_may_never_be_asked(address: str) -> None:
    assert not may_be_asked(address)
    assert not may_be_asked(address, private=True)


# ---- URLs

EVERYTHING = (
    "https://images.example.com/public/*",
    "https://images.example.com/one.png",
    "https://*.pictures.example/*",
    "https://ports.example:8443/*",
    "http://plain.example/*",
    "https://[2606:4700::1]/*",
    "https://8.8.8.8/*",
    "https://127.0.0.1/*",
)
ALLOWED = tuple(map(url_pattern, EVERYTHING))
GOOD = {
    "https://images.example.com/public/a.png": "",
    "HTTPS://Images.Example.COM/public/a.png": "https://images.example.com/public/a.png",
    "https://images.example.com:443/public/a": "https://images.example.com/public/a",
    "https://images.example.com/public/a?b=c/../d&e=%2e%2e": "",
    "https://images.example.com/public/a#b": "https://images.example.com/public/a",
    "https://images.example.com/public/": "",
    "https://images.example.com/public/a%20b.png": "",
    "https://images.example.com/one.png": "",
    "https://a.pictures.example": "https://a.pictures.example/",
    "https://a.b.pictures.example/x": "",
    "https://ports.example:8443/x": "",
    "http://plain.example/x": "",
    "https://[2606:4700::1]/x": "",
    "https://8.8.8.8/x": "",
}


@pytest.mark.parametrize("url", GOOD)
def test_urls_of_the_list(url: str) -> None:
    assert target(url, ALLOWED).url == (GOOD[url] or url)


def test_an_address_in_a_url_is_told_as_one() -> None:
    assert str(target("https://8.8.8.8/x", ALLOWED).address) == "8.8.8.8"
    assert str(target("https://127.0.0.1/x", ALLOWED).address) == "127.0.0.1"
    assert str(target("https://[2606:4700::1]/x", ALLOWED).address) == "2606:4700::1"
    assert target("http://plain.example/x", ALLOWED).address is None


@pytest.mark.parametrize(
    "url",
    [
        # not on the list
        "https://images.example.com/private/a.png",
        "https://images.example.com/public",
        "https://images.example.com/Public/a.png",
        "https://images.example.com/%70ublic/a.png",
        "https://images.example.com/one.png/two",
        "https://images.example.com:8443/public/a.png",
        "http://images.example.com/public/a.png",
        "https://images.example.com.evil.example/public/a.png",
        "https://evilimages.example.com/public/a.png",
        "https://images.example.com./public/a.png",
        "https://pictures.example/x",
        "https://evilpictures.example/x",
        "https://ports.example/x",
        "https://plain.example/x",
        "https://8.8.4.4/x",
        # ways out of a path
        "https://images.example.com/public/../private/a.png",
        "https://images.example.com/public/%2e%2e/private/a.png",
        "https://images.example.com/public/.%2E/private/a.png",
        "https://images.example.com/public/..;x/private/a.png",
        "https://images.example.com/public/..%2fprivate",
        "https://images.example.com/public/a%5c..%5cb",
        "https://images.example.com/public/./a",
        "https://images.example.com/public/%00a",
        # more than one reading
        "https://user@images.example.com/public/a",
        "https://images.example.com@evil.example/public/a",
        "https://evil.example\\@images.example.com/public/a",
        "https://images.example.com\\.evil.example/public/a",
        "https://images.example.com/public/a b",
        "https://images.example.com/public/a\n",
        "https://images.example.com/public/\u00e9",
        "https://images.example.com/public/a\r\nHost: evil",
        "https://images.exam\u217ale.com/public/a",
        "https://\u0130mages.example.com/public/a",
        "https:///images.example.com/public/a",
        "https:images.example.com/public/a",
        "//images.example.com/public/a",
        "https://images.example.com:99999/public/a",
        "https://images.example.com:/public/a",
        "https://images.example.com:+443/public/a",
        "https://%69mages.example.com/public/a",
        "https://images.example.com/public/" + "a" * 3000,
        "ftp://images.example.com/public/a",
        "file:///etc/passwd",
        "https://",
        "",
        # addresses in other forms
        "https://2130706433/x",
        "https://0x7f000001/x",
        "https://0x7f.1/x",
        "https://0177.0.0.1/x",
        "https://127.1/x",
        "https://127.0.1/x",
        "https://127.0.0.1./x",
        "https://127.0.0.01/x",
        "https://8.8.8.8.8/x",
        "https://a.pictures.example.127/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://[fe80::1%25eth0]/x",
        "https://[::1/x",
        "https://[]/x",
        "https://\u2460\u2461.8.8.8/x",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(Refused) as caught:
        target(url, ALLOWED)
    assert caught.value.outcome == "url"


@pytest.mark.parametrize(
    "pattern",
    [
        *("*", "https://*", "https://*/x", "https://*.com/*", "images.example.com", "ftp://a.b/*"),
        *("https://a.*.b/*", "https://a.b/*/c", "https://a.b/c?d", "https://a.b/c#d", "//a.b/*"),
        *("https://user:SECRET@a.b/*", "https://a.b:0/*", "https://a.b:99999/", "https://a b/"),
    ],
)
def test_patterns_are_checked_at_the_start(pattern: str) -> None:
    with pytest.raises(ValidationError) as caught:
        MediaSettings(media_urls=(pattern,))
    (error,) = caught.value.errors()
    assert error["loc"] == ("media_urls",)
    assert "SECRET" not in error["msg"]


def test_a_variable_holds_several_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_MEDIA_URLS", "https://a.example/x/*, https://*.b.example/*")
    assert Settings().media.media_urls == ("https://a.example/x/*", "https://*.b.example/*")
