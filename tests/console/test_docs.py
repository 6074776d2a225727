"""The page of the API in a real browser: it works without the internet, and has the console's
guards."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser import WATCH, sign_in
from tests.process import KEY, Gateway

in_browser = pytest.mark.asyncio(loop_scope="session")

# Ways to run what isn't the page's own. A timer's: what a test says itself is above the policy.
INTRUDE = """() => new Promise((done) => setTimeout(() => {
  window.ran = [];
  const script = document.createElement("script");
  const attempts = [
    () => (0, eval)("window.ran.push(1)"),
    () => new Function("window.ran.push(2)")(),
    () => { script.text = "window.ran.push(3)"; },
    () => { script.src = "https://example.org/x.js"; },
  ];
  const inline = document.createElement("div");
  inline.innerHTML = "<img src=x onerror='window.ran.push(5)'><script>window.ran.push(6)</script>";
  document.body.append(inline, script);
  done(attempts.map((attempt) => {
    try { attempt(); return "ran"; } catch { return "refused"; }
  }));
}, 0))"""


@asynccontextmanager
async def opened(browser: Browser, site: Gateway) -> AsyncIterator[Page]:
    """``/docs`` in a fresh profile that reaches nothing but the gateway."""
    context = await browser.new_context()
    await context.add_init_script(WATCH)
    page = await context.new_page()
    elsewhere: list[str] = []
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "request",
        lambda asked: (
            None if asked.url.startswith((site.url, "data:")) else elsewhere.append(asked.url)
        ),
    )
    await page.goto(f"{site.url}/docs")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Gemma gateway")
    yield page
    breaches = await page.evaluate("window.__breaches")
    await context.close()
    assert (breaches, errors, elsewhere) == ([], [], [])


@in_browser
async def test_the_page_of_the_api_is_all_ours(browser: Browser, site: Gateway) -> None:
    """It shows every route, and opens one with its descriptions."""
    with urllib.request.urlopen(site.url + "/openapi.json", timeout=30) as reply:
        routes = json.load(reply)["paths"]
    async with opened(browser, site) as page:
        assert await page.locator(".opblock").count() == sum(map(len, routes.values()))
        block = page.locator("#operations-engine-v1_chat_completions")
        await block.get_by_role("button").first.click()
        await expect(
            block.get_by_text("Not valid, or blocked by the content policy")
        ).to_be_visible()


@in_browser
async def test_a_call_can_be_tried(browser: Browser, site: Gateway) -> None:
    """With the key that is typed in, to this gateway."""
    async with opened(browser, site) as page:
        await page.get_by_role("button", name="Authorize").first.click()
        await page.get_by_label("bearer").fill(KEY)
        await page.get_by_role("button", name="Apply credentials").first.click()
        await page.get_by_role("button", name="Close", exact=True).first.click()
        block = page.locator(".opblock", has_text="/v1/models").first
        await block.get_by_role("button").first.click()
        await block.get_by_role("button", name="Try it out").click()
        await block.get_by_role("button", name="Execute").click()
        await expect(block.locator(".responses-table.live-responses-table")).to_contain_text("200")


@in_browser
async def test_nothing_from_elsewhere_runs_beside_the_console_s_key(
    browser: Browser, site: Gateway
) -> None:
    """Neither a script of a link's making, nor an inline one, nor one from another server."""
    page = await browser.new_page()
    await page.goto(f"{site.url}/console")
    await sign_in(page, KEY)
    await page.goto(f"{site.url}/docs?url=https://example.org/x.json&configUrl=data:,{{}}#x")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Gemma gateway")
    assert await page.evaluate("sessionStorage.length") > 0  # what runs here could read the key
    assert await page.evaluate(INTRUDE) == ["refused"] * 4
    await page.wait_for_timeout(100)  # a handler's chance
    assert await page.evaluate("window.ran") == []
    await page.context.close()


def test_the_guards_are_the_console_s(site: Gateway) -> None:
    with urllib.request.urlopen(site.url + "/console", timeout=60) as reply:
        wanted = dict(reply.headers)
    with urllib.request.urlopen(site.url + "/docs", timeout=60) as reply:
        found = dict(reply.headers)
    for name in ("referrer-policy", "x-frame-options", "cross-origin-opener-policy"):
        assert found[name] == wanted[name]
    policy = dict(part.split(" ", 1) for part in found["content-security-policy"].split("; "))
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in str(policy)
    assert "http" not in str(policy)


@pytest.mark.parametrize("path", ["/redoc", "/docs/oauth2-redirect", "/docs/x"])
def test_the_framework_s_own_pages_are_gone(site: Gateway, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(site.url + path, timeout=60)
    assert error.value.code == 404
