"""Tools in the playground: declared, called, answered by hand."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser import PHONE, ask, findings, press, tab_to
from tests.console.conftest import Opener, script, state
from tests.process import KEY, Engine

pytestmark = pytest.mark.asyncio(loop_scope="session")

RAIN = {"type": "function", "function": {"name": "rain", "parameters": {"type": "object"}}}
CALLS = [["rain", ['{"city": "Lis', 'bon"}']], ["tide", ["{}"]]]


@pytest.fixture(autouse=True)
def as_usual(loopback: Engine) -> None:
    """No script is left from another test."""
    script(loopback)


def answer(page: Page) -> Locator:
    """The last answer."""
    return page.get_by_role("article", name="Model").last


async def edit(page: Page) -> Locator:
    """The dialog."""
    await page.get_by_role("button", name="Edit tools").click()
    return page.get_by_role("dialog", name="Tools")


async def declare(page: Page, text: str) -> None:
    dialog = await edit(page)
    await dialog.get_by_label("Functions, as JSON").fill(text)
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog).to_have_count(0)


async def test_calls_are_answered_by_hand_without_a_mouse(at: Opener, loopback: Engine) -> None:
    script(loopback, pieces=["Let me look."], tools=CALLS)
    async with at(KEY) as page:
        await declare(page, json.dumps([RAIN]))
        choice = page.get_by_label("Tool choice")
        await choice.select_option("required")
        await ask(page, "Is it raining?")
        card = page.get_by_role("region", name="rain")
        await expect(card.locator("pre")).to_have_text('{\n  "city": "Lisbon"\n}')
        asked = state(loopback)["body"]
        assert (asked["tools"], asked["tool_choice"]) == ([RAIN], "required")
        await expect(page.get_by_role("button", name="Send results")).to_be_disabled()
        assert await findings(page) == []
        await ask_later(page)

        script(loopback, pieces=["It rains."])
        await page.get_by_role("log", name="Messages").focus()
        await tab_to(page, "textbox", "Result of rain")
        await page.keyboard.type('{"mm": 4}')
        await tab_to(page, "textbox", "Result of tide")
        await page.keyboard.type("high")
        await tab_to(page, "button", "Send results")
        await press(page, "Enter")
        await expect(answer(page)).to_contain_text("It rains.")
        await expect(page.get_by_role("log", name="Messages")).to_be_focused()
        await expect(card).to_contain_text('"mm": 4')
        await expect(page.get_by_role("textbox", name="Result of")).to_have_count(0)
        user, called, *results = state(loopback)["body"]["messages"]
        assert (user["content"], called["content"]) == ("Is it raining?", "Let me look.")
        functions = [call["function"] for call in called["tool_calls"]]
        assert functions == [
            {"name": "rain", "arguments": '{"city": "Lisbon"}'},
            {"name": "tide", "arguments": "{}"},
        ]
        ids = [call["id"] for call in called["tool_calls"]]
        assert results == [
            {"role": "tool", "tool_call_id": ids[0], "content": '{"mm": 4}'},
            {"role": "tool", "tool_call_id": ids[1], "content": "high"},
        ]

        script(loopback)
        await choice.select_option("rain")
        await ask(page, "echo: thanks")
        await expect(answer(page)).to_contain_text("thanks")
        body = state(loopback)["body"]
        assert body["tool_choice"] == {"type": "function", "function": {"name": "rain"}}
        assert len(body["messages"]) == 6
        await declare(page, "")
        await expect(choice).to_have_count(0)


async def ask_later(page: Page) -> None:
    """A message waits until the calls are answered."""
    message = page.get_by_role("textbox", name="Message")
    await message.fill("And now?")
    await expect(page.get_by_role("button", name="Send", exact=True)).to_be_disabled()
    await message.press("Enter")
    await expect(message).to_have_value("And now?")
    await message.fill("")


async def test_pieces_of_several_calls_are_put_together(at: Opener) -> None:
    pieces = [
        {"index": 0, "id": "a", "function": {"name": "rain", "arguments": ""}},
        {"index": 1, "id": "b", "function": {"name": "rain", "arguments": '{"city"'}},
        {"index": 0, "function": {"arguments": '{"city": '}},
        {"index": 1, "function": {"arguments": ': "Porto"}'}},
        {"index": 0, "function": {"arguments": '"Faro'}},
    ]
    deltas = [{"tool_calls": pieces[:2]}, *({"tool_calls": [piece]} for piece in pieces[2:])]
    chunks = [{"choices": [{"delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({"choices": [{"delta": {}, "finish_reason": "length"}]})
    events = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    stream = {"body": events, "content_type": "text/event-stream"}
    async with at(KEY, viewport=PHONE) as page:
        await page.route("**/v1/chat/completions", lambda route: route.fulfill(**stream))
        await ask(page, "Where does it rain?")
        first = answer(page).get_by_role("region", name="rain (1)")
        await expect(first.locator("pre")).to_have_text('{"city": "Faro')  # cut, and shown as it is
        second = answer(page).get_by_role("region", name="rain (2)")
        await expect(second.locator("pre")).to_have_text('{\n  "city": "Porto"\n}')
        assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


async def test_what_failed_is_left_out_with_its_calls(at: Opener, loopback: Engine) -> None:
    script(loopback, tools=CALLS[:1])
    async with at(KEY) as page:
        await ask(page, "Is it raining?")
        script(loopback, status=500)
        await page.get_by_label("Result of rain").fill("yes")
        await page.get_by_role("button", name="Send results").click()
        await expect(answer(page).get_by_role("alert")).to_contain_text("GENERATION_ERROR")
        script(loopback)
        await ask(page, "echo: well")
        await expect(answer(page)).to_contain_text("well")
        said = state(loopback)["body"]["messages"]
        assert said == [{"role": "user", "content": "echo: well"}]


async def test_what_is_wrong_with_tools_is_told(at: Opener) -> None:
    twice = json.dumps([RAIN, RAIN])
    wrong = {
        "[": "This isn't JSON",
        "{}": "The tools must be a list",
        '[{"name": "rain"}]': 'Tool 1 must be an object with "type": "function".',
        '[{"type": "function"}]': 'Tool 1: "function" must be an object.',
        '[{"type": "function", "function": {"name": "a b"}}]': 'Tool 1: "name" must be 1 to 64',
        '[{"type": "function", "function": {"name": "a", "parameters": 1}}]': "a JSON Schema",
        twice: "Tool 2: there is another rain.",
    }
    async with at(KEY) as page:
        dialog = await edit(page)
        field = dialog.get_by_label("Functions, as JSON")
        await expect(field).to_be_focused()
        for text, told in wrong.items():
            await field.fill(text)
            await dialog.get_by_role("button", name="Save").click()
            await expect(dialog.get_by_role("alert")).to_contain_text(told)
        assert await findings(page) == []
        await dialog.get_by_role("button", name="Insert an example").click()
        await dialog.get_by_role("button", name="Save").click()
        await expect(dialog).to_have_count(0)
        await expect(page.get_by_label("Tool choice")).to_have_value("auto")
        await expect(page.get_by_role("group", name="Tools")).to_contain_text("get_weather")
