"""Model servers that list no models, such as Vertex AI's: what is known of their models."""

from __future__ import annotations

from collections.abc import Iterator

import aiohttp
import pytest

from tests.calls import ask, post
from tests.process import AUTH, Engine, Gateway

NAME = "gemma-3-270m"


@pytest.fixture(scope="module")
def unlisted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(tmp_path_factory.mktemp("unlisted"), 0, "--models", "") as process:
        yield process


async def told(gateway: Gateway, path: str) -> dict[str, object]:
    async with (
        aiohttp.ClientSession(headers=AUTH) as session,
        session.get(gateway.url + path) as reply,
    ):
        document: dict[str, object] = await reply.json()
        return document


@pytest.mark.parametrize("named", ["", NAME])
async def test_usage_is_told_by_model(
    unlisted: Engine, tmp_path_factory: pytest.TempPathFactory, named: str
) -> None:
    folder = tmp_path_factory.mktemp("gateway")
    settings = {"upstreams": unlisted.url + "/v1", "upstream_models": named}
    with Gateway(folder, **settings) as gateway:
        invented = ask("chat", "hi", model="invented", loopback={"status": 404})
        assert (await post(gateway, "chat", invented))[0] == 404
        assert (await post(gateway, "chat", ask("chat", "hi", model=NAME)))[0] == 200
        usage = await told(gateway, "/v1/usage")
        assert set(usage["all_time"]["models"]) == {NAME}  # type: ignore[index]
        if named:
            nameless = ask("chat", "hi")
            nameless.pop("model", None)
            assert (await post(gateway, "chat", nameless))[0] == 200
        listed = (await told(gateway, "/v1/models"))["data"]
        assert [card["id"] for card in listed] == ([NAME] if named else [])  # type: ignore[attr-defined]
        assert float((await told(gateway, "/health"))["memory_usage"]) > 16  # type: ignore[arg-type]
