"""What tests of images and of the compose file share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.containers import Containers
from tests.process import Process, free_port

IMAGE = "localhost/gemma-gateway:gateway"


@pytest.fixture(scope="session")
def containers() -> Iterator[Containers]:
    """podman and buildah in a folder of their own, with the stand-in base image."""
    parts = Containers(Path(tempfile.mkdtemp(prefix="gemma-containers-")))
    try:
        parts.import_base()
        yield parts
    finally:
        parts.close()


@pytest.fixture(scope="session")
def image(containers: Containers) -> str:
    """The target ``gateway``, built from our Dockerfile."""
    containers.build(IMAGE)
    return IMAGE


@pytest.fixture(scope="session")
def host_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a loopback engine on this host, as containers reach it."""
    port = free_port()
    command = ["-m", "tests.loopback", "--host", "0.0.0.0", "--port", str(port)]
    log = tmp_path_factory.mktemp("engine") / "engine.log"
    with Process(command, dict(os.environ), log, port, "/health", 20):
        yield f"http://host.containers.internal:{port}/v1"
