"""The dashboard's figures against calls that were really made."""

from __future__ import annotations

import re
import urllib.error

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser import figure_at, visit
from tests.console.conftest import Opener, call, post, script
from tests.process import OPERATOR, Engine, Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")

INKED = """canvas => {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const seen = new Set();
  for (let at = 0; at < pixels.length; at += 4) {
    if (pixels[at + 3] > 200) seen.add(`${pixels[at]},${pixels[at + 1]},${pixels[at + 2]}`);
  }
  return [...seen];
}"""


def load(site: Gateway) -> None:
    """20 good calls, 3 blocked by the policy, 2 over a limit of 1."""
    for _ in range(20):
        call(site)
    made = post(site.url + "/v1/keys", {"name": "n", "windows": [{"limit": 1, "seconds": 3600}]},
                OPERATOR)  # fmt: skip
    call(site, made["key"])
    for _ in range(2):
        refused(site, 429, made["key"])
    for _ in range(3):
        refused(site, 400, messages=[{"role": "user", "content": "violence"}])


def refused(site: Gateway, status: int, *key: str, **fields: object) -> None:
    with pytest.raises(urllib.error.HTTPError) as error:
        call(site, *key, **fields)
    assert error.value.code == status


def plot(page: Page, title: str) -> Locator:
    return page.get_by_role("figure").filter(has=page.get_by_role("heading", name=title))


async def test_figures_equal_what_was_sent_and_follow(at: Opener, site: Gateway) -> None:
    load(site)
    async with at(OPERATOR) as page:
        await visit(page, "dashboard")
        await expect(page.locator(".figure").first).to_contain_text("26")
        for name, value in {
            "Requests": "26",
            "Success": "100%",
            "Limited": "2",
            "Filtered": "3",
            "Tokens out": str(21 * 3),
        }.items():
            await expect(figure_at(page, name)).to_have_text(value)
        outcomes = page.get_by_role("region", name="By outcome").get_by_role("listitem")
        await expect(outcomes).to_have_count(3)
        for text in (r"ok\s*21", r"rate limit exceeded\s*2", r"content filtered\s*3"):
            await expect(outcomes.filter(has_text=re.compile(text))).to_have_count(1)
        for _ in range(5):
            call(site)
        await expect(page.locator(".figure").first).to_contain_text("31")  # by itself


async def test_plots_are_drawn_and_tell_values_under_the_pointer(at: Opener, site: Gateway) -> None:
    call(site)
    async with at(OPERATOR) as page:
        await visit(page, "dashboard")
        requests = plot(page, "Requests a minute")
        name = await requests.get_by_role("img").get_attribute("aria-label") or ""
        assert "In the whole range ok: " in name
        assert "ok: 0," not in name
        canvas = requests.locator("canvas")
        assert len(await canvas.evaluate(INKED)) > 3  # axes, and bars
        legend = requests.locator(".legend li").first
        newest = await legend.inner_text()
        box = await canvas.bounding_box()
        assert box is not None
        await page.mouse.move(box["x"] + box["width"] / 3, box["y"] + 40)
        await expect(legend).to_have_text("ok 0")  # twenty minutes and more ago
        await page.mouse.move(10, 10)
        await expect(legend).to_have_text(newest)


async def test_every_range(at: Opener, site: Gateway) -> None:
    call(site)
    async with at(OPERATOR) as page:
        await visit(page, "dashboard")
        for label, title in (
            ("6 hours", "Requests in 10 minutes"),
            ("24 hours", "Requests in 10 minutes"),
            ("7 days", "Requests an hour"),
            ("1 hour", "Requests a minute"),
        ):
            await page.get_by_text(label, exact=True).click()
            await expect(plot(page, title)).to_be_visible()
            await expect(figure_at(page, "Requests")).not_to_have_text("0")


async def test_the_parts_and_alerts(at: Opener, site: Gateway, loopback: Engine) -> None:
    async with at(OPERATOR) as page:
        await visit(page, "dashboard")
        parts = page.get_by_role("region", name="Parts")
        await expect(parts).to_contain_text("ready, 1 server behind")
        await expect(parts).to_contain_text("Redis")
        await expect(page.get_by_role("list", name="Servers behind the gateway")).to_contain_text(
            loopback.url.removeprefix("http://")
        )
        script(loopback, status=500)
        for _ in range(12):
            refused(site, 503)
        firing = page.get_by_role("list", name="Firing alerts").get_by_role("listitem")
        mine = firing.filter(has_text="Too few calls succeed").first
        await expect(mine).to_contain_text("high")
        await expect(page.get_by_text("alert", exact=False).first).to_be_visible()
        await mine.get_by_role("combobox").select_option(label="1 hour")
        await expect(mine).to_contain_text("silenced until")
        silences = page.get_by_role("list", name="Silences")
        await expect(silences).to_contain_text("Too few calls succeed")
        await silences.get_by_role(
            "button", name="End the silence of “Too few calls succeed”"
        ).click()
        await expect(silences).to_have_count(0)
        script(loopback)
        for _ in range(12):
            call(site)
        past = page.get_by_role("list", name="Past alerts")
        await expect(past).to_contain_text("Too few calls succeed")
        await expect(past).to_contain_text("is back to 100 %, at least 95 %.")
        await page.get_by_text(re.compile(r"^All \d+ rules$")).click()
        await expect(page.get_by_role("region", name="Alert rules")).to_contain_text(
            "No engine is ready"
        )
