"""vLLM alone, in the process of the tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from gemma_gateway.engines.local import weights
from gemma_gateway.engines.local.engine import LocalEngine


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def local_engine(model_folder: Path) -> AsyncIterator[LocalEngine]:
    """A started engine, one a module (it takes gigabytes); tests that use it run in the session's
    event loop, as it does."""
    engine = LocalEngine(model_folder, weights.BUNDLED_NAME, idle_timeout=30)
    await engine.start()
    await engine.wait_ready(600)
    yield engine
    await engine.stop()
