"""The playground's presets: chosen, filled in and inserted by clicking and typing."""

from __future__ import annotations

import json
import re

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser import PHONE
from tests.console.conftest import Opener, script, state
from tests.images import file, url
from tests.process import KEY, Engine

pytestmark = pytest.mark.asyncio(loop_scope="session")

PIXEL = url(file())


@pytest.fixture(autouse=True)
def as_usual(loopback: Engine) -> None:
    """No script is left from another test."""
    script(loopback)


async def opened(page: Page, preset: str) -> Locator:
    """The dialog, with a preset chosen."""
    await page.get_by_role("button", name="Presets").click()
    dialog = page.get_by_role("dialog", name="Presets")
    await dialog.get_by_label("Preset", exact=True).select_option(preset)
    return dialog


async def test_a_preset_is_filled_in_and_sent(at: Opener, loopback: Engine) -> None:
    async with at(KEY) as page:
        dialog = await opened(page, "culture")
        await expect(dialog).to_contain_text("An answer in the manner of one culture")
        await dialog.get_by_label("Question").fill("echo: How do I decline?")
        await dialog.get_by_label("japanese").check()
        await dialog.get_by_label("german").check()
        await expect(dialog.get_by_label("Style")).to_have_value("formal")
        await dialog.get_by_label("Style").select_option("educational")
        await dialog.get_by_role("button", name="Insert").click()
        await expect(dialog).to_have_count(0)
        await expect(page.get_by_label("System prompt")).to_have_value(
            re.compile("Japanese readers.*German readers.*educational style", re.DOTALL)
        )
        message = page.get_by_role("textbox", name="Message")
        await expect(message).to_have_value("echo: How do I decline?")
        await page.get_by_role("button", name="Send").click()
        await expect(page.get_by_role("article", name="Model")).to_contain_text("How do I decline?")
        system, user = state(loopback)["body"]["messages"]
        assert "Japanese readers" in system["content"]
        assert "Indian readers" not in system["content"]
        assert user == {"role": "user", "content": "echo: How do I decline?"}


async def test_what_is_missing_or_wrong_is_told_in_the_dialog(at: Opener) -> None:
    async with at(KEY) as page:
        dialog = await opened(page, "function-calling")
        await dialog.get_by_label("Request").fill("Is it raining?")
        functions = dialog.get_by_label("Functions")
        await functions.fill("[")
        await dialog.get_by_role("button", name="Insert").click()
        await expect(dialog.get_by_role("alert")).to_contain_text("Functions: this isn't JSON.")
        await functions.fill('[{"description": "no name"}]')
        await dialog.get_by_role("button", name="Insert").click()
        await expect(dialog.get_by_role("alert")).to_contain_text(
            "variables.available_functions.0.name is missing"
        )
        await functions.fill(json.dumps([{"name": "rain", "parameters": {"city": "string"}}]))
        await dialog.get_by_role("button", name="Insert").click()
        await expect(dialog).to_have_count(0)
        system = await page.get_by_label("System prompt").input_value()
        assert "- rain\n  Parameters:\n  - city (string)" in system
        await expect(page.get_by_role("textbox", name="Message")).to_have_value("Is it raining?")


async def test_an_image_goes_along_and_can_be_left_out(at: Opener, loopback: Engine) -> None:
    async with at(KEY) as page:
        for leave in (False, True):
            dialog = await opened(page, "multimodal")
            await dialog.get_by_label("Question").fill("echo: What is it?")
            await dialog.get_by_label("Image", exact=True).fill(PIXEL)
            await dialog.get_by_role("button", name="Insert").click()
            await expect(page.get_by_role("img", name="image.png")).to_be_visible()
            if leave:
                await page.get_by_role("button", name="Remove image.png").click()
            await page.get_by_role("button", name="Send").click()
            answer = page.get_by_role("article", name="Model").last
            await expect(answer).to_contain_text("What is it?")
            await expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
            sent = state(loopback)["body"]["messages"][-1]["content"]
            image = {"type": "image_url", "image_url": {"url": PIXEL}}
            text = {"type": "text", "text": "echo: What is it?"}
            assert sent == ("echo: What is it?" if leave else [image, text])
            await page.get_by_role("button", name="New chat").click()


async def test_the_dialog_fits_on_a_phone_and_closes_by_keyboard(at: Opener) -> None:
    async with at(KEY, viewport=PHONE) as page:
        dialog = await opened(page, "function-calling")
        await expect(dialog.get_by_label("Functions")).to_be_visible()
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"]
        await page.keyboard.press("Escape")
        await expect(dialog).to_have_count(0)
