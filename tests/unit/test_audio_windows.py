"""A tier's windows of seconds of audio, on the road."""

from __future__ import annotations

from typing import Any

import pytest

from gemma_gateway import main
from gemma_gateway.core.call import Call, Client
from gemma_gateway.core.engine import EngineFailed, EngineRequest
from gemma_gateway.limits.stage import AudioWindows
from tests.calls import ask
from tests.road import Reply, Road, say

HOUR = {"audio_seconds": 10, "seconds": 3600}
DAY = {"audio_seconds": 12, "seconds": 86_400}


class Sounds:
    """Stands for the check of sounds: what it says of the next call's length."""

    name = "access"
    seconds = 0.0

    def enter(self, call: Call, client: Client) -> None:
        call.request.audio_seconds = self.seconds


@pytest.fixture
def sounds(monkeypatch: pytest.MonkeyPatch) -> Sounds:
    found = Sounds()
    monkeypatch.setattr(main, "STAGES", (lambda p: found, *main.STAGES))
    return found


def limited(script: Any = None, *windows: dict[str, int]) -> Road:
    return Road(script, tiers={"default": {"audio_windows": windows or (HOUR, DAY)}})


async def post(road: Road, sounds: Sounds, seconds: float) -> Reply:
    sounds.seconds = seconds
    return await road.post("chat", ask("chat", "What do you hear?"))


async def left(road: Road) -> list[int]:
    usage = (await road.get("/v1/usage")).json()
    return [window["remaining"] for window in usage["audio_windows"]]


async def test_begun_seconds_count_until_no_more_fit(sounds: Sounds) -> None:
    road = limited()
    assert await left(road) == [10, 12]
    assert (await post(road, sounds, 0.0)).status == 200
    assert (await post(road, sounds, 3.2)).status == 200
    assert await left(road) == [6, 8]
    refused = await post(road, sounds, 6.1)
    error = refused.json()["error"]
    assert (refused.status, error["gateway_code"]) == (429, "RATE_LIMIT_EXCEEDED")
    assert error["message"].startswith(
        "Rate limit on seconds of audio exceeded: at most 10 in 1h0m0s. Please try again in "
    )
    assert 0 < int(refused.headers["retry-after"]) <= 3600
    assert refused.headers["x-ratelimit-remaining-requests"] == "98"  # it spent no request either
    assert await left(road) == [6, 8]
    assert (await post(road, sounds, 6.0)).status == 200
    assert await left(road) == [0, 2]
    assert (await post(road, sounds, 0.0)).status == 200
    metrics = road.parts.metrics.render().decode()
    assert 'decision="denied",degraded="true"} 1.0' in metrics


async def test_no_wait_helps_a_sound_that_never_fits(sounds: Sounds) -> None:
    """The smallest window has room for less, whichever it is."""
    road = limited(None, DAY, HOUR)
    refused = await post(road, sounds, 10.01)
    error = refused.json()["error"]
    assert (refused.status, error["gateway_code"]) == (400, "VALIDATION_ERROR")
    assert error["message"] == (
        "The audio of this call lasts 11 seconds, and tier default takes at most 10 in 1h0m0s: it "
        "never fits."
    )
    assert refused.headers["x-should-retry"] == "false"
    assert await left(road) == [12, 10]
    assert (await post(road, sounds, 10)).status == 200


async def test_what_the_service_failed_is_given_back(sounds: Sounds) -> None:
    def fails(request: EngineRequest) -> Any:
        if sounds.seconds == 3:
            raise EngineFailed("unavailable")
        return say("Hello")(request)

    road = limited(fails)
    assert (await post(road, sounds, 2)).status == 200
    for _ in range(4):
        assert (await post(road, sounds, 3)).status == 503
        assert await left(road) == [8, 10]


async def test_who_has_no_windows_meets_none(sounds: Sounds) -> None:
    road = Road(tiers={"music": {"audio_windows": [HOUR]}})
    assert (await post(road, sounds, 1e6)).status == 200
    assert await left(road) == []
    assert not Road().parts.media_limits
    assert [type(limit) for limit in road.parts.media_limits] == [AudioWindows]
