"""The whole product with a receiver of traces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import settings
from tests.otlp import Receiver
from tests.process import Gateway


@pytest.fixture(scope="package")
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


@pytest.fixture(scope="package")
def traced(
    model_folder: Path, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """Gateway and engine, both with the receiver's address."""
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    flags = {"engine_args": f"--otlp-traces-endpoint,{receiver.endpoint}/v1/traces"}
    folder = tmp_path_factory.mktemp("traced")
    with Gateway(folder, wait=240, environ=environ, **settings(model_folder), **flags) as process:
        yield process
        assert process.stop() == 0, process.text()[-4000:]
