"""Keys made, used, changed, rotated and revoked by clicking and typing; what they spent."""

from __future__ import annotations

import urllib.error
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser import visit
from tests.console.conftest import MODEL, Opener, call, post
from tests.process import OPERATOR, Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name="Keys, table").get_by_role("row").filter(has_text=name)


async def secret(page: Page) -> str:
    """The shown secret, by its copy button; the dialog is closed afterwards."""
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Copy the key").click()
    await expect(dialog.get_by_role("status")).to_have_text("Copied")
    copied = str(await page.evaluate("navigator.clipboard.readText()"))
    assert copied == await dialog.locator(".secret code").inner_text()
    await dialog.get_by_role("button", name="Done").click()
    await expect(dialog).to_be_hidden()
    assert copied not in await page.content()
    return copied


def refused(site: Gateway, key: str) -> int:
    with pytest.raises(urllib.error.HTTPError) as error:
        call(site, key)
    return error.value.code


async def test_a_key_s_life(at: Opener, site: Gateway) -> None:
    async with at(OPERATOR) as page:
        await visit(page, "keys")
        await page.get_by_role("button", name="New key").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Name").fill("search-team")
        await dialog.get_by_label("Own limits").check()
        await dialog.get_by_label("Requests", exact=True).fill("2")
        await dialog.get_by_label(MODEL).check()
        await dialog.get_by_role("button", name="Make key").click()
        first = await secret(page)
        await expect(row(page, "search-team")).to_contain_text("2 per hour")
        await expect(row(page, "search-team")).to_contain_text("active")

        for _ in range(2):
            call(site, first)
        assert refused(site, first) == 429
        await page.get_by_role("button", name="Edit search-team").click()
        await dialog.get_by_label("Name").fill("search-two")
        await dialog.get_by_label("Requests", exact=True).fill("50")
        await dialog.get_by_role("button", name="Save").click()
        await expect(dialog).to_be_hidden()
        await expect(row(page, "search-two")).to_contain_text("50 per hour")
        call(site, first)
        cell = row(page, "search-two").get_by_role("cell").nth(2)
        await expect(cell).to_have_text("3")  # calls today

        await page.get_by_role("button", name="Rotate search-two").click()
        await dialog.get_by_label("The old secret expires").select_option(label="at once")
        await dialog.get_by_role("button", name="Rotate").click()
        second = await secret(page)
        assert second != first
        assert refused(site, first) == 401
        call(site, second)

        await page.get_by_role("button", name="Revoke search-two").click()
        await dialog.get_by_role("button", name="Cancel").click()
        call(site, second)
        await page.get_by_role("button", name="Revoke search-two").click()
        await dialog.get_by_role("button", name="Revoke").click()
        await expect(row(page, "search-two")).to_contain_text("revoked")
        assert refused(site, second) == 401


async def test_what_the_gateway_says_stays_in_the_dialog(at: Opener) -> None:
    async with at(OPERATOR) as page:
        await visit(page, "keys")
        await page.get_by_role("button", name="New key").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Name").fill("bad\u200bname")
        await dialog.get_by_role("button", name="Make key").click()
        await expect(dialog.get_by_role("alert")).to_contain_text("name")
        await dialog.get_by_label("Name").fill("good name")
        await dialog.get_by_role("button", name="Make key").click()
        await secret(page)
        await expect(row(page, "good name")).to_be_visible()


async def test_keys_of_the_settings_are_only_shown(at: Opener) -> None:
    async with at(OPERATOR) as page:
        await visit(page, "keys")
        mine = row(page, "operator-1")
        await expect(mine).to_contain_text("this session")
        await expect(mine).to_contain_text("from the settings")
        assert await mine.get_by_role("button").count() == 0


async def test_spend_is_shown_and_downloaded(at: Opener, site: Gateway, tmp_path: Path) -> None:
    for _ in range(3):
        call(site)
    async with at(OPERATOR) as page:
        await visit(page, "keys")
        spend = page.get_by_role("region", name="Spend, table")
        mine = spend.get_by_role("row").filter(has_text="env-1")
        await expect(mine.get_by_role("cell").nth(1)).to_have_text("3")  # calls: all of them
        cells = [await cell.inner_text() for cell in await mine.get_by_role("cell").all()]
        model, calls, tokens_in, tokens_out, cost = cells
        assert (model, calls) == (MODEL, "3")
        due = (int(tokens_in) * 2 + int(tokens_out) * 5) / 1e6
        assert float(cost.removesuffix(" USD")) == pytest.approx(due, abs=1e-5)
        await expect(page.get_by_role("heading", name="Spend a day, USD")).to_be_visible()
        await page.get_by_text("30 days", exact=True).click()
        async with page.expect_download() as download:
            await page.get_by_role("button", name="CSV").click()
        found = await download.value
        assert found.suggested_filename == "usage-30-days.csv"
        await found.save_as(tmp_path / "usage.csv")
        lines = (tmp_path / "usage.csv").read_text("utf-8").splitlines()
        assert lines[0].startswith("key_id,name,model,day")
        assert any(",env-1," in line for line in lines[1:])


async def test_more_keys_than_one_page(at: Opener, site: Gateway) -> None:
    for number in range(55):
        post(site.url + "/v1/keys", {"name": f"many-{number}"}, OPERATOR)
    async with at(OPERATOR) as page:
        await visit(page, "keys")
        await expect(row(page, "many-54")).to_be_visible()
        assert await row(page, "many-0").count() == 0
        await page.get_by_role("button", name="More keys").click()
        await expect(row(page, "many-0")).to_be_visible()


async def test_a_secret_that_was_not_copied_is_not_lost_by_chance(at: Opener) -> None:
    async with at(OPERATOR) as page:
        await visit(page, "keys")
        await page.get_by_role("button", name="New key").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog.get_by_label("Name")).to_be_focused()
        await page.keyboard.type("by-keyboard")
        await page.keyboard.press("Enter")
        await expect(dialog.get_by_role("button", name="Copy the key")).to_be_focused()
        await dialog.get_by_role("button", name="Close").click()
        await expect(dialog).to_contain_text("The key has not been copied yet.")
        await dialog.get_by_role("button", name="Close").click()
        await expect(dialog).to_be_hidden()


async def test_keys_are_searched_and_sorted(at: Opener, site: Gateway) -> None:
    for name in ("zebra-1", "aardvark-1", "zebra-2"):
        made = post(site.url + "/v1/keys", {"name": name}, OPERATOR)
    call(site, made["key"])  # zebra-2
    async with at(OPERATOR) as page:
        await visit(page, "keys")
        table = page.get_by_role("region", name="Keys, table")
        first = table.locator("tbody tr").first
        await table.get_by_role("button", name="Key", exact=True).click()
        await expect(first).to_contain_text("aardvark-1")
        await page.get_by_role("searchbox").fill("ZEBRA active")
        await expect(table.locator("tbody tr")).to_have_count(2)
        await table.get_by_role("button", name="Calls today").click()
        await expect(first).to_contain_text("zebra-2")
        await expect(table.get_by_role("columnheader", name="Calls today")).to_have_attribute(
            "aria-sort", "descending"
        )
