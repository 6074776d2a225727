"""What is left of a call once it is over: nothing that only the garbage collector could take away.

A body, or a connection, in a circle of references would stay until the collector comes by, which
depends on what others do meanwhile: callers could fill the memory with refused bodies.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from gemma_gateway.api.connection import Connection
from gemma_gateway.api.http import BoundedHttp
from gemma_gateway.cli import serve
from gemma_gateway.core.call import Call
from gemma_gateway.main import assemble
from gemma_gateway.settings import Settings
from tests.calls import PATHS, ask
from tests.exchange import Exchange
from tests.process import AUTH, KEY, Engine, free_port
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
RULE_TYPES = (Call, Connection, BoundedHttp)
FAR_TOO_LONG = "word " * 20_000  # read in the thread
ENDLESS: dict[str, Any] = {"pieces": ["word "] * 50, "stall": 20}


def said(dialect: str, text: str = "echo: hi", **more: Any) -> bytes:
    return json.dumps(ask(dialect, text, **more)).encode()


# A request each, and the statuses that it may end with; 0: the client leaves.
ENDS: dict[str, tuple[bytes, int]] = {
    "answered": (said("chat"), 200),
    "a stream": (said("chat", stream=True), 200),
    "a large answer": (said("chat", loopback={"pieces": ["word "] * 9000}), 200),
    "no JSON": (b"{", 400),
    "refused": (said("chat", temperature=9), 400),
    "refused, large": (said("chat", FAR_TOO_LONG), 400),
    "filtered": (said("chat", "I hate you"), 400),
    "a filtered answer": (said("chat", loopback={"pieces": ["I ", "hate ", "you"]}), 200),
    "a filtered stream": (
        said("chat", stream=True, loopback={"pieces": ["I ", "hate ", "you"]}), 200,
    ),
    "no such model": (said("chat", model="none"), 404),
    "the engine refuses": (said("chat", loopback={"status": 400}), 400),
    "the engine fails": (said("chat", loopback={"status": 500}), 503),
    "the engine dies": (said("chat", loopback={"die": -1}), 503),
    "the engine dies in a stream": (said("chat", stream=True, loopback={"die": 2}), 200),
    "the client leaves": (said("chat", loopback={"wait": 60}), 0),
    "the client leaves a stream": (said("chat", stream=True, loopback=ENDLESS), 0),
}  # fmt: skip


class Site:
    """A gateway in this process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.parts = assemble(settings)
        self.server = serve._server(settings, self.parts)

    def left(self) -> list[object]:
        """Objects of calls that are over."""
        return [each for each in gc.get_objects() if isinstance(each, RULE_TYPES)]

    async def gone(self) -> None:
        """Wait until nothing is left, with nobody's help."""
        state = self.server.server_state
        await until(lambda: not (state.connections or state.tasks), "the end of all")
        for _ in range(100):
            if not self.left():
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"kept: {[type(each) for each in self.left()]}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    site = Site(
        Settings(
            upstreams=(engine.url + "/v1",),
            api_keys=(KEY,),
            data_dir=tmp_path_factory.mktemp("data"),
            port=free_port(),
            access_log=False,
            allow_engine_parameters=("loopback",),
            eject_after=1000,
            requests_per_hour=10_000,
        )
    )
    threshold = gc.get_threshold()
    running = asyncio.create_task(serve._run(site.server, site.parts))
    await until(lambda: site.server.started, "the server")
    await until(site.parts.engine.models, "the engine")
    yield site
    gc.set_threshold(*threshold)
    gc.unfreeze()
    site.server.should_exit = True
    assert await running == 0


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Away while a test runs."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("name", ENDS)
async def test_nothing_is_left_of_a_call(site: Site, name: str) -> None:
    body, status = ENDS[name]
    url = f"http://127.0.0.1:{site.settings.port}{PATHS['chat']}"
    headers = {**AUTH, "content-type": "application/json"}
    for _ in range(3):
        if status:
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.post(url, data=body) as reply,
            ):
                await reply.read()
                assert reply.status == status
        else:
            call = await Exchange.begin(site.settings, "call", "chat", body)
            await until(lambda: site.parts.room.taken == 1, "the call")
            call.writer.close()
            await until(lambda: site.parts.room.taken == 0, "its end")
    await site.gone()


async def test_nothing_is_left_of_half_a_body(site: Site) -> None:
    for _ in range(3):
        call = await Exchange.begin(site.settings, "call", "chat", b"x" * 100_000, 200_000)
        await until(lambda: len(site.parts.places) == 1, "the call")
        call.writer.close()
        await until(lambda: not len(site.parts.places), "its end")
    await site.gone()


@pytest.mark.parametrize(
    ("rest", "status"),
    [(b"zz\r\n", b" 400 "), (b"200000\r\n" + b"x" * 0x200000 + b"\r\n5\r\nxxxxx\r\n", b" 413 ")],
    ids=["a fault", "too large"],
)
async def test_nothing_is_left_of_a_body_that_is_refused(
    site: Site, rest: bytes, status: bytes
) -> None:
    head = f"POST {PATHS['chat']} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
    head += "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    for _ in range(3):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.settings.port)
        writer.write(head.encode() + b'5\r\n{"a":\r\n')
        await until(lambda: len(site.parts.places) == 1, "the call")
        writer.write(rest)
        assert status in await reader.readline()
        writer.close()
    await site.gone()


async def test_nothing_is_left_of_requests_that_waited(site: Site) -> None:
    body = said("chat", loopback={"wait": 60})
    call = await Exchange.begin(site.settings, "call", "chat", body)
    call.writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n" * 5)
    await until(lambda: site.parts.room.taken == 1, "the call")
    call.writer.close()
    await site.gone()


async def test_nothing_is_left_of_what_is_no_http(site: Site) -> None:
    for words in (b"\x00\x01", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nhost: x\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.settings.port)
        writer.write(words)
        writer.write_eof()
        await reader.read()
        writer.close()
    await site.gone()
