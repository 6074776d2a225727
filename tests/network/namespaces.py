"""Several hosts on one machine: Linux network namespaces, joined by a bridge.

Nothing outside is touched: the bridge has a namespace of its own, too.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

SUBNET = "10.77.0"
PREFIX = "ggnet"
NEWNET = 0x40000000
NOWHERE = "02:00:00:00:00:01"  # no host has this hardware address
numbers = itertools.count(1)
libc = ctypes.CDLL(None, use_errno=True)


def missing() -> str:
    """What this machine lacks for namespaces; empty: nothing."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "root, for network namespaces"
    if shutil.which("ip") is None:
        return "ip (Debian: iproute2; scripts/network-deps.sh)"
    try:
        ip("netns", "add", f"{PREFIX}probe")
        ip("netns", "del", f"{PREFIX}probe")
    except RuntimeError as error:
        return f"network namespaces: {error}"
    return ""


def ip(*arguments: str) -> str:
    """Run ``ip``; what it prints.

    Raises:
        RuntimeError: it failed.
    """
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def _entered(namespace: Path) -> Iterator[None]:
    """This thread, and the processes that it starts meanwhile, are inside."""
    with Path("/proc/thread-self/ns/net").open() as here, namespace.open() as there:
        if libc.setns(there.fileno(), NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
        try:
            yield
        finally:
            if libc.setns(here.fileno(), NEWNET):
                raise OSError(ctypes.get_errno(), "setns back")


class Host:
    """One namespace with one address."""

    def __init__(self, network: Network, name: str, number: int) -> None:
        self.name = name
        self.address = f"{SUBNET}.{number}"
        self._namespace = network.prefix + name
        self._switch = network.switch
        self._port = f"p{number}"
        ip("netns", "add", self._namespace)
        pair = ("type", "veth", "peer", "name", "eth0", "netns", self._namespace)
        ip("link", "add", self._port, "netns", self._switch, *pair)
        ip("-n", self._switch, "link", "set", self._port, "master", "br0", "up")
        ip("-n", self._namespace, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", self._namespace, "link", "set", device, "up")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets and processes made in here belong to this host."""
        with _entered(Path("/run/netns") / self._namespace):
            yield

    def cable(self, plugged: bool) -> None:
        """Pull or plug this host's cable: packets vanish, nobody is told."""
        ip("-n", self._switch, "link", "set", self._port, "up" if plugged else "down")

    def cut_off(self, other: Host) -> None:
        """What this host sends to ``other`` vanishes."""
        where = (other.address, "dev", "eth0", "lladdr", NOWHERE, "nud", "permanent")
        ip("-n", self._namespace, "neigh", "replace", *where)

    def rejoin(self) -> None:
        """Undo every ``cut_off``."""
        ip("-n", self._namespace, "neigh", "flush", "dev", "eth0", "nud", "all")


class Network:
    """A bridge and the hosts on it. All of it, and every process inside, ends with ``with``."""

    def __init__(self) -> None:
        self.prefix = f"{PREFIX}{os.getpid()}-{next(numbers)}-"
        self.switch = self.prefix + "switch"
        self._hosts = 0

    def __enter__(self) -> Self:
        for namespace in namespaces():
            owner = namespace.removeprefix(PREFIX).partition("-")[0]
            if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                remove(namespace)  # left by a run that was killed
        try:
            ip("netns", "add", self.switch)
            ip("-n", self.switch, "link", "add", "br0", "type", "bridge")
            ip("-n", self.switch, "link", "set", "br0", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *reason: object) -> None:
        for namespace in namespaces():
            if namespace.startswith(self.prefix):
                remove(namespace)

    def host(self, name: str) -> Host:
        """One more host."""
        self._hosts += 1
        return Host(self, name, self._hosts)


def namespaces() -> list[str]:
    """Names of the namespaces that tests like this one made."""
    names = (line.split()[0] for line in ip("netns", "list").splitlines() if line)
    return [name for name in names if name.startswith(PREFIX)]


def remove(namespace: str) -> None:
    """End a namespace and every process in it."""
    for pid in ip("netns", "pids", namespace).split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    ip("netns", "del", namespace)
