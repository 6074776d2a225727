"""What an operator has: a load balancer, three gateways, two engines, Redis; each a host."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import yaml

from tests.network.load import Done
from tests.network.namespaces import Host, Network
from tests.process import AUTH, KEY, Process

HERE = Path(__file__).parent
PORT = 8000
EXEC = ["-c", "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"]  # for other programs
LIMITED_KEY = "limited-key-0123456789"
LIMIT = 30  # requests of that key in an hour
SETTINGS: dict[str, object] = {
    "connect_timeout": 0.5,
    "idle_timeout": 3,
    "request_timeout": 8,
    "health_interval": 0.5,
    "eject_after": 3,
    "eject_seconds": 2,
    "drain_grace_seconds": os.environ.get("NETWORK_DRAIN_GRACE", "2"),
    "drain_seconds": 20,
    "requests_per_hour": 1_000_000,
}


class Service(Process):
    """A process on a host.

    Args:
        ready: path that answers 200; empty: it is ready once it accepts connections.
    """

    def __init__(
        self,
        host: Host,
        command: list[str],
        folder: Path,
        port: int = PORT,
        ready: str = "",
        **env: str,
    ) -> None:
        self.host = host
        clean = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
        log = folder / f"{host.name}.log"
        super().__init__(command, clean | env, log, port, ready, 30)
        self.url = f"http://{host.address}:{port}"

    def __enter__(self) -> Self:
        with self.host.inside():
            return super().__enter__()

    def is_ready(self) -> bool:
        """Seen from its own host."""
        with self.host.inside():
            if self._ready:
                return super().is_ready()
            try:
                socket.create_connection((self.host.address, self.port), 1).close()
            except OSError:
                return False
            return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it."""
        os.kill(self.pid, number)


class Load(Service):
    """``tests.network.load`` on the client's host; ``calls`` once it has ended."""

    def __init__(self, host: Host, folder: Path, url: str, options: list[str]) -> None:
        self.file = folder / f"calls-{time.monotonic_ns()}.jsonl"
        command = ["-m", "tests.network.load", url, str(self.file), *options]
        super().__init__(host, command, folder)

    def is_ready(self) -> bool:
        """It has begun."""
        return self.file.exists()

    def calls(self, kind: str = "") -> list[Done]:
        """What has been finished so far."""
        lines = self.file.read_text().splitlines()
        done = [Done(**json.loads(line)) for line in lines if line.endswith("}")]
        return [d for d in done if kind in ("", d.kind)]


class Fleet:
    """All hosts and their processes, up while inside ``with``.

    Args:
        settings: of the gateways, over ``SETTINGS``.
    """

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.settings = SETTINGS | settings
        self.gateways: list[Service] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # processes inherit it
        try:
            self._build(self._stack.enter_context(Network()))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *reason: object) -> None:
        for gateway in self.gateways:  # all at once; the second signal ends the grace
            if gateway.child is not None and gateway.child.poll() is None:
                gateway.signal(signal.SIGTERM)
        self._stack.close()

    def _build(self, network: Network) -> None:
        enter = self._stack.enter_context
        self.client = network.host("client")
        self.redis = enter(self._redis(network.host("redis")))
        self.engines = [enter(self._engine(network.host(f"engine{n}"))) for n in (1, 2)]
        self.gateways = [enter(self._gateway(network.host(f"gateway{n}"))) for n in (1, 2, 3)]
        self.balancer = enter(self._balancer(network.host("balancer")))
        self.wait(lambda: self.get(self.balancer.url + "/health/ready") is not None, 10)

    def _redis(self, host: Host) -> Service:
        program = shutil.which("valkey-server") or "redis-server"
        options = ["--bind", host.address, "--port", "6379", "--requirepass", "sesame"]
        options += ["--save", "", "--dir", str(self.folder)]
        return Service(host, [*EXEC, program, *options], self.folder, 6379)

    def _engine(self, host: Host) -> Service:
        command = ["-m", "tests.loopback", "--host", host.address, "--port", str(PORT)]
        return Service(host, command, self.folder, ready="/health")

    def _gateway(self, host: Host) -> Service:
        config = self.folder / "gateway.yaml"
        digest = hashlib.sha256(LIMITED_KEY.encode()).hexdigest()
        limited = {"windows": [{"limit": LIMIT, "seconds": 3600}]}
        tiers = {"default": {"max_in_flight": 0}, "limited": limited}
        keys = [{"name": "limited", "sha256": digest, "tier": "limited"}]
        config.write_text(yaml.safe_dump({"tiers": tiers, "keys": keys}))
        settings = self.settings | {
            "host": host.address,
            "port": PORT,
            "config": config,
            "data_dir": self.folder / host.name,
            "api_keys": KEY,
            "allow_engine_parameters": "loopback",  # scripts of tests.loopback
            "upstreams": ",".join(e.url + "/v1" for e in self.engines),
            "redis_url": f"redis://:sesame@{self.redis.host.address}:6379/0",
        }
        env = {f"GATEWAY_{name.upper()}": str(value) for name, value in settings.items()}
        command = ["-m", "gemma_gateway", "serve"]
        return Service(host, command, self.folder, ready="/health/ready", **env)

    def _balancer(self, host: Host) -> Service:
        config = self.folder / "haproxy.cfg"
        lines = [f"    server {g.host.name} {g.host.address}:{PORT}" for g in self.gateways]
        config.write_text((HERE / "haproxy.cfg").read_text() + "\n".join(lines) + "\n")
        return Service(host, [*EXEC, "haproxy", "-db", "-f", str(config)], self.folder)

    # ---- use

    @contextmanager
    def load(self, *options: str) -> Iterator[Load]:
        """Load on the balancer; at the end its calls in flight are waited for."""
        with Load(self.client, self.folder, self.balancer.url, list(options)) as load:
            yield load
            assert load.stop(100) == 0, load.text()

    def ask(self, url: str, key: str = KEY) -> int:
        """One short call from the client's host; its status."""
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        body = b'{"messages": [{"role": "user", "content": "echo: hi"}]}'
        request = urllib.request.Request(url + "/v1/chat/completions", body, headers)
        return self._open(request)[0]

    def get(self, url: str, key: str = KEY) -> str | None:
        """A page as the client's host sees it; None: not 200, or no connection."""
        request = urllib.request.Request(url, headers={**AUTH, "authorization": f"Bearer {key}"})
        status, text = self._open(request)
        return text if status == 200 else None

    def _open(self, request: urllib.request.Request) -> tuple[int, str]:
        try:
            with self.client.inside(), urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""
        except OSError:
            return 0, ""

    def usage(self, gateway: Service, key: str = KEY) -> dict[str, Any]:
        """``/v1/usage`` of one gateway."""
        return json.loads(self.get(gateway.url + "/v1/usage", key) or "{}")

    def served(self, engine: Service) -> int:
        """Calls that an engine has had."""
        return int(self._state(engine)["calls"])

    def busiest(self) -> Service:
        """The engine with the most calls in flight."""
        return max(self.engines, key=lambda engine: int(self._state(engine)["running"]))

    def _state(self, engine: Service) -> dict[str, Any]:
        return json.loads(self.get(engine.url + "/_state") or '{"calls": 0, "running": 0}')

    @staticmethod
    def wait(condition: Callable[[], bool], seconds: float) -> float:
        """Wait until it holds; the seconds that took."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if condition():
                return time.monotonic() - began
            time.sleep(0.1)
        raise AssertionError(f"not within {seconds} s")
