"""Real Redis servers on loopback: a Redis Cluster, and a master with replicas and Sentinel."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from tests.integration.conftest import require
from tests.process import free_port
from tests.stores import TIMEOUT

HOST = "127.0.0.1"
PASSWORD = "sesame open/?"  # URLs must encode it
SENTINEL_PASSWORD = "another@one"
MASTER = "gemma-limits"
WAIT = 60.0  # seconds; of a busy machine
LONGEST = 2 * TIMEOUT


def eventually(condition: Callable[[], Any], otherwise: str, seconds: float = WAIT) -> None:
    """Wait for a condition; an error of Redis counts as not yet."""
    end = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except redis.RedisError:
            pass
        assert time.monotonic() < end, otherwise
        time.sleep(0.05)


@dataclass(frozen=True)
class Authority:
    """A certificate authority, and one certificate for 127.0.0.1 that it signed."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Self:
        """Make both with openssl."""
        made = cls(folder)
        command = [require("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
        command += ["-days", "1", "-subj"]
        ca = ["/CN=authority", "-keyout", str(folder / "ca.key"), "-out", made.certificate]
        subprocess.run([*command, *ca], check=True, capture_output=True)
        server = ["/CN=redis", "-addext", f"subjectAltName=IP:{HOST}"]
        server += ["-CA", made.certificate, "-CAkey", str(folder / "ca.key")]
        server += ["-keyout", str(folder / "server.key"), "-out", str(folder / "server.crt")]
        subprocess.run([*command, *server], check=True, capture_output=True)
        return made

    @property
    def certificate(self) -> str:
        """File with the authority's own certificate."""
        return str(self.folder / "ca.crt")

    def options(self) -> dict[str, str]:
        """What makes a server use it, for its clients and for other servers."""
        return {
            "tls-ca-cert-file": self.certificate,
            "tls-cert-file": str(self.folder / "server.crt"),
            "tls-key-file": str(self.folder / "server.key"),
            "tls-auth-clients": "no",
            "tls-replication": "yes",
        }


class Process:
    """One server; it speaks TLS alone where there is an authority.

    Args:
        command: the binary and its flags.
        folder: a new folder in it is the server's own.
        tls: the authority, if any.
        options: of redis.conf.
        further: lines of redis.conf that are no single option.
    """

    def __init__(
        self,
        command: list[str],
        folder: Path,
        tls: Authority | None,
        options: dict[str, str],
        further: str = "",
    ) -> None:
        self.port = free_port()
        self.folder = folder / str(self.port)
        self.folder.mkdir()
        self._tls = tls
        self._password = options["requirepass"]
        options = {"bind": HOST, "dir": str(self.folder), "port": str(self.port)} | options
        if tls:
            options |= {"port": "0", "tls-port": str(self.port)} | tls.options()
        lines = [f'{name} "{value}"\n' for name, value in options.items()]
        config = self.folder / "server.conf"
        config.write_text("".join(lines) + further)
        self._command = [command[0], str(config), *command[1:]]
        self._child: subprocess.Popen[bytes] | None = None
        self._client: redis.Redis | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "server.log").open("ab") as log:
            self._child = subprocess.Popen(self._command, stdout=log, stderr=log)
        eventually(self._answers, f"no answer, see {self.folder}")

    def _answers(self) -> bool:
        assert self._child is not None
        assert self._child.poll() is None, (self.folder / "server.log").read_text()
        return bool(self.ask("PING"))

    @property
    def alive(self) -> bool:
        """Whether it was started, and not killed since."""
        return self._child is not None

    def ask(self, *command: str | int) -> Any:
        """The answer to a command. Raises redis.RedisError."""
        if self._client is None:
            secure = {"ssl": True, "ssl_ca_certs": self._tls.certificate} if self._tls else {}
            self._client = redis.Redis(
                HOST,
                self.port,
                password=self._password,
                protocol=2,
                decode_responses=True,
                **secure,
            )
        return self._client.execute_command(*command)

    def replicated(self) -> None:
        """Wait until its replicas have what it has now."""
        offset = self.ask("ROLE")[1]
        eventually(
            lambda: all(int(of) >= offset for _, _, of in self.ask("ROLE")[2]), "replicas lag"
        )

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._child is not None
        self._child.send_signal(number)

    def kill(self) -> None:
        """SIGKILL."""
        if self._child is not None:
            self._child.send_signal(signal.SIGCONT)
            self._child.kill()
            self._child.wait()
            self._child = None
        if self._client is not None:
            self._client.close()
            self._client = None


class Group:
    """Servers that are started together and killed by ``with``."""

    def __init__(self, tls: Authority | None) -> None:
        self.tls = tls
        self.servers: list[Process] = []
        self.scheme = "rediss" if tls else "redis"
        self.query = f"?ssl_ca_certs={tls.certificate}" if tls else "?"
        self.login = f":{quote(PASSWORD, safe='')}@"

    def __enter__(self) -> Self:
        try:
            for server in self.servers:
                server.start()
            self._join()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            server.kill()

    def _join(self) -> None:
        raise NotImplementedError


class Cluster(Group):
    """A Redis Cluster of three masters, each with a replica.

    A node is given up after a second of silence; the others go on without its slots.
    """

    def __init__(self, binary: str, folder: Path, tls: Authority | None) -> None:
        super().__init__(tls)
        self._bus: dict[int, int] = {}
        for _ in range(6):
            bus = free_port()
            options = {
                "cluster-enabled": "yes",
                "cluster-port": str(bus),
                "cluster-node-timeout": "1000",
                "cluster-require-full-coverage": "no",
                "cluster-replica-validity-factor": "0",
                "cluster-allow-replica-migration": "no",
                "repl-diskless-sync-delay": "0",
                "requirepass": PASSWORD,
                "masterauth": PASSWORD,
                "save": "",
            }
            if tls:
                options["tls-cluster"] = "yes"
            self.servers.append(Process([binary], folder, tls, options))
            self._bus[self.servers[-1].port] = bus

    def _join(self) -> None:
        step = REDIS_CLUSTER_HASH_SLOTS / 3
        for n, server in enumerate(self.servers):
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
            if n < 3:
                server.ask("CLUSTER", "ADDSLOTSRANGE", int(n * step), int((n + 1) * step) - 1)
            bus = self._bus[server.port]
            self.servers[0].ask("CLUSTER", "MEET", HOST, server.port, bus)
        for server in self.servers:
            eventually(lambda s=server: self._known(s) == 6, "nodes don't know each other")
        for master, replica in zip(self.servers[:3], self.servers[3:], strict=True):
            replica.ask("CLUSTER", "REPLICATE", master.ask("CLUSTER", "MYID"))
        self.settle()

    def settle(self) -> None:
        """Wait until all agree on three masters that have a replica each."""

        def settled() -> bool:
            maps = [self.map(server) for server in self.servers]
            masters = [s for s in self.servers if s.port in maps[0].values()]
            return (
                all(found == maps[0] for found in maps)
                and len(masters) == 3
                and all(len(master.ask("ROLE")[2]) == 1 for master in masters)
                and all("cluster_state:ok" in s.ask("CLUSTER", "INFO") for s in self.servers)
            )

        eventually(settled, "the cluster doesn't settle")

    def _known(self, server: Process) -> int:
        text = server.ask("CLUSTER", "NODES")
        return sum("handshake" not in line for line in str(text).splitlines())

    @property
    def url(self) -> str:
        """The URL of the whole, by three of its nodes."""
        return self.url_of(*self.servers[:3])

    def url_of(self, *seeds: Process) -> str:
        """The URL of the whole, by these nodes."""
        hosts = ",".join(f"{HOST}:{server.port}" for server in seeds)
        return f"{self.scheme}+cluster://{self.login}{hosts}/{self.query}"

    def map(self, server: Process) -> dict[range, int]:
        """Which port has which slots, as a server sees it."""
        rows = server.ask("CLUSTER", "SLOTS")
        return {range(row[0], row[1] + 1): int(row[2][1]) for row in rows}

    def owner(self, key: str) -> Process:
        """The master that has a key's slot."""
        slot = key_slot(key.encode())
        seen = self.map(next(server for server in self.servers if server.alive))
        (port,) = (port for slots, port in seen.items() if slot in slots)
        return next(server for server in self.servers if server.port == port)

    def other(self, master: Process) -> Process:
        """Another master."""
        ports = set(self.map(master).values()) - {master.port}
        return next(server for server in self.servers if server.port in ports)

    def errors(self) -> Counter[str]:
        """How many error replies all nodes gave, by their first word."""
        counts: Counter[str] = Counter()
        for server in self.servers:
            for name, stat in server.ask("INFO", "errorstats").items():
                counts[name.removeprefix("errorstat_")] += stat["count"]
        return counts


class Sentinels(Group):
    """A master with two replicas, watched by three sentinels that have a password of their own."""

    def __init__(self, binary: str, folder: Path, tls: Authority | None) -> None:
        super().__init__(tls)
        for n in range(3):
            options = {"requirepass": PASSWORD, "masterauth": PASSWORD, "save": ""}
            options |= {"repl-diskless-sync-delay": "0"}
            further = f"replicaof {HOST} {self.servers[0].port}\n" if n else ""
            self.servers.append(Process([binary], folder, tls, options, further))
        watch = {
            "monitor": f"{HOST} {self.servers[0].port} 2",
            "auth-pass": f'"{PASSWORD}"',
            "down-after-milliseconds": "1000",
            "failover-timeout": "3000",
        }
        further = "".join(f"sentinel {what} {MASTER} {rest}\n" for what, rest in watch.items())
        further += f'sentinel sentinel-pass "{SENTINEL_PASSWORD}"\n'
        options = {"requirepass": SENTINEL_PASSWORD}
        self.sentinels = [
            Process([binary, "--sentinel"], folder, tls, options, further) for _ in range(3)
        ]
        self.data, self.servers = self.servers, [*self.servers, *self.sentinels]

    def _join(self) -> None:
        pace = ("PING-PERIOD", 200, "INFO-PERIOD", 500, "PUBLISH-PERIOD", 500)
        for sentinel in self.sentinels:
            sentinel.ask("SENTINEL", "DEBUG", *pace)
        self.settle()

    def settle(self) -> Process:
        """Wait until all agree on a master that has two replicas; that master."""
        found: list[Process] = []

        def settled() -> bool:
            seen = [self._seen(sentinel) for sentinel in self.sentinels]
            found[:] = [server for server in self.data if seen[0]["port"] == str(server.port)]
            return (
                len({state["port"] for state in seen}) == 1
                and all(state["num-slaves"] == "2" for state in seen)
                and all(state["num-other-sentinels"] == "2" for state in seen)
                and all(state["flags"] == "master" for state in seen)
                and len(found[0].ask("ROLE")[2]) == 2
            )

        eventually(settled, "Sentinel doesn't settle")
        return found[0]

    def _seen(self, sentinel: Process) -> dict[str, str]:
        flat = sentinel.ask("SENTINEL", "MASTER", MASTER)
        return (
            dict(flat) if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
        )

    @property
    def url(self) -> str:
        """The URL of the whole."""
        return self.url_of(*self.sentinels)

    def url_of(self, *sentinels: Process, name: str = MASTER) -> str:
        """The URL of the whole, by these sentinels."""
        hosts = ",".join(f"{HOST}:{server.port}" for server in sentinels)
        own = f"&sentinel_password={quote(SENTINEL_PASSWORD, safe='')}"
        return f"{self.scheme}+sentinel://{self.login}{hosts}/{name}/0{self.query}{own}"
