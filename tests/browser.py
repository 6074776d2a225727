"""Real Chromium, looking at a real gateway's console."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Locator, Page, ViewportSize, async_playwright, expect

from gemma_gateway.console.site import Site
from tests.conftest import absent
from tests.process import Process

DESKTOP = ViewportSize(width=1280, height=860)
PHONE = ViewportSize(width=390, height=844)
AXE = Path(__file__).parents[1] / "console" / "node_modules" / "axe-core" / "axe.min.js"
PAGES = {
    "playground": "Playground",
    "transcripts": "Transcripts",
    "dashboard": "Dashboard",
    "keys": "Keys & usage",
    "calls": "Calls",
    "quality": "Answer quality",
    "usage": "My usage",
}
# The browser tells the page of every breach of its policy; the page keeps them for us.
WATCH = """
window.__breaches = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.__breaches.push(`${event.effectiveDirective}: ${event.blockedURI} ${event.sample}`);
});
"""

expect.set_options(timeout=15_000)  # milliseconds; the machine may be busy


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The browser as Debian packages it (or any ``chromium`` or ``google-chrome`` on the path)."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        absent("Chromium (Debian: apt-get install chromium)")
    if Site.installed().page is None:
        absent("the built console (make console)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        await browser.close()


@asynccontextmanager
async def console(
    browser: Browser, gateway: Process, key: str | None = None, **options: Any
) -> AsyncIterator[Page]:
    """A fresh profile with the console open; when it is left, nothing must have been breached.

    Args:
        key: signs in with it; None: stays at the sign-in page.
        options: of Playwright's context, such as ``viewport`` and ``color_scheme``.
    """
    options = {"viewport": DESKTOP, "reduced_motion": "reduce"} | options
    context = await browser.new_context(**options)
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    await context.add_init_script(WATCH)
    page = await context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda said: errors.append(said.text) if "Content Security Policy" in said.text else None,
    )
    await page.goto(f"{gateway.url}/console")
    if key is not None:
        await sign_in(page, key)
    yield page
    breaches = await page.evaluate("window.__breaches")
    await context.close()
    if errors or breaches:
        raise AssertionError(f"breaches: {breaches}; errors: {errors}")


async def sign_in(page: Page, key: str) -> None:
    """Type the key, and wait until a page is there."""
    await page.get_by_label("API key", exact=True).fill(key)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Playground")


async def visit(page: Page, name: str) -> None:
    """Click on a page's link."""
    await page.get_by_role("navigation").get_by_role("link", name=PAGES[name]).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(PAGES[name])


async def ask(page: Page, text: str) -> None:
    """Type a message in the playground and send it."""
    await page.get_by_role("textbox", name="Message").fill(text)
    await page.get_by_role("button", name="Send").click()


async def press(page: Page, key: str, times: int = 1) -> None:
    """Press a key, several times."""
    for _ in range(times):
        await page.keyboard.press(key)


async def tab_to(page: Page, role: str, name: str, most: int = 60) -> None:
    """Press Tab until the element has the focus, which must then be seen."""
    target = page.get_by_role(role, name=name, exact=True)  # type: ignore[arg-type]
    for _ in range(most):
        await page.keyboard.press("Tab")
        if await target.evaluate("element => element === document.activeElement"):
            outline = await target.evaluate("element => getComputedStyle(element).outlineStyle")
            assert outline != "none"
            return
    raise AssertionError(f"Tab doesn't reach {role} {name!r}")


def figure_at(page: Page, label: str) -> Locator:
    """Where the large number under a label is."""
    name = page.get_by_text(label, exact=True)
    return page.locator(".figure").filter(has=name).locator("dd").first


async def figure(page: Page, label: str) -> str:
    """The large number under a label."""
    return await figure_at(page, label).inner_text()


async def told_of_answer(page: Page) -> tuple[int, float, float]:
    """What stands below the last answer: output tokens, tokens a second, and seconds in all."""
    line = page.locator(".turn-figures").last

    async def told(label: str) -> str:
        return await line.locator("div", has_text=label).locator("dd").inner_text()

    tokens = (await told("Tokens in, out")).split(", ")[1]
    rate = (await told("Tokens per second")).replace(",", "")
    number, unit = (await told("Total")).split()
    return int(tokens), float(rate), float(number) / (1000 if unit == "ms" else 1)


async def findings(page: Page) -> list[str]:
    """What axe-core finds that is serious or worse, and goes on finding: rule, and where."""
    if not AXE.exists():
        absent("axe-core (make console-dev, which needs npm)")
    await page.evaluate(AXE.read_text("utf-8"))  # past the page's policy, which allows no other
    for _ in range(10):
        report = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        found = [
            f"{rule['id']}: {node['target']} {node['failureSummary']}"
            for rule in report["violations"]
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]
        ]
        if not found:
            break
        await asyncio.sleep(0.5)  # the page may have been about to change
    return found
