"""What the console says while a part is away, and that it recovers by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.browser import ask, console, visit
from tests.console.conftest import call, script, settings
from tests.integration.conftest import Server, server_binary
from tests.process import KEY, OPERATOR, Engine, Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Server]:
    """A store that may be stopped."""
    server = Server(server_binary("valkey"), tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def fragile(tmp_path: Path, loopback: Engine, redis: Server) -> Iterator[Gateway]:
    """A gateway that may be killed, over that store."""
    script(loopback)
    with Gateway(tmp_path / "data", redis_url=redis.url, **settings(loopback)) as process:
        yield process


def banner(page: Page) -> Locator:
    return page.locator(".banner")


async def test_a_gateway_that_dies_and_comes_back(browser: Browser, fragile: Gateway) -> None:
    call(fragile)
    async with console(browser, fragile, OPERATOR) as page:
        await visit(page, "calls")
        rows = page.get_by_role("region", name="Calls, table").locator("tbody tr")
        await expect(rows).to_have_count(1)
        fragile.kill()
        await expect(banner(page)).to_contain_text("The gateway doesn't answer.")
        await expect(banner(page)).to_contain_text("tries so far")
        await expect(rows).to_have_count(1)  # what was known stays
        fragile.__enter__()
        await expect(banner(page)).to_have_count(0)
        call(fragile)
        await expect(rows).to_have_count(2)
        await visit(page, "dashboard")
        await expect(page.get_by_role("region", name="Parts")).to_contain_text("ready")
        await expect(page.get_by_role("alert")).to_have_count(0)


async def test_signing_in_while_nobody_answers(browser: Browser, fragile: Gateway) -> None:
    async with console(browser, fragile) as page:
        fragile.kill()
        await page.get_by_label("API key", exact=True).fill(KEY)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("The gateway doesn't answer.")
        fragile.__enter__()
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Playground")


async def test_an_answer_that_is_cut_says_so(
    browser: Browser, fragile: Gateway, loopback: Engine
) -> None:
    async with console(browser, fragile, KEY) as page:
        script(loopback, delay=0.1, pieces=[f"word{n} " for n in range(300)])
        await ask(page, "go on")
        answer = page.get_by_role("article", name="Model")
        await expect(answer).to_contain_text("word3")
        fragile.kill()
        await expect(answer.get_by_role("alert")).to_contain_text("The answer is incomplete.")
        await expect(answer).to_contain_text("word3")
        await expect(banner(page)).to_contain_text("The gateway doesn't answer.")
        script(loopback)
        fragile.__enter__()
        await expect(banner(page)).to_have_count(0)
        await answer.get_by_role("button", name="Try again").click()
        await expect(answer).to_contain_text("The quick brown fox")


async def test_redis_that_goes_away_and_comes_back(
    browser: Browser, fragile: Gateway, redis: Server
) -> None:
    call(fragile)
    async with (
        console(browser, fragile, OPERATOR) as page,
        console(browser, fragile, KEY) as other,
    ):
        await visit(page, "keys")
        await page.get_by_role("button", name="New key").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Name").fill("too early")
        redis.stop()
        await expect(banner(page)).to_contain_text("Redis is unavailable.")
        await expect(banner(other)).to_contain_text("Redis is unavailable.")
        await dialog.get_by_role("button", name="Make key").click()
        await expect(dialog.get_by_role("alert")).to_contain_text("Making the key failed.")
        await ask(other, "echo: still here")  # calls go on
        await expect(other.get_by_role("article", name="Model")).to_contain_text("still here")
        redis.start()
        await expect(banner(page)).to_have_count(0)
        await expect(banner(other)).to_have_count(0)
        await dialog.get_by_role("button", name="Make key").click()
        await expect(dialog).to_contain_text("The key of too early")
        await dialog.get_by_role("button", name="Done").click()
        await visit(page, "dashboard")
        parts = page.get_by_role("region", name="Parts")
        await expect(parts).to_contain_text("unavailable 1 time since the start")
        redis.stop()
        await expect(parts).to_contain_text("unavailable")
        await expect(page.locator(".figure").first).to_contain_text("Requests")


async def test_an_engine_that_is_away(browser: Browser, fragile: Gateway, loopback: Engine) -> None:
    async with console(browser, fragile, OPERATOR) as page:
        loopback.stop()
        await expect(banner(page)).to_contain_text("No engine is ready.")
        await expect(banner(page)).to_contain_text("none of the servers")
        loopback.__enter__()
        await expect(banner(page)).to_have_count(0)
        await ask(page, "echo: back")
        await expect(page.get_by_role("article", name="Model")).to_contain_text("back")
