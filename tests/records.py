"""Records of calls that tests make up."""

from __future__ import annotations

import itertools
from typing import Any

from gemma_gateway.core.record import Record

KEY_ID = "a" * 64
_numbers = itertools.count(1)


def record(**fields: Any) -> Record:
    """A good call of a second, where ``fields`` don't say otherwise."""
    usual: dict[str, Any] = {
        "time": 1_700_000_000.0,
        "id": "call-1",
        "request_id": "req-1",
        "key_id": KEY_ID,
        "tier": "default",
        "route": "/v1/chat/completions",
        "model": "gemma",
        "stream": False,
        "status": 200,
        "outcome": "ok",
        "response_time": 1.0,
    }
    return Record(**usual | fields)


def numbered(**fields: Any) -> Record:
    """The same with an id of its own."""
    number = next(_numbers)
    return record(**{"id": f"call-{number}", "request_id": f"req-{number}"} | fields)
