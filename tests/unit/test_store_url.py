"""The store's URLs: what each spelling means, and what is refused in which words."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from gemma_gateway.storage.address import Address
from gemma_gateway.storage.cluster import Cluster
from gemma_gateway.storage.connection import Script, StoreError, pack, prepare
from gemma_gateway.storage.redis import Store
from gemma_gateway.storage.sentinel import Sentinels

PING = pack("PING")


def test_one_server() -> None:
    assert Address.parse("redis://h") == Address("h", 6379, "", None, (PING,))
    assert Address.parse("redis://u:p%40%2F@h:1/2").greeting == (
        pack("AUTH", "u", "p@/"),
        pack("SELECT", 2),
        PING,
    )
    assert Address.parse("unix:///run/redis.sock?db=3") == Address(
        "", 6379, "/run/redis.sock", None, (pack("SELECT", 3), PING)
    )
    assert Address.parse("redis://[::1]:7000").host == "::1"


def test_tls_is_verified_unless_told_otherwise() -> None:
    def told(query: str) -> tuple[bool, ssl.VerifyMode]:
        tls = Address.parse(f"rediss://h/0{query}").tls
        assert tls is not None
        return tls.check_hostname, tls.verify_mode

    assert told("") == (True, ssl.CERT_REQUIRED)
    assert told("?ssl_check_hostname=false") == (False, ssl.CERT_REQUIRED)
    assert told("?ssl_cert_reqs=none") == (False, ssl.CERT_NONE)


def test_a_cluster() -> None:
    cluster = Cluster.parse("redis+cluster://u:p@a:7000,b,[::1]:7001/0?x=y", "redis", 1)
    seeds = cluster._seeds
    assert [(seed.host, seed.port) for seed in seeds] == [("a", 7000), ("b", 6379), ("::1", 7001)]
    assert {seed.greeting for seed in seeds} == {(pack("AUTH", "u", "p"), PING)}
    secure = Cluster.parse("rediss+cluster://discovery:6379", "rediss", 1)._seeds
    assert secure[0].tls is not None


def test_sentinel() -> None:
    url = "redis+sentinel://u:p@a,b:7000/mymaster/4?sentinel_username=v&sentinel_password=q%26"
    found = Sentinels.parse(url, "redis")
    places = [(sentinel.host, sentinel.port) for sentinel in found._sentinels]
    assert places == [("a", 26379), ("b", 7000)]
    assert {s.greeting for s in found._sentinels} == {(pack("AUTH", "v", "q&"), PING)}
    assert found._master.greeting == (pack("AUTH", "u", "p"), pack("SELECT", 4), PING)
    open_ones = Sentinels.parse("rediss+sentinel://:p@a/mymaster", "rediss")
    assert open_ones._sentinels[0].greeting == (PING,)  # the master's password isn't theirs
    assert open_ones._sentinels[0].tls is not None
    assert open_ones._master.tls is not None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://h", "it must begin with redis://"),
        ("redis+proxy://h", "it must begin with redis://"),
        ("unix+cluster:///run/s", "it must begin with redis://"),
        ("h:6379", "it must begin with redis://"),
        ("redis://u:secr/et@h", "percent-encoded"),
        ("redis+cluster:///0", "no host in it"),
        ("redis+cluster://a,b/3", "has only database 0"),
        ("redis+sentinel://a,b", "/name-of-the-master/database must follow"),
        ("redis+sentinel://a,b/name/zero", "/name-of-the-master/database must follow"),
        ("redis+sentinel://a:port/name", "percent-encoded"),
        ("rediss://h?ssl_ca_certs=/nowhere/ca.pem", "/nowhere/ca.pem: No such file"),
    ],
)
def test_what_cannot_be_used_is_refused_without_telling_secrets(url: str, words: str) -> None:
    with pytest.raises(ValueError, match="store URL: ") as refused:
        Store(url)
    assert words in str(refused.value)
    assert "secr" not in str(refused.value)


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    with pytest.raises(ValueError, match=r"ca\.pem"):
        Store(f"rediss+cluster://h?ssl_ca_certs={file}")


def test_a_script_stays_within_one_slot() -> None:
    script = Script("return 1")
    assert prepare(script, ["a:{x}:b", "c:{x}"], []).slot == 16287  # CLUSTER KEYSLOT x
    with pytest.raises(ValueError, match="without a common hash tag: a, b"):
        prepare(script, ["a", "b"], [])


async def test_a_link_that_is_lost_with_its_greeting_is_none() -> None:
    """The last answer and the end come in one read: what is handed out must be alive."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"+PONG\r\n+AND SOMETHING ELSE\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        target = Address.parse(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(StoreError, match="unexpected answer"):
            await target.open(30, lambda link, why: None)
