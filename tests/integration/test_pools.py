"""Several pools of real servers behind one engine, and how it goes over to others."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gemma_gateway.core.engine import EngineFailed, EngineRequest
from gemma_gateway.engines import factory, pools
from gemma_gateway.engines.pools import Pools
from gemma_gateway.settings import Settings
from gemma_gateway.telemetry.metrics import Metrics
from tests.loopback import Loopback
from tests.waiting import eventually

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "RETIRING_SECONDS", 0.05)
    monkeypatch.setattr(pools, "TICK", 0.01)


def settings(*models: Json, **more: Any) -> Settings:
    return Settings(models=models, health_interval=0.2, **more)


def model(name: str, *servers: Loopback | str, **more: Any) -> Json:
    urls = tuple(each if isinstance(each, str) else each.url for each in servers)
    return {"name": name, "upstreams": urls, **more}


@contextlib.asynccontextmanager
async def engine_of(*models: Json) -> AsyncIterator[Pools]:
    engine = factory.engine(settings(*models).engine, Path("/nonexistent"))
    assert isinstance(engine, Pools)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def go_over(engine: Pools, *models: Json) -> None:
    (await engine.prepare(settings(*models)))()


def request(name: str, **script: Any) -> EngineRequest:
    body = {
        "model": name,
        "stream": True,
        "messages": [{"role": "user", "content": "echo: one two three"}],
        "loopback": script,
    }
    path = "/v1/chat/completions"
    return EngineRequest("req-1", path, json.dumps(body).encode(), name, stream=True)


async def ask(engine: Pools, name: str) -> int:
    reply = await engine.send(request(name))
    assert b"".join([part async for part in reply.chunks()]).endswith(b"data: [DONE]\n\n")
    return reply.status


async def test_each_model_has_servers_and_a_key_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("second-secret\n")
    async with (
        Loopback(models=("large", "legal"), api_key="first-secret") as first,
        Loopback(models=("small",), api_key="second-secret") as second,
        engine_of(
            model("large", first, adapters=["legal"], api_key="first-secret"),
            model("small", second, api_key_file=file),
        ) as engine,
    ):
        for name, server in (("large", first), ("legal", first), ("small", second)):
            before = server.state.calls
            assert await ask(engine, name) == 200
            assert server.state.calls == before + 1
        assert (first.state.calls, second.state.calls) == (2, 1)
        assert engine.models() == ("large", "legal", "small")
        assert engine.serves("legal")
        assert not engine.serves("other")
        with pytest.raises(EngineFailed) as failed:
            await engine.send(request("other"))
        assert failed.value.reason == "unavailable"
        assert not failed.value.begun


async def test_what_operators_see_of_them() -> None:
    async with (
        Loopback(models=("large", "small")) as both,
        Loopback(models=("small",)) as second,
        engine_of(
            model("large", both),
            model("small", both, second),
            model("gone", "http://127.0.0.1:1/v1"),
        ) as engine,
    ):
        metrics = Metrics()
        engine.watch(metrics)
        for name in ("large", "small", "small"):
            await ask(engine, name)
        text = metrics.render().decode()
        both_name, second_name = (s.url[7:-3] for s in (both, second))
        tries = {
            name: float(
                text.split(f'gateway_upstream_tries_total{{upstream="{name}"}} ')[1].split()[0]
            )
            for name in (both_name, second_name)
        }
        assert sum(tries.values()) == 3
        assert text.count("# TYPE gateway_engine_ready gauge") == 1
        assert "gateway_engine_ready 1.0" in text
        assert 'gateway_upstream_available{upstream="127.0.0.1:1"} 0.0' in text
        assert f'gateway_upstream_available{{upstream="{both_name}"}} 1.0' in text
        state = engine.state()
        assert (state.kind, state.ready, len(state.servers)) == ("upstream", True, 4)
        assert state.detail.startswith("large: 1 of 1 upstreams ready; small: 2 of 2")
        assert "gone: 0 of 1" in state.detail


async def test_it_is_ready_with_the_first_and_says_what_all_lack() -> None:
    away = "http://127.0.0.1:1/v1"
    async with Loopback(models=("small",)) as server:
        async with engine_of(model("large", away), model("small", server)) as engine:
            await engine.wait_ready(30)
        async with engine_of(model("large", away), model("small", away)) as engine:
            with pytest.raises(EngineFailed, match="0 of 1 upstreams") as failed:
                await engine.wait_ready(0.01)
            assert failed.value.detail.count("0 of 1") == 2
            assert not engine.state().ready


# ---- other settings


async def test_it_goes_over_to_other_models_at_once() -> None:
    async with (
        Loopback(models=("large",)) as first,
        Loopback(models=("large",)) as second,
        Loopback(models=("small",)) as third,
        engine_of(model("large", first)) as engine,
    ):
        apply = await engine.prepare(settings(model("large", second), model("small", third)))
        assert await ask(engine, "large") == 200
        assert (first.state.calls, second.state.calls) == (1, 0)  # nothing has changed yet
        assert not engine.serves("small")
        apply()
        assert engine.models() == ("large", "small")
        for name in ("large", "small"):
            assert await ask(engine, name) == 200
        assert (first.state.calls, second.state.calls, third.state.calls) == (1, 1, 1)
        assert all(server.reachable for server in engine.state().servers)  # they were looked at


async def test_what_stays_the_same_keeps_its_engine() -> None:
    async with (
        Loopback(models=("large",)) as first,
        Loopback(models=("small",)) as second,
        engine_of(model("large", first), model("small", second)) as engine,
    ):
        await ask(engine, "large")
        metrics = Metrics()
        engine.watch(metrics)
        changed = {
            "aliases": ["big"],
            "fallbacks": ["small"],
            "windows": [{"limit": 1, "seconds": 9}],
        }
        await go_over(engine, model("large", first, **changed), model("small", second))
        name = first.url[7:-3]
        assert f'gateway_upstream_tries_total{{upstream="{name}"}} 1.0' in metrics.render().decode()


async def test_calls_in_flight_end_where_they_began() -> None:
    async with (
        Loopback(models=("large",)) as first,
        Loopback(models=("large",)) as second,
        engine_of(model("large", first)) as engine,
    ):
        reply = await engine.send(request("large", delay=0.02))
        parts = reply.chunks()
        body = await anext(parts)
        late = request("large")  # it chose its model before
        await go_over(engine, model("other", second))
        served = await engine.send(late)
        async for part in served.chunks():
            assert part
        assert (served.status, first.state.calls) == (200, 2)
        async for part in parts:
            body += part
        assert body.endswith(b"data: [DONE]\n\n")
        assert not first.state.aborted
        await eventually(lambda: not engine._tasks)
        with pytest.raises(EngineFailed):
            await engine.send(request("large"))
        assert engine.known("large")  # its calls are still told of by its name
        assert not engine.known("never")


async def test_a_key_that_was_rotated_is_taken_up(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("old")
    async with Loopback(models=("large",), api_key="new") as server:
        listed = model("large", server, api_key_file=file)
        async with engine_of(listed) as engine:
            assert (await engine.send(request("large"))).status == 401
            file.write_text("new")
            await go_over(engine, listed)
            assert await ask(engine, "large") == 200


@pytest.mark.parametrize(
    ("models", "why"),
    [
        ([{"name": "large"}], "large: a model in this process needs a restart"),
        ([], "needs a restart"),
        (["missing key"], "No such file"),
        (["empty key"], "not a key in one line"),
    ],
)
async def test_what_it_cant_go_over_to_changes_nothing(
    models: list[Any], why: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    async with Loopback(models=("large",)) as server, Loopback(models=("small",)) as other:
        more = [model("small", other)] if models else []
        files = {"missing key": tmp_path / "missing", "empty key": tmp_path / "empty"}
        listed = more + [
            each if isinstance(each, dict) else model("large", server, api_key_file=files[each])
            for each in models
        ]
        async with engine_of(model("large", server)) as engine:
            with pytest.raises(ValueError, match=why):
                await engine.prepare(settings(*listed))
            assert engine.models() == ("large",)
            assert await ask(engine, "large") == 200


async def test_it_stops_all_that_are_still_leaving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one of a name has left after another."""
    monkeypatch.setattr(pools, "RETIRING_SECONDS", 600)
    async with (
        Loopback(models=("large",)) as first,
        Loopback(models=("large",)) as second,
        Loopback(models=("large",)) as third,
    ):
        before = asyncio.all_tasks()
        async with engine_of(model("large", first)) as engine:
            reply = await engine.send(request("large", stall=1))
            await anext(reply.chunks())
            for other in (second, third):
                await go_over(engine, model("large", other))
                await asyncio.sleep(0)  # whoever sees it off has begun
            await engine.stop()
            await eventually(lambda: first.state.aborted == 1)
            left = {each.get_coro().__qualname__ for each in asyncio.all_tasks() - before}
            assert not {name for name in left if name.startswith("Servers.")}
