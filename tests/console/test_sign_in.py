"""Who gets in, what is kept of the key, and what each key may see."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser import PAGES, console, sign_in, visit
from tests.console.conftest import Opener, post
from tests.process import KEY, OPERATOR, Engine, Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def links(page: Page) -> list[str]:
    return await page.get_by_role("navigation").get_by_role("link").all_inner_texts()


async def test_a_wrong_key_is_told_plainly(at: Opener) -> None:
    async with at() as page:
        await page.get_by_label("API key", exact=True).fill("not-a-key-of-this-gateway")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("This key isn't known here.")
        await expect(page.get_by_label("API key", exact=True)).to_be_focused()
        await sign_in(page, KEY)


async def test_the_key_stays_in_its_tab_and_out_of_the_address(at: Opener) -> None:
    async with at(OPERATOR) as page:
        await visit(page, "dashboard")
        await page.reload()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Dashboard")
        stored = await page.evaluate(
            "[JSON.stringify(localStorage), document.cookie, location.href]"
        )
        assert OPERATOR not in "".join(stored)
        other = await page.context.new_page()  # another tab knows nothing of it
        await other.goto(page.url)
        await expect(other.get_by_role("heading", level=1)).to_have_text("Gemma gateway")
        await other.close()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("API key", exact=True)).to_be_visible()
        await page.reload()
        await expect(page.get_by_label("API key", exact=True)).to_be_visible()
        assert OPERATOR not in await page.evaluate("JSON.stringify(sessionStorage)")


async def test_an_operator_sees_all_pages_and_others_their_own(at: Opener) -> None:
    async with at(OPERATOR) as page:
        assert await links(page) == list(PAGES.values())
    async with at(KEY) as page:
        assert await links(page) == ["Playground", "Transcripts", "My usage"]
        await page.goto(page.url.split("#")[0] + "#/keys")  # by hand
        await expect(page.get_by_role("heading", level=1)).to_have_text("Playground")


async def test_a_key_that_ends_ends_the_session(at: Opener, site: Gateway) -> None:
    made = post(site.url + "/v1/keys", {"name": "short-lived"}, OPERATOR)
    async with at(made["key"]) as page:
        await visit(page, "usage")
        async with at(OPERATOR) as boss:
            await visit(boss, "keys")
            await boss.get_by_role("button", name="Revoke short-lived").click()
            await boss.get_by_role("dialog").get_by_role("button", name="Revoke").click()
            await expect(boss.get_by_role("dialog")).to_be_hidden()
        await expect(page.get_by_label("API key", exact=True)).to_be_visible()
        await expect(page.get_by_role("alert")).to_contain_text("key")


async def test_no_key_where_none_is_asked_for(
    browser: Browser, tmp_path: Path, loopback: Engine
) -> None:
    upstreams = loopback.url + "/v1"
    with Gateway(tmp_path, api_keys="", allow_anonymous=True, upstreams=upstreams) as gateway:
        async with console(browser, gateway, "") as page:
            await expect(page.get_by_text("anonymous")).to_be_visible()
            assert await links(page) == ["Playground", "Transcripts", "My usage"]
