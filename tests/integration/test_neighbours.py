"""What one key or one address does is felt by no other: calls in flight, failed keys, and whose
address the log names."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from gemma_gateway.access.throttle import BURST
from gemma_gateway.limits.aside import BURST as ASIDE_BURST
from tests.calls import PATHS, ask, post, state
from tests.process import AUTH, OPERATOR, OPERATOR_AUTH, Engine, Gateway
from tests.waiting import PATIENCE, until

CONFIG = """
upstreams: [{url}]
store_timeout: 5
eject_after: 1000
trusted_proxies: [127.0.0.1, 10.0.0.0/8]
operator_keys: [{operator}]
tiers:
  few: {{max_in_flight: 3, windows: [{{limit: 1000, seconds: 3600}}], prompt_logprobs_tokens: 16}}
keys:
  - {{name: few, sha256: {few}, tier: few}}
  - {{name: others, sha256: {others}, tier: few}}
"""
FEW, OTHERS = {"Authorization": "Bearer few"}, {"Authorization": "Bearer others"}


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("neighbours")
    config = folder / "gateway.yaml"
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("few", "others")}
    config.write_text(CONFIG.format(url=engine.url + "/v1", operator=OPERATOR, **digests))
    with Gateway(folder, config=config) as process:
        yield process


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


async def metric(session: aiohttp.ClientSession, gateway: Gateway, name: str) -> float:
    async with session.get(gateway.url + "/metrics") as reply:
        lines = (await reply.text()).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split()[0] == name)


async def usage(session: aiohttp.ClientSession, gateway: Gateway, auth: dict[str, str]) -> Any:
    async with session.get(gateway.url + "/v1/usage", headers=auth) as reply:
        return await reply.json()


@asynccontextmanager
async def held(
    session: aiohttp.ClientSession, gateway: Gateway, number: int, auth: dict[str, str], how: str
) -> AsyncIterator[None]:
    """So many calls in flight: streams that go on, whole answers that take long, or bodies of which
    a part has come."""
    before = await usage(session, gateway, auth)

    async def all_there() -> bool:
        now = await usage(session, gateway, auth)
        return bool(now["in_flight"] == before["in_flight"] + number)

    if how == "body":
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
        head += f"authorization: {auth['Authorization']}\r\n"
        head += "content-type: application/json\r\ncontent-length: 100\r\n\r\n{"
        links = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(number)]
        for link in links:
            link.sendall(head.encode())
        await until(all_there)
        yield
        for link in links:
            link.close()
    else:
        script = {"delay": 0.2, "pieces": ["w "] * 500} if how == "stream" else {"wait": 100}
        body = ask("chat", "x", stream=how == "stream", loopback=script)
        calls = [asyncio.create_task(post(gateway, "chat", body, auth)) for _ in range(number)]
        await until(all_there)
        yield
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)

    async def all_gone() -> bool:
        now = await usage(session, gateway, auth)
        return bool(now["in_flight"] == before["in_flight"])

    await until(all_gone)


@pytest.mark.parametrize("how", ["stream", "whole", "body"])
async def test_a_key_s_calls_in_flight_are_bounded(
    near: Gateway, session: aiohttp.ClientSession, how: str
) -> None:
    refused = await metric(session, near, "gateway_key_in_flight_refused_total")
    async with held(session, near, 3, FEW, how):
        counted = (await usage(session, near, FEW))["requests_last_hour"]
        for dialect in PATHS:
            status, raw, headers = await post(near, dialect, ask(dialect, "echo: a"), FEW)
            assert status == 429
            assert json.loads(raw)["error"]["gateway_code"] == "RATE_LIMIT_EXCEEDED"
            assert "3 calls in flight" in json.loads(raw)["error"]["message"]
            assert headers["retry-after"] == "1"
            assert headers["x-request-id"]
            # the same tier, another key: served
            assert (await post(near, dialect, ask(dialect, "echo: a"), OTHERS))[0] == 200
        after = await usage(session, near, FEW)
        assert after["requests_last_hour"] == counted  # the window isn't spent
        assert (after["in_flight"], after["max_in_flight"]) == (3, 3)
    assert await metric(session, near, "gateway_key_in_flight_refused_total") == refused + 4
    assert (await post(near, "chat", ask("chat", "echo: a"), FEW))[0] == 200


async def test_prompts_with_logprobs_in_flight_share_their_tier_s_room(
    near: Gateway, session: aiohttp.ClientSession, engine: Engine
) -> None:
    refused = await metric(session, near, "gateway_key_in_flight_refused_total")
    told = ask("completions", "12", prompt_logprobs=0)  # {"prompt":"12"} has 15 bytes
    hung = {**told, "loopback": {"wait": 100}}
    before = (await state(engine))["calls"]
    call = asyncio.create_task(post(near, "completions", hung, FEW))

    async def there() -> bool:
        return bool((await state(engine))["calls"] == before + 1)

    await until(there)
    status, raw, headers = await post(near, "completions", told, FEW)
    assert (status, json.loads(raw)["error"]["gateway_code"]) == (429, "RATE_LIMIT_EXCEEDED")
    assert "30 bytes" in json.loads(raw)["error"]["message"]
    assert headers["retry-after"] == "1"
    assert (await post(near, "chat", ask("chat", "echo: a"), FEW))[0] == 200
    assert (await post(near, "completions", told, OTHERS))[0] == 200  # another key
    call.cancel()
    await until(lambda: idle(session, near))
    assert (await post(near, "completions", told, FEW))[0] == 200
    assert await metric(session, near, "gateway_key_in_flight_refused_total") == refused + 1


async def idle(session: aiohttp.ClientSession, gateway: Gateway) -> bool:
    return bool((await usage(session, gateway, FEW))["in_flight"] == 0)


@pytest.mark.parametrize(
    "script",
    [{"status": 500}, {"status": 400}, {"die": 2}, {"error": 1}, {"pieces": ["ha", "te"]}],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_place_is_free_again_however_a_call_ends(
    near: Gateway, session: aiohttp.ClientSession, script: dict[str, Any], stream: bool
) -> None:
    for _ in range(5):  # more than there are places
        status, _, _ = await post(
            near, "chat", ask("chat", "x", stream=stream, loopback=script), FEW
        )
        assert status != 429
    await until(lambda: idle(session, near))
    for body in (b"{", b"[]", json.dumps(ask("chat", "hate")).encode()):
        for _ in range(4):
            url = near.url + "/v1/chat/completions"
            headers = {**FEW, "content-type": "application/json"}
            async with session.post(url, data=body, headers=headers) as reply:
                assert reply.status == 400


async def made(session: aiohttp.ClientSession, gateway: Gateway) -> dict[str, str]:
    """What a key made at run time is sent as."""
    wanted = {"name": "later", "tier": "few"}
    url = gateway.url + "/v1/keys"
    async with session.post(url, json=wanted, headers=OPERATOR_AUTH) as reply:
        return {"Authorization": f"Bearer {(await reply.json())['key']}"}


async def test_keys_made_at_run_time_have_their_tier_s_bound(
    near: Gateway, session: aiohttp.ClientSession
) -> None:
    auth = await made(session, near)
    async with held(session, near, 3, auth, "stream"):
        assert (await post(near, "chat", ask("chat", "echo: a"), auth))[0] == 429
    assert (await post(near, "chat", ask("chat", "echo: a"), auth))[0] == 200


async def test_routes_aside_are_bounded_by_key(
    near: Gateway, session: aiohttp.ClientSession
) -> None:
    auth = await made(session, near)
    paths = ["/v1/usage", "/v1/models", "/v1/keys/self", "/v1/models/gemma-3-270m"]

    async def ask_aside(path: str, auth: dict[str, str]) -> tuple[int, str]:
        async with session.get(near.url + path, headers=auth) as reply:
            await reply.read()
            return reply.status, reply.headers.get("retry-after", "")

    answers: Counter[tuple[int, str]] = Counter()
    async with asyncio.timeout(PATIENCE):  # on a slow machine the first ones don't come fast enough
        while not answers[429, "1"]:
            calls = (ask_aside(path, auth) for path in paths * ASIDE_BURST)
            answers.update(await asyncio.gather(*calls))
    assert answers.keys() == {(200, ""), (429, "1")}
    assert answers[200, ""] >= ASIDE_BURST
    assert (await ask_aside("/v1/usage", OTHERS))[0] == 200
    # what operators look at isn't
    found = await asyncio.gather(
        *(ask_aside("/v1/keys", OPERATOR_AUTH) for _ in range(2 * ASIDE_BURST))
    )
    assert set(found) == {(200, "")}


async def try_key(
    session: aiohttp.ClientSession, gateway: Gateway, path: str, key: str, address: str
) -> tuple[int, str, str]:
    """Status, code and Retry-After for a key that comes from an address."""
    headers = {"x-api-key": key, "x-forwarded-for": address}
    method, sent = ("GET", None) if path in {"/v1/models", "/v1/keys"} else ("POST", {})
    async with session.request(method, gateway.url + path, headers=headers, json=sent) as reply:
        body = await reply.json()
        code = body["error"]["gateway_code"] if "error" in body else ""
        return reply.status, code, reply.headers.get("retry-after", "")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/keys", "/v1/models", "/tokenize"])
async def test_an_address_that_guesses_is_refused_and_good_keys_work_on(
    near: Gateway, session: aiohttp.ClientSession, path: str
) -> None:
    address = f"203.0.113.{10 + len(path)}"
    answers = [await try_key(session, near, path, f"guess-{n}", address) for n in range(2 * BURST)]
    statuses = Counter(status for status, _, _ in answers)
    assert statuses[401] >= BURST
    assert statuses[429] > 0
    assert statuses.keys() == {401, 429}
    limited = [answer for answer in answers if answer[0] == 429]
    assert {code for _, code, _ in limited} == {"RATE_LIMIT_EXCEEDED"}
    assert all(int(seconds) >= 1 for _, _, seconds in limited)
    assert (await try_key(session, near, path, OPERATOR, address))[0] in {200, 400}
    # spoofing: what stands further left is the client's own words
    spoofed = f"198.51.100.7, {address}"
    again = [(await try_key(session, near, path, "guess", spoofed))[0] for _ in range(20)]
    assert 429 in again
    assert (await try_key(session, near, path, "guess", "198.51.100.7"))[0] == 401


async def test_the_log_names_the_client_s_address(near: Gateway) -> None:
    for auth in (FEW, {"Authorization": "Bearer nobody"}):
        headers = {**auth, "x-forwarded-for": "198.51.100.9, 203.0.113.99, 10.1.2.3"}
        await post(near, "chat", ask("chat", "echo: a"), headers)

    async def logged() -> bool:
        lines = [json.loads(line) for line in near.text().splitlines() if '"route"' in line]
        mine = [line for line in lines if line.get("client_address") == "203.0.113.99"]
        return {line["outcome"] for line in mine} == {"ok", "INVALID_API_KEY"}

    await until(logged)
    assert "198.51.100.9" not in near.text()
    async with aiohttp.ClientSession() as session, session.get(near.url + "/metrics") as reply:
        assert "203.0.113" not in await reply.text()


async def test_headers_of_strangers_are_not_believed(gateway: Gateway) -> None:
    """Without trusted_proxies."""
    headers = {**AUTH, "x-forwarded-for": "203.0.113.77", "forwarded": "for=203.0.113.77"}
    await post(gateway, "chat", ask("chat", "echo: a"), headers)

    async def logged() -> bool:
        return '"client_address":"127.0.0.1"' in gateway.text()

    await until(logged)
    assert "203.0.113.77" not in gateway.text()
