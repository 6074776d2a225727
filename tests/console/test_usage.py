"""What a key sees of itself."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser import figure_at, visit
from tests.console.conftest import MODEL, Opener, call, post
from tests.process import OPERATOR, Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_key_sees_what_it_used_and_what_is_left(at: Opener, site: Gateway) -> None:
    windows = [{"limit": 20, "seconds": 3600}, {"limit": 100, "seconds": 86400}]
    made = post(site.url + "/v1/keys", {"name": "mine", "windows": windows}, OPERATOR)
    call(site)  # another key's, which isn't told
    used = [call(site, made["key"])["usage"]["total_tokens"] for _ in range(4)]
    async with at(made["key"]) as page:
        await visit(page, "usage")
        limits = page.get_by_role("region", name="Limits")
        await expect(limits).to_contain_text("16 of 20 requests left in any hour")
        await expect(limits).to_contain_text("96 of 100 requests left in any day")
        await expect(figure_at(page, "Calls today")).to_have_text("4")
        await expect(figure_at(page, "Tokens today")).to_have_text(str(sum(used)))
        table = page.get_by_role("region", name="By model, table")
        await expect(table.get_by_role("row", name=MODEL)).to_contain_text("4")
        call(site, made["key"])
        await expect(limits).to_contain_text("15 of 20 requests left in any hour")  # by itself
