"""For everybody: axe-core on every page in both themes, a phone's width, and without a mouse."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.browser import PAGES, PHONE, ask, findings, press, tab_to, visit
from tests.console.conftest import TRANSCRIPT, Opener, call, post, record, script
from tests.process import KEY, OPERATOR, Engine, Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")

RICH = "# Title\n\ntext `code` [link](https://example.com)\n\n```python\nx = 1  # one\n```\n"


def praise(site: Gateway) -> None:
    """Feedback with a comment, as the page of answer quality shows it."""
    call(site, request_id="praised")
    said = {"response_id": "praised", "thumb": "up", "comment": "just right"}
    post(site.url + "/v1/feedback", said, KEY)


async def filled(page: Page, name: str, loopback: Engine) -> None:
    """A page with everything on it that it can show."""
    if name == "playground":
        script(loopback, pieces=[RICH])
        await ask(page, "go")
        await expect(page.locator(".turn-figures")).to_be_visible()
        script(loopback)
        await ask(page, "violence")
        await expect(page.get_by_role("alert")).to_be_visible()
    elif name == "transcripts":
        await page.route("**/v1/audio/**", lambda route: route.fulfill(json=TRANSCRIPT))
        await record(page)
        await page.get_by_label("Format").select_option("verbose_json")
        await page.get_by_role("button", name="Transcribe").click()
        await expect(page.get_by_role("region", name="Segments, table")).to_be_visible()
    elif name == "dashboard":
        await expect(page.get_by_role("figure")).to_have_count(6)
        await page.locator("details.rules summary").click()
    elif name == "keys":
        await expect(page.get_by_role("region", name="Spend, table")).to_be_visible()
    elif name == "calls":
        await page.get_by_role("region", name="Calls, table").get_by_role("button").first.click()
        await expect(page.locator(".facts")).to_be_visible()
    elif name == "quality":
        await expect(page.get_by_role("figure")).to_have_count(1)
        await expect(page.get_by_role("region", name="Comments, table")).to_be_visible()
    else:
        await expect(page.get_by_role("region", name="By model, table")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(
    at: Opener, site: Gateway, loopback: Engine, scheme: str
) -> None:
    call(site, OPERATOR)
    praise(site)
    async with at(color_scheme=scheme) as page:
        assert await findings(page) == []
    async with at(OPERATOR, color_scheme=scheme) as page:
        for name in PAGES:
            await visit(page, name)
            await filled(page, name, loopback)
            assert await findings(page) == [], name
        await visit(page, "keys")
        await page.get_by_role("button", name="New key").click()
        await page.get_by_role("dialog").get_by_label("Own limits").check()
        assert await findings(page) == []
        await page.keyboard.press("Escape")
        await visit(page, "playground")
        await page.get_by_role("button", name="Copy as code").click()
        assert await findings(page) == []
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Presets").click()
        await expect(page.get_by_role("dialog").get_by_label("Preset", exact=True)).to_be_visible()
        assert await findings(page) == []


async def test_the_theme_can_be_chosen_and_is_kept(at: Opener) -> None:
    async with at(KEY, color_scheme="light") as page:
        background = "getComputedStyle(document.documentElement).backgroundColor"
        light = await page.evaluate(background)
        button = page.get_by_role("button", name="Theme:")
        await button.click()
        assert await page.evaluate(background) == light
        await button.click()
        dark = await page.evaluate(background)
        assert dark != light
        await page.reload()
        await expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
        assert await page.evaluate(background) == dark
        await page.get_by_role("button", name="Theme: dark").click()
        assert await page.evaluate(background) == light  # as the system


@pytest.mark.parametrize("width", [PHONE["width"], 320, 768])
async def test_nothing_is_wider_than_the_screen(
    at: Opener, site: Gateway, loopback: Engine, width: int
) -> None:
    call(site, OPERATOR)
    praise(site)
    script(loopback)
    async with at(OPERATOR, viewport={"width": width, "height": 844}) as page:
        for name in PAGES:
            await visit(page, name)
            await filled(page, name, loopback)
            assert await page.evaluate("document.documentElement.scrollWidth") <= width, name
        await visit(page, "keys")
        await page.get_by_role("button", name="New key").click()
        dialog = await page.get_by_role("dialog").bounding_box()
        assert dialog is not None
        assert dialog["x"] >= 0
        assert dialog["x"] + dialog["width"] <= width


async def test_the_main_tasks_without_a_mouse(at: Opener, loopback: Engine) -> None:
    script(loopback)
    async with at() as page:
        await expect(page.get_by_label("API key", exact=True)).to_be_focused()
        await page.keyboard.type(OPERATOR)
        await press(page, "Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Playground")

        await tab_to(page, "textbox", "Message")
        await page.keyboard.type("echo: typed")
        await press(page, "Enter")
        answer = page.get_by_role("article", name="Model")
        await expect(answer.last).to_contain_text("typed")
        script(loopback, delay=0.1, pieces=[f"word{n} " for n in range(300)])
        await page.keyboard.type("long")
        await press(page, "Enter")
        await expect(answer.last).to_contain_text("word2")
        await press(page, "Escape")
        await expect(answer.last).to_contain_text("Stopped by you.")
        script(loopback)

        await page.reload()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Playground")
        await tab_to(page, "link", "Dashboard")
        await press(page, "Enter")
        await expect(page.get_by_role("heading", level=1)).to_be_focused()
        await tab_to(page, "radio", "1 hour")
        await press(page, "ArrowRight")
        await expect(page.get_by_role("radio", name="6 hours")).to_be_checked()

        await page.reload()
        await tab_to(page, "link", "Answer quality")
        await press(page, "Enter")
        await expect(page.get_by_role("heading", level=1)).to_be_focused()
        await tab_to(page, "radio", "24 hours")
        await press(page, "ArrowRight")
        await expect(page.get_by_role("radio", name="7 days")).to_be_checked()

        await page.reload()
        await tab_to(page, "link", "Keys & usage")
        await press(page, "Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Keys & usage")
        await tab_to(page, "button", "New key")
        await press(page, "Enter")
        await tab_to(page, "textbox", "Name")
        await page.keyboard.type("by-keyboard")
        await press(page, "Enter")
        await expect(page.get_by_role("dialog")).to_contain_text("The key of by-keyboard")
        await expect(page.get_by_role("button", name="Copy the key")).to_be_focused()
        await press(page, "Enter")
        await expect(page.get_by_role("dialog").get_by_role("status")).to_have_text("Copied")
        await press(page, "Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await tab_to(page, "button", "Revoke by-keyboard")
        await press(page, "Enter")
        await tab_to(page, "button", "Revoke")
        await press(page, "Enter")
        row = page.get_by_role("row").filter(has_text="by-keyboard")
        await expect(row).to_contain_text("revoked")


async def test_the_links_can_be_skipped(at: Opener) -> None:
    async with at(KEY) as page:
        await page.reload()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Playground")
        await press(page, "Tab")
        await expect(page.get_by_role("button", name="Skip to content")).to_be_focused()
        await press(page, "Enter")
        await press(page, "Tab")
        await expect(page.get_by_role("button", name="Presets")).to_be_focused()
