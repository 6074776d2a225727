"""The page of transcripts: what it asks for, what it shows, and what it lets one take away."""

from __future__ import annotations

import json
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser import sign_in, visit
from tests.console.conftest import MODEL, TRANSCRIPT, Opener, record, sound
from tests.process import KEY

pytestmark = pytest.mark.asyncio(loop_scope="session")

DELTAS = [{"type": "transcript.text.delta", "delta": piece} for piece in ("Good ", "morning.")]
DONE = {"type": "transcript.text.done", "text": "Good morning.", "usage": {"type": "duration"}}
REFUSED = {
    "message": "The file is no audio.",
    "type": "invalid_request_error",
    "param": "file",
    "code": None,
    "gateway_code": "VALIDATION_ERROR",
}
SRT = """1
00:00:00,000 --> 00:00:01,500
Good morning.

2
00:00:01,500 --> 01:02:08,457
The train <9> & the boat leave.
"""
VTT = """WEBVTT

00:00:00.000 --> 00:00:01.500
Good morning.

00:00:01.500 --> 01:02:08.457
The train &lt;9&gt; &amp; the boat leave.
"""


class Server:
    """Answers the audio routes of a page.

    Args:
        answer: what ``route.fulfill`` takes; None: it doesn't answer.
    """

    def __init__(self, **answer: Any) -> None:
        self.answer: dict[str, Any] | None = answer
        self.path = ""
        self.fields: list[tuple[Any, Any]] = []
        self.key = ""

    async def __call__(self, route: Route) -> None:
        request = route.request
        self.path = request.url.partition("/v1/audio/")[2]
        self.key = request.headers["authorization"]
        head = f"content-type: {request.headers['content-type']}\n\n".encode()
        form = message_from_bytes(head + (request.post_data_buffer or b""))
        parts = form.get_payload()
        assert isinstance(parts, list)
        names = [part.get_param("name", header="content-disposition") for part in parts]
        contents = [part.get_payload(decode=True) for part in parts]
        self.fields = list(zip(names, contents, strict=True))
        if self.answer is not None:
            await route.fulfill(**self.answer)


async def opened(page: Page, server: Server) -> None:
    """The page, with a recording chosen."""
    await page.route("**/v1/audio/**", server)
    await visit(page, "transcripts")
    await record(page)


def events(*all_of_them: object) -> dict[str, str]:
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in all_of_them)
    return {"body": body, "content_type": "text/event-stream"}


async def download(page: Page, end: str) -> str:
    async with page.expect_download() as saved:
        await page.get_by_role("button", name=f"Download as {end}").click()
    done = await saved.value
    assert done.suggested_filename == f"train.{end}"
    return Path(await done.path()).read_text("utf-8")


async def test_times_are_shown_and_saved_as_subtitles(at: Opener) -> None:
    server = Server(json=TRANSCRIPT)
    async with at(KEY) as page:
        await opened(page, server)
        await page.get_by_label("Language").fill("en")
        await page.get_by_label("Prompt").fill("Porto")
        await page.get_by_label("Format").select_option("verbose_json")
        await page.get_by_role("button", name="Transcribe").click()
        table = page.get_by_role("region", name="Segments, table")
        rows = table.locator("tbody tr")
        await expect(rows.nth(0)).to_contain_text("Good morning.")
        await expect(rows.nth(1)).to_contain_text("01:02:08.4")
        await expect(page.get_by_role("region", name="Transcript")).to_contain_text("english")
        assert server.path == "transcriptions"
        assert server.key == f"Bearer {KEY}"
        assert server.fields == [
            ("file", sound()),
            ("model", MODEL.encode()),
            ("response_format", b"verbose_json"),
            ("language", b"en"),
            ("prompt", b"Porto"),
        ]
        assert await download(page, "srt") == SRT
        assert await download(page, "vtt") == VTT
        assert await download(page, "txt") == f"{TRANSCRIPT['text']}\n"
        assert json.loads(await download(page, "json")) == TRANSCRIPT
        await page.get_by_role("button", name="Copy the transcript").click()
        assert await page.evaluate("navigator.clipboard.readText()") == TRANSCRIPT["text"]
        await visit(page, "usage")
        await visit(page, "transcripts")  # it stays, and goes with the key
        await expect(rows).to_have_count(2)
        await visit(page, "playground")
        await page.get_by_role("button", name="Sign out").click()
        await sign_in(page, KEY)
        await visit(page, "transcripts")
        await expect(page.get_by_text("Drop an audio file here")).to_be_visible()
        await expect(rows).to_have_count(0)


async def test_a_stream_is_shown_as_far_as_it_has_come(at: Opener) -> None:
    server = Server(**events(*DELTAS, {"error": REFUSED}))
    async with at(KEY) as page:
        await opened(page, server)
        await page.get_by_text("Translate", exact=True).click()
        await page.get_by_role("button", name="Translate").click()
        shown = page.get_by_role("region", name="Transcript")
        await expect(shown.get_by_role("alert")).to_contain_text("file: The file is no audio.")
        await expect(shown).to_contain_text("Good morning.")
        await expect(shown.get_by_role("button")).to_have_count(0)  # there is no whole one
        assert server.path == "translations"
        assert server.fields[2:] == [("response_format", b"json"), ("stream", b"true")]
        server.answer = events(*DELTAS, DONE)
        await page.get_by_role("button", name="Translate").click()
        await expect(shown).to_contain_text("Done in")
        await expect(shown.get_by_role("alert")).to_have_count(0)
        saved = json.loads(await download(page, "json"))
        assert saved == {"text": "Good morning.", "usage": {"type": "duration"}}


async def test_subtitles_refusals_and_a_stop(at: Opener) -> None:
    server = Server(body=SRT, content_type="text/plain")
    async with at(KEY) as page:
        await opened(page, server)
        shown = page.get_by_role("region", name="Transcript")
        await page.get_by_label("Format").select_option("srt")
        await expect(page.get_by_label("Show it as it comes")).to_have_count(0)
        await page.get_by_role("button", name="Transcribe").click()
        await expect(shown.locator("pre")).to_contain_text("00:00:00,000 --> 00:00:01,500")
        assert await download(page, "srt") == SRT
        large = REFUSED | {"gateway_code": "REQUEST_TOO_LARGE", "message": "Over 9 bytes."}
        for status, error in ((400, REFUSED), (413, large | {"param": None})):
            server.answer = {"status": status, "json": {"error": error}}
            await page.get_by_role("button", name="Transcribe").click()
            await expect(shown.get_by_role("alert")).to_contain_text(str(error["message"]))
            await expect(shown.get_by_role("alert")).to_contain_text(str(error["gateway_code"]))
        server.answer = None
        await page.get_by_role("button", name="Transcribe").click()
        await expect(shown).to_contain_text("Listening")
        await page.get_by_role("button", name="Stop").click()
        await expect(shown).to_contain_text("Stopped by you.")
        await expect(page.get_by_role("button", name="Transcribe")).to_be_enabled()


async def test_models_that_hear_are_offered(at: Opener) -> None:
    reads = [{"id": "reads", "input_modalities": ["text"]}]
    models = {"data": [*reads, {"id": "hears", "input_modalities": ["text", "audio"]}]}
    async with at() as page:
        await page.route("**/v1/models", lambda route: route.fulfill(json=models))
        await sign_in(page, KEY)
        await visit(page, "transcripts")
        model = page.get_by_label("Model")
        await expect(model.get_by_role("option")).to_have_text(["hears"])
        await expect(model).to_have_value("hears")
        await expect(page.get_by_text("No model is known")).to_have_count(0)


async def test_the_gateways_own_route_is_heard(at: Opener) -> None:
    async with at(KEY) as page:
        await visit(page, "transcripts")
        await record(page)
        shown = page.get_by_role("region", name="Transcript")
        for format_ in ("json", "srt"):
            await page.get_by_label("Format").select_option(format_)
            await page.get_by_role("button", name="Transcribe").click()
            await expect(shown).to_contain_text("Done in")
            await expect(shown).to_contain_text("The quick brown fox jumps over the lazy dog.")
