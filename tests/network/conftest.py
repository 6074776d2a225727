"""The network, once for all drills, and mended between them."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import absent
from tests.network import namespaces
from tests.network.figures import Figures
from tests.network.fleet import Fleet


@pytest.fixture(scope="session")
def tools() -> None:
    """What the drills need."""
    if lack := namespaces.missing():
        absent(lack)
    if not (shutil.which("redis-server") or shutil.which("valkey-server")):
        absent("redis-server (scripts/test-deps.sh)")
    if not shutil.which("haproxy"):
        absent("haproxy (scripts/network-deps.sh)")


@pytest.fixture(scope="session")
def figures() -> Iterator[Figures]:
    """What was measured; written at the end."""
    collected = Figures()
    yield collected
    collected.write()


@pytest.fixture(scope="module")
def whole_fleet(tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder: Path = tmp_path_factory.mktemp("fleet")
    with Fleet(folder) as fleet:
        yield fleet


@pytest.fixture
def fleet(whole_fleet: Fleet) -> Iterator[Fleet]:
    """Everything up; whatever a drill broke is mended after it, even if it failed."""
    yield whole_fleet
    for service in [whole_fleet.redis, *whole_fleet.engines, *whole_fleet.gateways]:
        service.host.cable(True)
        service.host.rejoin()
        assert service.child is not None
        if service.child.poll() is None:
            service.signal(signal.SIGCONT)
        else:
            service.__enter__()
