"""The gateway as a process of a machine: where it is started, and how many files it may open."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gemma_gateway.quality.embeddings import Embeddings
from tests.calls import ask, post
from tests.conftest import absent
from tests.process import Engine, Gateway
from tests.waiting import until

IDLE = 200  # connections that say nothing


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder with modules of other people that have our names, and Python's."""
    folder = tmp_path / "elsewhere"
    for name in ("app", "gemma_gateway", "redis", "orjson", "asyncio", "encodings"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise SystemExit('foreign {name}')\n")
    return folder


async def test_what_lies_in_the_working_directory_is_not_imported(
    foreign: Path, tmp_path: Path, engine: Engine
) -> None:
    """The embedded store runs, and a call is answered."""
    url = engine.url + "/v1"
    with Gateway(tmp_path / "data", cwd=foreign, upstreams=url) as gateway:
        assert (await post(gateway, "chat", ask("chat", "echo: a")))[0] == 200
        async with (
            aiohttp.ClientSession() as session,
            session.get(gateway.url + "/health") as reply,
        ):
            assert (await reply.json())["store"] == "available"
        assert "foreign" not in gateway.text()
        assert gateway.stop() == 0


async def test_neither_is_it_by_the_process_that_embeds(
    foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embeddings = Embeddings()
    if not embeddings.installed:
        absent("sentence-transformers (extra quality)")
    root = Path(__file__).parents[2] / "app"
    monkeypatch.chdir(foreign)
    monkeypatch.setenv("PYTHONPATH", str(root))
    try:
        (vector,) = await embeddings.encode(["the sea"])
        assert len(vector) == 384
    finally:
        await embeddings.stop()


def connect(gateway: Gateway) -> list[socket.socket]:
    return [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(IDLE)]


async def live(gateway: Gateway) -> bool:
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(gateway.url + "/health/live") as reply,
        ):
            return reply.status == 200
    except aiohttp.ClientError:
        return False


def logged(gateway: Gateway, words: str) -> list[Any]:
    lines = [json.loads(line) for line in gateway.text().splitlines() if line.startswith("{")]
    return [line for line in lines if words in line.get("message", "")]


async def test_the_soft_limit_of_open_files_is_raised(tmp_path: Path, engine: Engine) -> None:
    url = engine.url + "/v1"
    with Gateway(tmp_path, upstreams=url, open_files=(128, 4096)) as gateway:
        idle = connect(gateway)
        try:
            assert await live(gateway)
            assert not logged(gateway, "open files are allowed")
        finally:
            for link in idle:
                link.close()


async def test_a_limit_that_is_too_low_is_told_and_so_is_its_end(
    tmp_path: Path, engine: Engine
) -> None:
    url = engine.url + "/v1"
    with Gateway(tmp_path, upstreams=url, open_files=(128, 128), max_in_flight=100) as gateway:
        (line,) = logged(gateway, "128 open files are allowed; 100 calls in flight need about 300")
        assert line["level"] == "warning"
        idle = connect(gateway)
        try:
            await until(lambda: logged(gateway, "no file descriptor is left"), "it is told")
        finally:
            for link in idle:
                link.close()
        await until(lambda: live(gateway), "connections are taken again")
        async with (
            aiohttp.ClientSession() as session,
            session.get(gateway.url + "/metrics") as reply,
        ):
            text = await reply.text()
        name = "gateway_open_files_exhausted_seconds_total "
        assert next(float(x.split()[1]) for x in text.splitlines() if x.startswith(name)) >= 1
        assert len(logged(gateway, "no file descriptor is left")) == 1
