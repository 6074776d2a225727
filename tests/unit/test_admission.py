"""Rate limit headers, as OpenAI and Anthropic write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gemma_gateway.limits.admission import Admission, WindowState, duration, headers
from gemma_gateway.wire.anthropic.messages import Messages
from gemma_gateway.wire.openai.chat import Chat


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (-1, "0s"),
        (0.0001, "1ms"),
        (0.006, "6ms"),
        (0.0061, "7ms"),
        (0.9989, "999ms"),
        (0.9995, "1s"),
        (1, "1s"),
        (1.2, "2s"),
        (59.1, "1m0s"),
        (360, "6m0s"),
        (3599.5, "1h0m0s"),
        (3723, "1h2m3s"),
        (31 * 86_400, "744h0m0s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_headers_tell_of_the_tightest_window() -> None:
    minute = WindowState(60, 12, 30.0, 60)
    day = WindowState(1000, 3, 7200.0, 86_400)
    assert headers(Admission(True, (minute, day)), Chat()) == {
        "x-ratelimit-limit-requests": "1000",
        "x-ratelimit-remaining-requests": "3",
        "x-ratelimit-reset-requests": "2h0m0s",
    }


def test_anthropics_clients_find_their_own_besides() -> None:
    admission = Admission(True, (WindowState(60, 12, 3000.0, 60),))
    found = headers(admission, Messages())
    assert headers(admission, Chat()).items() <= found.items()
    assert found["anthropic-ratelimit-requests-limit"] == "60"
    assert found["anthropic-ratelimit-requests-remaining"] == "12"
    reset = datetime.fromisoformat(found["anthropic-ratelimit-requests-reset"])
    assert reset.tzinfo is not None
    assert datetime.now(UTC) < reset


def test_of_two_full_windows_the_one_that_resets_last() -> None:
    minute, hour = WindowState(1, 0, 59.0, 60), WindowState(1, 0, 3599.0, 3600)
    assert Admission(False, (minute, hour), 3599.0).tightest == hour


def test_nothing_counted_nothing_said() -> None:
    assert headers(Admission(True, (), degraded=True), Messages()) == {}
