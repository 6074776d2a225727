"""Where the gateway listens."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from gemma_gateway.cli import greeting, listen, serve
from gemma_gateway.settings import Settings
from tests.road import Road


@contextmanager
def listening(hosts: Sequence[str], port: int = 0) -> Iterator[list[socket.socket]]:
    with ExitStack() as opened:
        found = [opened.enter_context(one) for one in listen.sockets(hosts, port)]
        for one in found:
            one.listen()
        yield found


def answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 5).close()
    except OSError:
        return False
    return True


@pytest.fixture
def ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")


@pytest.mark.parametrize("host", ["::", "[::]", "", "*"])
def test_everywhere_is_both_families(ipv6: None, host: str) -> None:
    with listening(Settings(host=host).server.hosts) as found:
        port = found[0].getsockname()[1]
        assert answers("127.0.0.1", port)
        assert answers("::1", port)


@pytest.mark.parametrize(
    ("host", "four", "six"),
    [("127.0.0.1", True, False), ("::1", False, True), ("0.0.0.0", True, False),
     ("127.0.0.1,::1", True, True), ("127.0.0.1, [::1],", True, True)],
)  # fmt: skip
def test_an_address_is_itself_alone(ipv6: None, host: str, four: bool, six: bool) -> None:
    with listening(Settings(host=host).server.hosts) as found:
        port = found[0].getsockname()[1]
        assert (answers("127.0.0.1", port), answers("::1", port)) == (four, six)


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_without_ipv6_everywhere_is_ipv4(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A kernel without it, which no test can have: it says so when the socket is made or bound."""
    real = socket.socket

    class Kernel(real):  # type: ignore[misc, valid-type]
        def __init__(self, family: int = socket.AF_INET, *rest: int, **more: int) -> None:
            if family == socket.AF_INET6:
                raise OSError(number, "no IPv6")
            super().__init__(family, *rest, **more)

    monkeypatch.setattr(socket, "socket", Kernel)
    with listening(["::"]) as found:
        assert [one.family for one in found] == [socket.AF_INET]
    with listening(["localhost"]) as found:
        assert {one.family for one in found} == {socket.AF_INET}
    with pytest.raises(OSError, match="can't listen on ::1"):
        listen.sockets(["::1"], 0)


def test_a_port_in_use_names_address_and_port() -> None:
    with listening(["127.0.0.1"]) as found:
        port = found[0].getsockname()[1]
        with pytest.raises(OSError, match=rf"127\.0\.0\.1 port {port}") as error:
            listen.sockets(["127.0.0.1"], port)
    assert error.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("host", ["nobody.invalid", "192.0.2.1"])
def test_what_is_no_address_of_ours_is_named(host: str) -> None:
    with pytest.raises(OSError, match=host.replace(".", r"\.")):
        listen.sockets(["127.0.0.1", host], 0)


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("[::1]", True), ("127.0.0.2", True),
     ("127.0.0.1,::1", True), ("::", False), ("", False), ("*", False), ("0.0.0.0", False),
     ("127.0.0.1,0.0.0.0", False), ("example.com", False)],
)  # fmt: skip
def test_calls_without_a_key_are_for_this_machine_alone(host: str, alone: bool) -> None:
    if alone:
        assert Settings(host=host, allow_anonymous=True).server.only_loopback
    else:
        with pytest.raises(ValueError, match="loopback"):
            Settings(host=host, allow_anonymous=True)


@pytest.mark.parametrize(
    ("host", "url"),
    [("::", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("gw.example", "gw.example")],
)
def test_the_first_words_have_an_address_that_works(host: str, url: str) -> None:
    assert f"http://{url}:8000/v1" in greeting.summary(Settings(host=host), ("m",))


@pytest.mark.parametrize(("given", "seconds"), [({}, 75), ({"keep_alive_seconds": 620}, 620)])
def test_idle_connections_are_kept_as_long_as_the_setting_says(
    given: dict[str, int], seconds: int
) -> None:
    parts = Road(**given).parts
    assert serve._server(parts.settings, parts).config.timeout_keep_alive == seconds
