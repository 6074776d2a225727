"""Upstreams that come and go behind one name. The resolver is replaced by a table."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from gemma_gateway.core.engine import EngineFailed
from gemma_gateway.engines.upstream.discovery import Name
from tests.engines import MODEL, engine_over, read, request
from tests.loopback import Loopback
from tests.process import free_port
from tests.waiting import PATIENCE, eventually

NAME = "engines.test"


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of ``NAME``; the test changes them. Empty: no such name."""
    addresses: list[str] = []
    resolve = socket.getaddrinfo

    def look_up(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        if host != NAME:
            return resolve(host, port, *args, **options)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return addresses


async def test_each_address_is_an_upstream_and_they_come_and_go(table: list[str]) -> None:
    port = free_port()
    table.append("127.0.0.1")
    async with (
        Loopback(port=port, models=(MODEL,)) as one,
        Loopback(port=port, models=(MODEL, "b"), host="127.0.0.2") as two,
        engine_over(f"dns+http://{NAME}:{port}/v1", health_interval=0.2) as engine,
    ):
        assert [u.url for u in engine.state().servers] == [f"http://127.0.0.1:{port}/v1"]
        await eventually(lambda: engine.models() == (MODEL,))
        table.append("127.0.0.2")
        await eventually(lambda: engine.models() == (MODEL, "b"))
        await eventually(lambda: not any(u.ejected for u in engine.state().servers))
        for _ in range(8):
            assert (await read(engine, request()))[0] == 200
        assert one.state.calls == two.state.calls == 4
        assert two.state.headers["Host"] == f"{NAME}:{port}"

        held = [await engine.send(request(stall=1)) for _ in range(2)]
        table.remove("127.0.0.2")
        await eventually(lambda: len(engine.state().servers) == 1)
        assert engine.models() == (MODEL,)
        assert two.state.running == 1  # a call that it holds goes on
        for reply in held:
            await reply.abort()
        await eventually(lambda: len(engine.servers.origins) == 1)
        table[:] = []  # no ready pod, or no resolver: better try the known ones
        await asyncio.sleep(0.5)
        assert (await read(engine, request()))[0] == 200


async def test_a_name_that_does_not_exist_yet(table: list[str]) -> None:
    port = free_port()
    async with engine_over(f"dns+http://{NAME}:{port}/v1", health_interval=0.2) as engine:
        assert engine.serves("anything")  # nothing is known
        assert not engine.state().ready
        with pytest.raises(EngineFailed, match="unavailable"):
            await engine.send(request())
        async with Loopback(port=port):
            table.append("127.0.0.1")
            await engine.wait_ready(PATIENCE)
            assert (await read(engine, request()))[0] == 200


async def test_the_systems_own_resolver() -> None:
    async with (
        Loopback() as server,
        engine_over("dns+" + server.url.replace("127.0.0.1", "localhost")) as engine,
    ):
        await eventually(lambda: any(not u.ejected for u in engine.state().servers))
        assert (await read(engine, request()))[0] == 200


@pytest.mark.parametrize(
    ("url", "address", "base"),
    [
        ("http://n:8000/v1", "10.0.0.7", "http://10.0.0.7:8000/v1"),
        ("https://n/v1", "10.0.0.7", "https://10.0.0.7/v1"),
        ("http://n:8000/v1", "fd00::7", "http://[fd00::7]:8000/v1"),
    ],
)
def test_how_an_upstream_is_called(url: str, address: str, base: str) -> None:
    assert Name(url).at(address) == base
