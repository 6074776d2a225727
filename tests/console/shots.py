"""Pictures of the console for docs/img: ``python -m tests.console.shots``.

The gateway is real; its history is made up (a day of calls by four keys, written through the
request_log and the ledger with times in the past), and so is the engine's answer.
"""

from __future__ import annotations

import asyncio
import io
import json
import math
import random
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageDraw
from playwright.async_api import Browser, Page, expect

from gemma_gateway.core.record import Record
from gemma_gateway.core.usage import Usage
from gemma_gateway.limits.ledger import Ledger
from gemma_gateway.limits.limiter import Limiter
from gemma_gateway.monitoring.records import RequestLog
from gemma_gateway.quality.book import Book, Feedback, Rating
from gemma_gateway.quality.likelihood import TOO_SHORT
from gemma_gateway.quality.scores import Scores
from gemma_gateway.storage.redis import Store
from tests.browser import PHONE, ask, chromium, console, visit
from tests.console.conftest import MODEL, TIERS, post, record, script, settings, upload
from tests.integration.conftest import Server, server_binary
from tests.process import OPERATOR, Engine, Gateway

OUT = Path(__file__).parents[2] / "docs" / "img"
PREFIX = "gemma"
HOUR, DAY = 3600, 86_400  # seconds
SAMPLE = 0.02  # share of the calls whose answers are judged
WORDS = {1.0: ["Just what I needed", "Short and right"], 0.0: ["Too long", "It left out the date"]}
KEYS = {"search-team": 5, "support-bot": 3, "nightly-batch": 2, "intern-demo": 1}  # shares
ANSWER = """The sea is salty because **rivers carry minerals** out of the rocks, and water leaves \
the sea only as vapour.

1. Rain is slightly acid and dissolves rock.
2. Rivers bring sodium and chloride to the sea.
3. The sun takes the water away again; the salt stays.

```python
def salinity(salt_kg: float, water_kg: float) -> float:
    # grams of salt in a kilogram of sea water, 35 on average
    return 1000 * salt_kg / (salt_kg + water_kg)
```
"""
TOOLS = [["get_weather", ['{"city": "Lisbon", ', '"unit": "celsius"}']]]
LINES = [
    "Good morning, and welcome on board.",
    "This train calls at Coimbra, Aveiro and Porto.",
    "The dining car is in the middle, between the fourth and the fifth coach.",
]
TRANSCRIPT = {
    "task": "transcribe",
    "language": "english",
    "duration": 11.2,
    "text": " ".join(LINES),
    "segments": [
        {"id": n, "start": start, "end": end, "text": text}
        for n, (start, end, text) in enumerate(zip((0, 2.3, 6), (2.3, 6, 11.2), LINES, strict=True))
    ],
}


def call_record(moment: float, key_id: str, chance: random.Random) -> Record:
    """A call that might have been."""
    outcome, status = chance.choices(
        [("ok", 200), ("RATE_LIMIT_EXCEEDED", 429), ("CONTENT_FILTERED", 400),
         ("client_closed", 499), ("GENERATION_ERROR", 503)],
        [94, 2.4, 1.4, 1.2, 1.0],
    )[0]  # fmt: skip
    ok = outcome == "ok"
    seconds = chance.lognormvariate(-0.6, 0.5) if ok else chance.uniform(0.001, 0.01)
    tokens = round(seconds * chance.uniform(80, 120)) if ok else 0
    return Record(
        time=moment,
        id=f"call-{chance.randrange(16**12):012x}",
        request_id=f"req-{chance.randrange(16**12):012x}",
        key_id=key_id,
        tier="default",
        route=chance.choices(["/v1/chat/completions", "/v1/messages", "/v1/responses"], [7, 2, 1])[
            0
        ],
        model=MODEL,
        stream=True,
        status=status,
        outcome=outcome,
        response_time=seconds,
        time_to_first_token=chance.lognormvariate(-3.2, 0.4) if ok else None,
        input_tokens=chance.randrange(20, 400) if ok else 0,
        output_tokens=tokens,
        finish_reason="stop" if ok else "",
        input_length=chance.randrange(80, 1600),
        upstream="local",
        memory_mb=91.0,
    )


def scores(chance: random.Random) -> Scores:
    """What a judge might have found."""
    short = chance.random() < 0.1
    return Scores(
        relevance=min(1.0, chance.gauss(0.71, 0.09)),
        coherence=None if short else min(1.0, chance.gauss(0.84, 0.06)),
        safety=float(chance.random() > 0.01),
        accuracy=None if short else min(1.0, chance.gauss(0.78, 0.08)),
        accuracy_by="" if short else "consistency",
        reasons=dict.fromkeys(("coherence", "accuracy"), TOO_SHORT) if short else {},
    )


async def history(url: str, ids: dict[str, str]) -> None:
    """A day of records, and a month of usage."""
    chance = random.Random(7)
    store = Store(url, 5)
    await store.start()
    request_log, book = RequestLog(store, PREFIX), Book(store, PREFIX)
    now = time.time()
    moment = now - DAY
    while moment < now:
        wave = 1.2 + math.sin(2 * math.pi * moment / DAY) + 0.35 * math.sin(moment / 900)
        moment += chance.expovariate(max(0.2, wave) / 9)
        key = chance.choices(list(KEYS), list(KEYS.values()))[0]
        call = call_record(min(moment, now), ids[key], chance)
        request_log.add(call)
        if call.outcome == "ok" and chance.random() < SAMPLE:
            book.rate(Rating(**call.columns(), scores=scores(chance)))
        if call.outcome == "ok" and chance.random() < SAMPLE / 20:
            score = chance.choices(list(WORDS), [9, 2])[0]
            words = chance.choice(["", *WORDS[score]])
            book.hear(Feedback(**call.columns(), score=score, comment=words))
        if chance.random() < 0.01:
            await request_log.flush()
            await book.flush()
    await request_log.flush()
    await book.flush()
    for days in range(29, -1, -1):
        ledger = Ledger(store, Limiter(store, PREFIX), PREFIX, lambda then=now - days * DAY: then)
        for key, share in KEYS.items():
            for _ in range(share * chance.randrange(20, 60)):
                ledger.record(ids[key], Usage(chance.randrange(900), chance.randrange(1500)), MODEL)
        await ledger.flush()
    await store.stop()


async def shoot(page: Page, name: str) -> None:
    """Take a picture, small enough for a repository."""
    await page.mouse.move(2, 2)
    await page.wait_for_timeout(600)  # plots and fonts
    shot = Image.open(io.BytesIO(await page.screenshot())).convert("RGB")
    shot.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
        OUT / f"console-{name}.png", optimize=True
    )


async def talk(page: Page, engine: Engine) -> None:
    """A short conversation."""
    script(engine, delay=0.012, pieces=[piece + " " for piece in ANSWER.split(" ")])
    await ask(page, "Why is the sea salty? Show me how salinity is computed.")
    await expect(page.locator(".turn-figures")).to_be_visible()


async def call_tools(page: Page, engine: Engine) -> None:
    """A photo, and what the model would like to know."""
    harbour = Image.new("RGB", (360, 160), "#cfe6ee")
    draw = ImageDraw.Draw(harbour)
    draw.ellipse((250, 20, 290, 60), fill="#f3c969")
    draw.rectangle((0, 100, 360, 160), fill="#2b6f8a")
    draw.polygon([(90, 25), (90, 92), (140, 92)], fill="#ffffff")
    draw.polygon([(65, 96), (155, 96), (138, 116), (82, 116)], fill="#7a3b1d")
    photo = io.BytesIO()
    harbour.save(photo, "PNG")
    await page.get_by_role("button", name="New chat").click()
    await page.get_by_role("button", name="Edit tools").click()
    await page.get_by_role("button", name="Insert an example").click()
    await page.get_by_role("button", name="Save").click()
    attached = upload("harbour.png", photo.getvalue(), "image/png")
    await page.locator("input[type=file]").set_input_files(attached)
    script(engine, pieces=["The", " harbour", " of", " Lisbon", "."], tools=TOOLS)
    await expect(page.get_by_role("button", name="Remove harbour.png")).to_be_visible()
    await ask(page, "Where is this, and do I need a coat there?")
    await page.get_by_label("Result of get_weather").fill('{"celsius": 19, "sky": "clear"}')


async def transcribe(page: Page) -> None:
    """A transcript; its answer is made up."""
    await page.route("**/v1/audio/**", lambda route: route.fulfill(json=TRANSCRIPT))
    await visit(page, "transcripts")
    await record(page)
    await page.get_by_label("Format").select_option("verbose_json")
    await page.get_by_role("button", name="Transcribe").click()
    await expect(page.get_by_role("region", name="Segments, table")).to_be_visible()


async def pictures(browser: Browser, gateway: Gateway, engine: Engine) -> None:
    """Every page, light; one dark; one on a phone."""
    async with console(browser, gateway, color_scheme="light") as page:
        await shoot(page, "sign-in")
    async with console(browser, gateway, OPERATOR, color_scheme="light") as page:
        await talk(page, engine)
        await shoot(page, "playground")
        await call_tools(page, engine)
        await shoot(page, "tools")
        await transcribe(page)
        await shoot(page, "transcripts")
        for name in ("dashboard", "keys", "calls", "quality", "usage"):
            await visit(page, name)
            await shoot(page, name)
    async with console(browser, gateway, OPERATOR, color_scheme="dark") as page:
        await visit(page, "dashboard")
        await page.get_by_text("24 hours", exact=True).click()
        await shoot(page, "dashboard-dark")
    async with console(browser, gateway, OPERATOR, color_scheme="light", viewport=PHONE) as page:
        await talk(page, engine)
        await shoot(page, "phone")


async def main() -> None:
    """Start everything, and take the pictures."""
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Server(server_binary("valkey"), folder)
        store.start()
        try:
            tiers = json.dumps({"default": TIERS["default"] | {"quality_sample": SAMPLE}})
            with (
                Engine(folder / "engine") as engine,
                Gateway(
                    folder / "data",
                    redis_url=store.url,
                    **settings(engine) | {"tiers": tiers},
                ) as gateway,
            ):
                made = {
                    key: post(gateway.url + "/v1/keys", {"name": key}, OPERATOR) for key in KEYS
                }
                await history(store.url, {key: one["id"] for key, one in made.items()})
                async with chromium() as browser:
                    await pictures(browser, gateway, engine)
        finally:
            store.stop()


if __name__ == "__main__":
    asyncio.run(main())
