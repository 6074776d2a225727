"""The playground by clicking and typing, in front of an engine that does as told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser import ask, sign_in, told_of_answer
from tests.console.conftest import MODEL, Opener, post, script, state
from tests.console.copied import LANGUAGES, copied_call, run
from tests.process import KEY, OPERATOR, Engine, Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")

MARKDOWN = [
    "# Rivers\n\nThe **Nile** is `long`.\n\n",
    "| River | km |\n|---|---|\n| Nile | 6650 |\n\n",
    "```python\ndef reverse(items):\n    return items[::-1]\n```\n\n",
    "<script>window.owned = 1</script>",
    '<img src="x" onerror="window.owned = 2">\n\n',
    "![pixel](https://evil.example/p.png) [bad](javascript:window.owned=3) ",
    "[good](https://example.com/page)\n",
]


@pytest.fixture(autouse=True)
def as_usual(loopback: Engine) -> None:
    """No script is left from another test."""
    script(loopback)


def answer(page: Page) -> Locator:
    """The last answer."""
    return page.get_by_role("article", name="Model").last


async def test_what_is_known_of_the_chosen_model_is_told(at: Opener) -> None:
    described = {"id": MODEL, "description": "A base model, to try."}
    models = {"data": [described, {"id": "another", "description": None}]}
    async with at() as page:
        await page.route("**/v1/models", lambda route: route.fulfill(json=models))
        await sign_in(page, KEY)
        await expect(page.locator(".page-head")).to_contain_text("A base model, to try.")
        await page.get_by_role("combobox", name="Model").select_option("another")
        await expect(page.locator(".page-head p")).to_have_count(0)


async def test_an_answer_streams_and_its_figures_are_told(at: Opener, loopback: Engine) -> None:
    async with at(KEY) as page:
        script(loopback, delay=0.15)
        await page.get_by_label("System prompt").fill("Be brief.")
        await page.get_by_label("Temperature", exact=True).fill("0.2")
        await page.get_by_label("Max tokens").fill("40")
        await ask(page, "echo: one two three four five six seven eight")
        await expect(answer(page)).to_contain_text("one two")
        assert "eight" not in await answer(page).inner_text()  # it comes piece by piece
        await expect(answer(page)).to_contain_text("one two three four five six seven eight")
        figures = page.locator(".turn-figures").last
        await expect(figures).to_contain_text("First token")
        await expect(figures).to_contain_text("Tokens in, out")
        tokens, rate, seconds = await told_of_answer(page)
        assert tokens == 8
        assert rate == pytest.approx(tokens / seconds, rel=0.02)  # less what rounding takes
        sent = state(loopback)["body"]
        assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
        assert (sent["temperature"], sent["max_tokens"], sent["top_p"]) == (0.2, 40, 0.9)


async def test_the_conversation_goes_along_and_an_answer_can_be_made_again(
    at: Opener, loopback: Engine
) -> None:
    async with at(KEY) as page:
        await ask(page, "echo: first")
        await expect(answer(page)).to_contain_text("first")
        await ask(page, "echo: second")
        await expect(answer(page)).to_contain_text("second")
        said = [m["content"] for m in state(loopback)["body"]["messages"]]
        assert said == ["echo: first", "first", "echo: second"]
        calls = state(loopback)["calls"]
        script(loopback, pieces=["another ", "one"])
        await page.get_by_role("button", name="Regenerate").click()
        await expect(answer(page)).to_contain_text("another one")
        assert state(loopback)["calls"] == calls + 1
        assert [m["content"] for m in state(loopback)["body"]["messages"]] == said
        await expect(page.get_by_role("article", name="Model")).to_have_count(2)
        await page.get_by_role("button", name="New chat").click()
        await expect(page.get_by_role("article")).to_have_count(0)


async def test_stop_ends_the_generation_in_the_engine(at: Opener, loopback: Engine) -> None:
    async with at(KEY) as page:
        aborted = state(loopback)["aborted"]
        script(loopback, delay=0.1, pieces=[f"word{n} " for n in range(600)])
        await ask(page, "go on for long")
        await expect(answer(page)).to_contain_text("word3")
        message = page.get_by_role("textbox", name="Message")
        await message.fill("not yet")
        await page.get_by_role("button", name="Stop").click()
        await expect(answer(page)).to_contain_text("Stopped by you.")
        await expect(message).to_have_value("not yet")
        for _ in range(50):
            if state(loopback)["aborted"] == aborted + 1:
                break
            await asyncio.sleep(0.1)
        assert state(loopback)["aborted"] == aborted + 1
        await expect(page.get_by_role("button", name="Send")).to_be_visible()


async def test_markdown_and_code_are_shown_and_nothing_in_them_runs(
    at: Opener, loopback: Engine
) -> None:
    async with at(KEY) as page:
        script(loopback, pieces=MARKDOWN)
        await ask(page, "show me")
        said = answer(page)
        await expect(said.get_by_role("heading", name="Rivers")).to_be_visible()
        await expect(said.locator("strong")).to_have_text("Nile")
        await expect(said.get_by_role("cell", name="6650")).to_be_visible()
        await expect(said.locator("pre .hljs-keyword").first).to_have_text("def")
        await expect(said).to_contain_text("<script>window.owned = 1</script>")
        link = said.get_by_role("link", name="good")
        assert await link.get_attribute("rel") == "noopener noreferrer nofollow"
        assert await said.locator("img, script, iframe, [onerror], [style]").count() == 0
        assert await said.locator("a[href]").count() == 1
        assert await page.evaluate("window.owned") is None
        await said.get_by_role("button", name="Copy this code").click()
        copied = await page.evaluate("navigator.clipboard.readText()")
        assert copied == "def reverse(items):\n    return items[::-1]"


async def test_the_policy_is_told_apart_from_failures(at: Opener, loopback: Engine) -> None:
    async with at(KEY) as page:
        await ask(page, "a text with violence in it")
        await expect(page.get_by_role("alert")).to_contain_text(
            "The content policy blocked your message."
        )
        script(loopback, pieces=["all ", "is ", "well, ", "then ", "violence", " and more"])
        await ask(page, "tell me")
        await expect(answer(page)).to_contain_text("all is well, then")
        await expect(answer(page).get_by_role("alert")).to_contain_text(
            "The content policy ended this answer."
        )
        assert len(state(loopback)["body"]["messages"]) == 1  # the blocked one doesn't come along
        assert "and more" not in await answer(page).inner_text()


async def test_an_engine_that_fails_is_told_and_can_be_tried_again(
    at: Opener, loopback: Engine
) -> None:
    async with at(KEY) as page:
        script(loopback, status=500)
        await ask(page, "echo: at last")
        alert = page.get_by_role("alert")
        await expect(alert).to_contain_text("The model could not complete the answer.")
        await expect(alert).to_contain_text("GENERATION_ERROR")
        script(loopback, error=2)  # in the middle of a stream
        await page.get_by_role("button", name="Try again").click()
        await expect(answer(page)).to_contain_text("at")
        await expect(alert).to_contain_text("GENERATION_ERROR")
        script(loopback)
        await page.get_by_role("button", name="Try again").click()
        await expect(answer(page)).to_contain_text("at last")
        await expect(alert).to_have_count(0)


async def test_a_limit_says_when_there_is_room_again(at: Opener, site: Gateway) -> None:
    windows = [{"limit": 1, "seconds": 6}]
    made = post(site.url + "/v1/keys", {"name": "narrow", "windows": windows}, OPERATOR)
    async with at(made["key"]) as page:
        await ask(page, "echo: one")
        await expect(answer(page)).to_contain_text("one")
        await ask(page, "echo: two")
        alert = page.get_by_role("alert")
        await expect(alert).to_contain_text("This key has used up its requests for now.")
        await expect(alert).to_contain_text("There is room again in")
        await page.get_by_role("button", name="Try again").click(timeout=15_000)
        await expect(answer(page)).to_contain_text("two")


async def test_bad_parameters_come_back_as_the_gateway_s_own_words(at: Opener) -> None:
    async with at(KEY) as page:
        await ask(page, "x" * 8193)
        await expect(page.get_by_role("alert")).to_contain_text("at most 8192 characters")


async def test_the_call_can_be_taken_elsewhere(at: Opener, tmp_path: Path) -> None:
    async with at(KEY) as page:
        await page.get_by_label("System prompt").fill('It\'s "odd" \\ ä\nline')
        await page.get_by_role("textbox", name="Message").fill('echo: it\'s "here" & there')
        texts = {name: await copied_call(page, name) for name in LANGUAGES}
    assert KEY not in "".join(texts.values())
    for name, text in texts.items():
        assert run(name, text, tmp_path) == 'it\'s "here" & there', name


async def test_what_was_said_stays_while_one_looks_elsewhere(at: Opener) -> None:
    async with at(KEY) as page:
        await ask(page, "echo: remember me")
        await expect(answer(page)).to_contain_text("remember me")
        await page.get_by_role("link", name="My usage").click()
        await page.get_by_role("link", name="Playground").click()
        await expect(answer(page)).to_contain_text("remember me")
        await page.get_by_label("System prompt").fill("private")
        await page.get_by_role("button", name="Sign out").click()
        await sign_in(page, KEY)
        await expect(page.get_by_role("article")).to_have_count(0)
        await expect(page.get_by_label("System prompt")).to_have_value("")


async def test_whoever_sends_sees_it_wherever_they_were_reading(at: Opener) -> None:
    async with at(KEY) as page:
        await ask(page, "echo: " + "line after line\n" * 60)
        await expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
        thread = page.get_by_role("log", name="Messages")
        await thread.evaluate("element => { element.scrollTop = 0; }")
        await ask(page, "echo: the new one")
        await expect(answer(page)).to_contain_text("the new one")
        await expect(answer(page)).to_be_in_viewport()


async def test_escape_stops_an_answer_from_anywhere(at: Opener, loopback: Engine) -> None:
    script(loopback, pieces=["on ", "and ", "on "], stall=3)
    async with at(KEY) as page:
        await ask(page, "talk")
        await expect(answer(page)).to_contain_text("on and")
        await page.get_by_role("heading", name="Playground").click()
        await page.keyboard.press("Escape")
        await expect(page.get_by_text("Stopped by you.")).to_be_visible()


async def test_code_ends_where_the_call_did(at: Opener) -> None:
    async with at(KEY) as page:
        await ask(page, "echo: a word")
        await expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
        code = await copied_call(page, "curl")
    body = json.loads(code.partition("-d '")[2].rpartition("'")[0])
    assert [message["role"] for message in body["messages"]] == ["user"]
