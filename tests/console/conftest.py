"""A browser, and a gateway in front of the loopback engine for it to look at."""

from __future__ import annotations

import io
import json
import urllib.request
import wave
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from playwright.async_api import Browser, FilePayload, Page, expect

from tests.browser import console
from tests.process import KEY, OPERATOR, Engine, Gateway

MODEL = "gemma-3-270m"
Opener = Callable[..., AbstractAsyncContextManager[Page]]
TIERS = {
    "default": {"windows": [{"limit": 1_000_000, "seconds": 3600}]},
}
PRICES = {MODEL: {"input_per_million": 2, "output_per_million": 5}}
ALERTS = {
    "interval_seconds": 0.5,
    "resolve_seconds": 1,
    "rules": {"success_rate": {"seconds": None, "calls": 10}},
}
TRANSCRIPT = {
    "task": "transcribe",
    "language": "english",
    "duration": 8.4,
    "text": "Good morning. The train <9> & the boat leave.",
    "segments": [
        {"id": 0, "start": 0.0, "end": 1.5, "text": " Good morning."},
        {"id": 1, "start": 1.5, "end": 3728.4567, "text": " The train <9> & the boat leave."},
    ],
}


@pytest.fixture(scope="module")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that these tests may script and stop."""
    with Engine(tmp_path_factory.mktemp("engine")) as process:
        yield process


def settings(engine: Engine) -> dict[str, Any]:
    """Of a gateway with something for every page to show."""
    return {
        "upstreams": engine.url + "/v1",
        "operator_keys": OPERATOR,
        "tiers": json.dumps(TIERS),
        "prices": json.dumps(PRICES),
        "alerts": json.dumps(ALERTS),
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, loopback: Engine) -> Iterator[Gateway]:
    """A gateway of the module's own, so that its figures are known."""
    with Gateway(tmp_path_factory.mktemp("site"), **settings(loopback)) as process:
        yield process


@pytest.fixture
def at(browser: Browser, site: Gateway) -> Opener:
    """Opens the console: ``async with at(OPERATOR, viewport=PHONE) as page``."""

    def opener(key: str | None = None, **options: Any) -> AbstractAsyncContextManager[Page]:
        return console(browser, site, key, **options)

    return opener


def post(url: str, body: object, key: str = "", request_id: str = "") -> Any:
    """The JSON answer to a POST of JSON.

    Raises:
        urllib.error.HTTPError: an error status.
    """
    headers = {"content-type": "application/json"}
    if key:
        headers["authorization"] = f"Bearer {key}"
    if request_id:
        headers["x-request-id"] = request_id
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.loads(reply.read())


def script(engine: Engine, **what: object) -> None:
    """What the engine does with calls that bring no script of their own."""
    post(engine.url + "/_script", what)


def state(engine: Engine) -> dict[str, Any]:
    """What the engine has seen."""
    with urllib.request.urlopen(engine.url + "/_state", timeout=60) as reply:
        return dict(json.loads(reply.read()))


def call(gateway: Gateway, key: str = KEY, request_id: str = "", **fields: object) -> Any:
    """One chat call that isn't the console's."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "echo: one two three"}]}
    return post(gateway.url + "/v1/chat/completions", body | fields, key, request_id)


def sound(seconds: float = 0.5) -> bytes:
    """A WAV file of silence."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(2 * round(16_000 * seconds)))
    return out.getvalue()


def upload(name: str, data: bytes, media_type: str = "") -> FilePayload:
    """A file to choose."""
    return {"name": name, "mimeType": media_type, "buffer": data}


async def record(page: Page) -> None:
    """Choose a recording on the page of transcripts."""
    async with page.expect_file_chooser() as chooser:
        await page.get_by_role("button", name="Choose a").click()
    await (await chooser.value).set_files(upload("train.wav", sound(), "audio/wav"))
    await expect(page.get_by_text("train.wav")).to_be_visible()
