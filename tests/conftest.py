"""Fixtures that several folders share."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from tests.process import OPERATOR, Engine, Gateway

if TYPE_CHECKING:
    from playwright.async_api import Browser

# A busy machine is no fault of the code: Hypothesis watches no clock.
settings.register_profile(
    "unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")


def pytest_configure() -> None:
    """Ctrl-C is tested, too: a runner in the background hands on that it is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # An engine in this process sets PYTHONSAFEPATH, which children would inherit.
    root = Path(__file__).parents[1]
    paths = (str(root), str(root / "app"), os.environ.get("PYTHONPATH"))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))


def absent(what: str) -> NoReturn:
    """A part that a test needs is missing: skip on a user's machine, fail in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"missing in CI: {what}")
    pytest.skip(f"missing: {what}")


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A loopback engine."""
    with Engine(tmp_path_factory.mktemp("engine")) as process:
        yield process


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[Gateway]:
    """A gateway in front of the loopback engine, with an embedded store."""
    folder = tmp_path_factory.mktemp("gateway")
    settings = {"upstreams": engine.url + "/v1", "eject_after": 1000}
    settings |= {"first_token_timeout": 3, "idle_timeout": 3}
    with Gateway(folder, operator_keys=OPERATOR, **settings) as process:
        yield process


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium; tests that use it run in the session's event loop, as it does."""
    from tests.browser import chromium

    async with chromium() as found:
        yield found
