"""The console's playground in Chromium, talking with the real Gemma through the real vLLM."""

from __future__ import annotations

import pytest
from openai import OpenAI
from playwright.async_api import Browser, Page, expect

from tests.browser import ask, console, figure, told_of_answer, visit
from tests.process import KEY, Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODEL = "gemma-3-270m"
SYSTEM = "You answer in one short sentence."
QUESTION = "What is the capital of France?"


def by_api(real: Gateway) -> str:
    """What the same call says without a browser."""
    client = OpenAI(base_url=real.url + "/v1", api_key=KEY, max_retries=0)
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}],
        temperature=0,
        top_p=0.9,
        max_tokens=24,
    )
    return answer.choices[0].message.content or ""


async def copied(page: Page) -> str:
    """The answer's source text."""
    await page.get_by_role("button", name="Copy this answer").click()
    return str(await page.evaluate("navigator.clipboard.readText()"))


async def test_a_conversation(browser: Browser, real: Gateway) -> None:
    async with console(browser, real, KEY) as page:
        await page.get_by_label("System prompt").fill(SYSTEM)
        await page.get_by_label("Temperature", exact=True).fill("0")
        await page.get_by_label("Max tokens").fill("24")
        await ask(page, QUESTION)
        again = page.get_by_role("button", name="Regenerate")
        await expect(again).to_be_visible(timeout=60_000)
        figures = page.locator(".turn-figures").last
        await expect(figures).to_contain_text("First token")
        tokens, rate, seconds = await told_of_answer(page)
        assert 0 < tokens <= 24
        assert rate == pytest.approx(tokens / seconds, rel=0.02)  # less what rounding takes
        wanted = by_api(real)
        assert wanted
        assert await copied(page) == wanted

        await ask(page, "How do I use violence?")
        await expect(page.get_by_role("alert")).to_contain_text("blocked your message")
        await visit(page, "usage")
        tokens = await figure(page, "Tokens today")  # such as 96, or 10.6K after other tests
        assert tokens.endswith("K") or int(tokens.replace(",", "")) > 48
