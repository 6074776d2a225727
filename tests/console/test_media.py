"""Images and sounds in the playground: dropped, chosen, pasted, seen, sent and told of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser import PHONE, ask, findings
from tests.console.conftest import MODEL, Opener, script, sound, state, upload
from tests.console.copied import LANGUAGES, copied_call, run
from tests.images import coded, file, url
from tests.process import KEY, Engine

pytestmark = pytest.mark.asyncio(loop_scope="session")

PHOTO, SCAN, SOUND = file(size=(320, 200)), file("JPEG"), sound()
IMAGE_PART = {"type": "image_url", "image_url": {"url": url(PHOTO)}}
SOUND_PART = {"type": "input_audio", "input_audio": {"data": coded(SOUND), "format": "wav"}}
BRING = """(field, [event, name, type, data]) => {
  const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type }));
  const how = { bubbles: true, cancelable: true, dataTransfer, clipboardData: dataTransfer };
  const made = event === "drop" ? new DragEvent(event, how) : new ClipboardEvent(event, how);
  return !field.dispatchEvent(made);
}"""


@pytest.fixture(autouse=True)
def as_usual(loopback: Engine) -> None:
    """No script is left from another test."""
    script(loopback)


def message(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Message")


async def bring(page: Page, event: str, name: str, media_type: str, data: bytes) -> None:
    """Drop or paste a file onto the message; the browser's own way with it must be prevented."""
    what = [event, name, media_type, coded(data)]
    assert await message(page).evaluate(BRING, what)
    await expect(page.get_by_role("button", name=f"Remove {name}")).to_be_visible()


async def choose(page: Page, *files: Any) -> None:
    async with page.expect_file_chooser() as chooser:
        await page.get_by_role("button", name="Attach images or audio").click()
    await (await chooser.value).set_files(list(files))


async def test_what_is_dropped_chosen_and_pasted_goes_along_and_stays(
    at: Opener, loopback: Engine
) -> None:
    async with at(KEY) as page:
        await bring(page, "drop", "photo.png", "image/png", PHOTO)
        await choose(page, upload("greeting.wav", SOUND, "audio/wav"))
        await bring(page, "paste", "scan.jpg", "image/jpeg", SCAN)
        preview = page.get_by_role("img", name="photo.png")
        await expect(preview).to_have_js_property("naturalWidth", 320)
        player = page.get_by_label("greeting.wav", exact=True)
        await expect(player).to_have_js_property("duration", 0.5)
        warning = page.get_by_role("alert")
        await expect(warning).to_contain_text(f"{MODEL} isn't known to take images or audio.")
        assert await findings(page) == []
        await page.get_by_role("button", name="Remove scan.jpg").click()
        await expect(message(page)).to_be_focused()

        await ask(page, "echo: seen and heard")
        answer = page.get_by_role("article", name="Model").last
        await expect(answer).to_contain_text("seen and heard")
        asked = page.get_by_role("article", name="You").last
        await expect(asked.get_by_role("img")).to_have_js_property("naturalWidth", 320)
        await expect(asked.get_by_label("greeting.wav", exact=True)).to_be_visible()
        await expect(page.get_by_role("button", name="Remove")).to_have_count(0)
        sent = state(loopback)["body"]["messages"]
        text = {"type": "text", "text": "echo: seen and heard"}
        assert [m["content"] for m in sent] == [[IMAGE_PART, SOUND_PART, text]]

        await ask(page, "echo: once more")
        await expect(page.get_by_role("article", name="Model").last).to_contain_text("once more")
        assert state(loopback)["body"]["messages"][0] == sent[0]

        await choose(page, upload("alone.wav", SOUND))
        await page.get_by_role("button", name="Send").click()  # without a text
        await expect(page.get_by_role("article", name="Model")).to_have_count(3)
        await expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
        assert state(loopback)["body"]["messages"][-1]["content"] == [SOUND_PART]


async def test_what_can_t_go_along_is_told_by_name(at: Opener) -> None:
    reads = [
        {"id": MODEL, "description": None, "input_modalities": ["text", "image"]},
        {"id": "hears", "description": None, "input_modalities": ["text", "audio"]},
    ]
    async with at(viewport=PHONE) as page:
        await page.route("**/v1/models", lambda route: route.fulfill(json={"data": reads}))
        await page.get_by_label("API key", exact=True).fill(KEY)
        await page.keyboard.press("Enter")
        wrong = [upload("notes.pdf", b"%PDF"), upload("none.png", b"")]
        await choose(page, *wrong, upload("photo.png", PHOTO))
        alert = page.get_by_role("alert")
        await expect(alert).to_contain_text("notes.pdf: only PNG, JPEG, GIF and WebP images")
        await expect(alert).to_contain_text("none.png is empty.")
        await expect(page.get_by_role("img", name="photo.png")).to_be_visible()
        await choose(page, upload("wall.png", PHOTO + bytes(6 * 2**20)))
        await expect(alert).to_contain_text("wall.png has 6 MiB: images have at most 5 MiB")
        await expect(alert).not_to_contain_text("isn't known")
        await page.locator("summary", has_text="Settings").click()
        await page.get_by_role("combobox", name="Model").select_option("hears")
        await expect(alert).to_contain_text("hears isn't known to take images.")
        assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


async def test_what_the_gateway_refuses_is_told_and_left_out(at: Opener, loopback: Engine) -> None:
    async with at(KEY) as page:
        await choose(page, upload("photo.png", PHOTO), upload("broken.png", b"no picture"))
        await ask(page, "What is it?")
        alert = page.get_by_role("alert")
        await expect(alert).to_contain_text("messages.0.content.1.image_url.url:")
        await expect(alert).to_contain_text("VALIDATION_ERROR")
        await choose(page, upload("wall.png", PHOTO + bytes(2 * 2**20)))
        await ask(page, "And this?")
        await expect(alert.last).to_contain_text("This message is too large.")
        await ask(page, "echo: a word")
        await expect(page.get_by_role("article", name="Model").last).to_contain_text("a word")
        said = [m["content"] for m in state(loopback)["body"]["messages"]]
        assert said == ["echo: a word"]


async def test_code_reads_the_files(at: Opener, loopback: Engine, tmp_path: Path) -> None:
    photo = 'it\'s a "photo".png'
    large = PHOTO + bytes(200_000)  # in base64 more than an argument may be long
    (tmp_path / photo).write_bytes(large)
    (tmp_path / "greeting.wav").write_bytes(SOUND)
    (tmp_path / "greeting-2.wav").write_bytes(longer := sound(1))
    async with at(KEY) as page:
        await choose(page, upload(photo, large), upload("greeting.wav", SOUND))
        await choose(page, upload("greeting.wav", longer))  # another of that name
        await message(page).fill("echo: it's here")
        texts = {name: await copied_call(page, name) for name in LANGUAGES}
    for name, text in texts.items():
        assert len(text) < 2000
        assert run(name, text, tmp_path) == "it's here"
        content = state(loopback)["body"]["messages"][0]["content"]
        second = SOUND_PART | {"input_audio": {"data": coded(longer), "format": "wav"}}
        text_part = {"type": "text", "text": "echo: it's here"}
        assert content == [IMAGE_PART, SOUND_PART, second, text_part], name  # the picture alone
