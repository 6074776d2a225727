"""Whole processes, spoken to over HTTP: the gateway as its user runs it, and a loopback engine."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[1]
KEY = "test-key-0123456789"
OPERATOR = "operator-key-0123456789"  # for gateways with ``operator_keys``
AUTH = {"Authorization": f"Bearer {KEY}"}
OPERATOR_AUTH = {"Authorization": f"Bearer {OPERATOR}"}


def _ports() -> Iterator[int]:
    """Ports that the system gives to nobody by itself, each once; where they start is by chance.
    Workers of one run (pytest-xdist) have each their own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    # Linux's own begin at 32768, those of others at 49152
    below = list(range(20_000 + worker, 32_000, workers))
    start = random.randrange(len(below))
    yield from below[start:] + below[:start]


_PORTS = _ports()


def free_port() -> int:
    """A TCP port that was free a moment ago, and that no other caller of this process gets."""
    for port in _PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("each port from 20000 to 31999 is taken")


class Process:
    """A child process that serves HTTP; started and ended by ``with``.

    Args:
        command: arguments, of this Python's unless ``program`` says otherwise.
        ready: path that answers 200 once it is ready.
        wait: seconds until then.
        cwd: where it runs; None: here.
        program: what takes the arguments.
    """

    def __init__(
        self,
        command: list[str],
        env: dict[str, str],
        log: Path,
        port: int,
        ready: str,
        wait: float,
        cwd: Path | None = None,
        program: str = sys.executable,
    ) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        self._program = program
        self._command = command
        self._env = env
        self._ready = ready
        self._wait = wait
        self._cwd = cwd
        self.child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                [self._program, *self._command],
                env=self._env,
                stdout=log,
                stderr=log,
                cwd=self._cwd,
            )
        try:
            self.wait_ready(self._wait)
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id."""
        assert self.child is not None
        return self.child.pid

    def stop(self, seconds: float = 40) -> int:
        """SIGTERM, and wait.

        Returns:
            The exit status.
        """
        assert self.child is not None
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        return int(self.child.returncode)

    def kill(self) -> None:
        """SIGKILL."""
        if self.child is not None and self.child.poll() is None:
            self.child.kill()
            self.child.wait()

    def is_ready(self) -> bool:
        """Whether it takes calls."""
        try:
            with urllib.request.urlopen(self.url + self._ready, timeout=5) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def wait_ready(self, seconds: float) -> float:
        """Wait until it takes calls; returns the seconds that took."""
        assert self.child is not None
        started = time.monotonic()
        while time.monotonic() - started < seconds and self.child.poll() is None:
            if self.is_ready():
                return time.monotonic() - started
            time.sleep(0.05)
        raise AssertionError(f"{self._command} did not get ready:\n{self.text()[-4000:]}")

    def text(self) -> str:
        """All that it has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")


class Gateway(Process):
    """``gemma-gateway serve`` with settings given as keywords (``redis_url=...``).

    Args:
        wait: seconds until it is ready.
        environ: variables beside the settings'.
        cwd: where it runs, started as the installed command is (which finds nothing there); None:
            here.
        open_files: its soft and hard limit; None: as here.
        program: an installed ``gemma-gateway``; None: this folder's.
        ready: see :class:`Process`.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        wait: float = 90,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        open_files: tuple[int, int] | None = None,
        program: Path | None = None,
        ready: str = "/health/ready",
        **settings: object,
    ) -> None:
        port = free_port()
        settings.setdefault("api_keys", KEY)
        settings.setdefault("requests_per_hour", 1_000_000)
        settings.setdefault("allow_engine_parameters", "loopback")  # scripts of tests.loopback
        settings.setdefault("store_timeout", 5)  # 0.05 is for a machine that isn't busy with tests
        env = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
        env |= {"GATEWAY_PORT": str(port), "GATEWAY_DATA_DIR": str(data_dir)}
        env |= {f"GATEWAY_{k.upper()}": str(v) for k, v in settings.items()}
        env |= environ or {}
        log = data_dir / f"gateway-{port}.log"
        command = ["-m", "gemma_gateway", "serve"]
        if program is not None:
            command = ["serve"]
            env.pop("PYTHONPATH", None)
        elif cwd is not None:
            command = ["-P", *command]
            env["PYTHONPATH"] = str(ROOT / "app")
        if open_files is not None:
            limit = f"import resource as r; r.setrlimit(r.RLIMIT_NOFILE, {open_files}); "
            command = [
                "-c",
                limit
                + "import sys; from gemma_gateway.cli.main import main; sys.exit(main(['serve']))",
            ]
        runs = sys.executable if program is None else str(program)
        super().__init__(command, env, log, port, ready, wait, cwd, runs)


class Engine(Process):
    """``tests.loopback`` as a process of its own."""

    def __init__(self, folder: Path, port: int = 0, *options: str) -> None:
        port = port or free_port()
        command = ["-m", "tests.loopback", "--port", str(port), *options]
        log = folder / f"loopback-{port}.log"
        super().__init__(command, dict(os.environ), log, port, "/health", 90)

    @contextlib.contextmanager
    def scripted(self, script: Mapping[str, object]) -> Iterator[None]:
        """What it does meanwhile with calls that bring no script of their own."""

        def put(script: Mapping[str, object]) -> None:
            request = urllib.request.Request(self.url + "/_script", json.dumps(script).encode())
            urllib.request.urlopen(request, timeout=60).close()

        put(script)
        try:
            yield
        finally:
            put({})
