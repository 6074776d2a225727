"""What several unit tests ask for by name."""

from __future__ import annotations

import pytest

from gemma_gateway import main
from tests.road import Told


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """What observers of the roads of this test are told."""
    found = Told()
    monkeypatch.setattr(main, "OBSERVERS", (*main.OBSERVERS, lambda p: found))
    return found
