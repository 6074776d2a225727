"""The process around the server."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from gemma_gateway.cli import serve


@pytest.fixture
def collector() -> Iterator[None]:
    """As it was, afterwards."""
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


def test_the_collector_passes_over_what_stands(collector: None) -> None:
    standing = [[] for _ in range(1000)]
    walked = len(gc.get_objects())
    serve.keep_for_good()
    assert gc.get_freeze_count() > 1000
    assert len(gc.get_objects()) < walked / 10
    assert gc.isenabled()
    assert len(standing) == 1000
