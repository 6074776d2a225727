"""The live log: calls as they end, found, opened and paused; never what was said."""

from __future__ import annotations

import urllib.error

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser import visit
from tests.console.conftest import Opener, call, post
from tests.process import OPERATOR, Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRET = "a-very-private-word"


def rows(page: Page) -> Locator:
    return page.get_by_role("region", name="Calls, table").locator("tbody tr")


def talk(site: Gateway) -> None:
    call(site, messages=[{"role": "user", "content": f"echo: {SECRET}"}])


def blocked(site: Gateway) -> None:
    with pytest.raises(urllib.error.HTTPError):
        call(site, messages=[{"role": "user", "content": "violence"}])


async def test_calls_appear_can_be_found_opened_and_paused(at: Opener, site: Gateway) -> None:
    async with at(OPERATOR) as page:
        await visit(page, "calls")
        await expect(page.get_by_text("No call yet.")).to_be_visible()
        talk(site)
        await expect(rows(page)).to_have_count(1)
        await expect(rows(page).first).to_contain_text("ok")
        blocked(site)
        await expect(rows(page)).to_have_count(2)
        await expect(rows(page).first).to_contain_text("content filtered")  # newest first

        await page.get_by_text("Refused", exact=True).click()
        await expect(rows(page)).to_have_count(1)
        await page.get_by_text("All", exact=True).click()
        await page.get_by_role("searchbox").fill("CHAT ok")
        await expect(rows(page)).to_have_count(1)
        await page.get_by_role("searchbox").fill("no such thing")
        await expect(page.get_by_text("No call matches this filter.")).to_be_visible()
        await page.get_by_role("searchbox").fill("")

        opener = rows(page).nth(1).get_by_role("button")
        await opener.click()
        await expect(opener).to_have_attribute("aria-expanded", "true")
        await expect(page.locator(".facts")).to_contain_text("Request id")
        await expect(page.locator(".facts")).to_contain_text("200 ok")
        await opener.click()

        await page.get_by_role("button", name="Pause").click()
        await expect(page.get_by_text("Paused, 2 shown")).to_be_visible()
        talk(site)
        await page.wait_for_timeout(3000)  # two turns of the log
        await expect(rows(page)).to_have_count(2)
        await page.get_by_role("button", name="Resume").click()
        await expect(rows(page)).to_have_count(3)
        assert SECRET not in await page.content()


async def test_many_calls_at_once_are_all_there(at: Opener, site: Gateway) -> None:
    made = post(site.url + "/v1/keys", {"name": "busy"}, OPERATOR)
    async with at(OPERATOR) as page:
        await visit(page, "calls")
        await page.get_by_role("searchbox").fill(made["id"][:8])
        for _ in range(30):
            call(site, made["key"])
        await expect(rows(page)).to_have_count(30)


async def test_older_calls_and_those_of_a_name_are_found(at: Opener, site: Gateway) -> None:
    made = post(site.url + "/v1/keys", {"name": "a rare name"}, OPERATOR)
    for _ in range(2):
        call(site, made["key"])
    for _ in range(230):  # more than a page
        call(site)
    async with at(OPERATOR) as page:
        await visit(page, "calls")
        await expect(rows(page)).to_have_count(200)
        await page.get_by_role("button", name="Older calls").click()
        await expect(rows(page).nth(231)).to_be_visible()
        await page.get_by_role("searchbox").fill("rare NAME")
        await expect(rows(page)).to_have_count(2)
        await expect(rows(page).first).to_contain_text("a rare name")
        await page.get_by_label("Before").fill("2020-01-01T00:00")
        await expect(page.get_by_text("No call matches this filter.")).to_be_visible()
