"""A gateway with a configuration file: several keys, tiers, and a policy of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import aiohttp
import pytest

from tests.calls import ask, ending, events, post, whole
from tests.process import Engine, Gateway

CONFIG = """
upstreams: [{url}]
redis_prefix: configured
policy_file: {policy}
tiers:
  small:
    windows:
      - {{limit: 3, seconds: 3600}}
      - {{limit: 1000, seconds: 86400}}
    max_tokens_default: 5
    max_tokens_cap: 8
    max_messages: 2
    max_message_chars: 100
    too_long: truncate
  wide:
    windows: [{{limit: 1000, seconds: 60}}]
keys:
  - {{name: narrow, sha256: {narrow}, tier: small}}
  - {{name: other, sha256: {other}, tier: wide, models: [some-other-model]}}
  - {{name: old, sha256: {old}, expires: 2020-01-01T00:00:00Z}}
  - {{name: wide, sha256: {wide}, tier: wide}}
"""
POLICY = """
categories:
  - {name: project, terms: [blue bird], match: substring}
  - {name: watched, terms: [weather, sea], action: flag}
"""


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("configured")
    policy, config = folder / "policy.yaml", folder / "gateway.yaml"
    policy.write_text(POLICY)
    names = ("narrow", "other", "old", "wide")
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in names}
    config.write_text(CONFIG.format(url=engine.url + "/v1", policy=policy, **digests))
    allowed = "priority,loopback"
    with Gateway(folder, config=config, api_keys="", allow_engine_parameters=allowed) as process:
        yield process


async def test_a_key_s_models(configured: Gateway) -> None:
    status, raw, _ = await post(configured, "chat", ask("chat", "hi"), bearer("other"))
    assert status == 403
    assert json.loads(raw)["error"]["gateway_code"] == "MODEL_NOT_ALLOWED"
    async with (
        aiohttp.ClientSession(headers=bearer("other")) as session,
        session.get(configured.url + "/v1/models") as reply,
    ):
        assert (await reply.json())["data"] == []


async def test_an_expired_key(configured: Gateway) -> None:
    status, raw, _ = await post(configured, "messages", ask("messages", "hi"), bearer("old"))
    assert status == 401
    assert json.loads(raw)["error"]["gateway_code"] == "API_KEY_EXPIRED"


async def test_a_tier_s_bounds_and_windows(configured: Gateway, engine: Engine) -> None:
    long = ask("chat", "echo: one two three four five six seven eight nine ten " + "x" * 500)
    del long["max_tokens"]
    status, raw, headers = await post(configured, "chat", long, bearer("narrow"))
    assert status == 200
    assert whole("chat", json.loads(raw)) == "one two three four five"
    assert headers["x-ratelimit-limit-requests"] == "3"
    async with aiohttp.ClientSession() as session, session.get(engine.url + "/_state") as reply:
        sent = (await reply.json())["body"]
    assert sent["max_tokens"] == 5
    assert len(sent["messages"][0]["content"]) == 100
    assert (sent["temperature"], sent["top_p"], sent["repetition_penalty"]) == (0.7, 0.9, 1.05)
    many = {**ask("chat", "a"), "messages": [{"role": "user", "content": "a"}] * 3}
    status, raw, _ = await post(configured, "chat", many, bearer("narrow"))
    assert status == 400
    assert json.loads(raw)["error"]["param"] == "messages"
    assert (await post(configured, "chat", ask("chat", "a"), bearer("narrow")))[0] == 200
    status, raw, headers = await post(configured, "chat", ask("chat", "a"), bearer("narrow"))
    assert status == 429
    assert int(headers["retry-after"]) > 3000


async def test_engine_internals_pass_only_where_the_operator_says_so(configured: Gateway) -> None:
    body = ask("chat", "hi", priority=5)
    assert (await post(configured, "chat", body, bearer("wide")))[0] == 200
    body = ask("chat", "hi", cache_salt="x")
    status, raw, _ = await post(configured, "chat", body, bearer("wide"))
    assert status == 400
    assert json.loads(raw)["error"]["param"] == "cache_salt"


async def test_the_operator_s_own_policy(configured: Gateway) -> None:
    key = bearer("wide")
    assert (await post(configured, "chat", ask("chat", "echo: hate and violence"), key))[0] == 200
    body = ask("chat", "x", stream=True, loopback={"pieces": ["the BLUE", "\n", "bir", "ds sing"]})
    _, raw, _ = await post(configured, "chat", body, key)
    assert ending("chat", events(raw)) == ("content_filter", True)
    status, raw, _ = await post(configured, "chat", ask("chat", "all bluebirds"), key)
    assert status == 200
    for stream in (True, False):
        body = ask("chat", "the weather", stream=stream, loopback={"pieces": ["by the", " sea"]})
        assert (await post(configured, "chat", body, key))[0] == 200
    async with (
        aiohttp.ClientSession() as session,
        session.get(configured.url + "/metrics") as reply,
    ):
        text = await reply.text()
    flagged = 'gateway_filter_matches_total{action="flag",category="watched",direction='
    assert flagged + '"input"} 2.0' in text
    assert flagged + '"output"} 2.0' in text
    assert 'action="block",category="project",direction="output"} 1.0' in text
