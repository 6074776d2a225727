"""Nothing of a call's words in logs, metrics, records and traces; with an engine that answers as
scripted, fails, and quotes the prompt in its errors."""

from __future__ import annotations

import http.client
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests import canary
from tests.canary import CHAT, MARK
from tests.otlp import Receiver
from tests.process import AUTH, OPERATOR, Engine, Gateway

SCRIPTS: list[dict[str, Any]] = [
    {"pieces": [MARK, f" {MARK}"], "reasoning": [MARK]},
    {"tools": [[MARK, [f'{{"{MARK}": ', f'"{MARK}"}}']]]},
    {"status": 400}, {"status": 401}, {"status": 404}, {"status": 422}, {"status": 429},
    {"status": 500}, {"status": 503}, {"status": 418, "headers": {MARK: MARK, "retry-after": MARK}},
    {"die": -1}, {"die": 2, "pieces": [MARK] * 4}, {"error": 1, "pieces": [MARK]},
    {"end": False, "pieces": [MARK]},
]  # fmt: skip


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


@pytest.fixture(scope="module")
def watched(
    tmp_path_factory: pytest.TempPathFactory, receiver: Receiver
) -> Iterator[tuple[Gateway, Engine]]:
    folder = tmp_path_factory.mktemp("canaries")
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with Engine(folder) as engine:
        settings: dict[str, Any] = {"upstreams": engine.url + "/v1", "eject_after": 100_000}
        settings |= {"operator_keys": OPERATOR, "idle_timeout": 5, "log_level": "debug"}
        with Gateway(folder, environ=environ, **settings) as gateway:
            yield gateway, engine


def script(engine: Engine, what: dict[str, Any]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=30)
    connection.request("POST", "/_script", json.dumps(what), {"content-type": "application/json"})
    assert connection.getresponse().status == 200
    connection.close()


def test_no_word_of_a_call_is_kept(watched: tuple[Gateway, Engine], receiver: Receiver) -> None:
    gateway, engine = watched
    statuses = canary.fire(gateway)
    assert {200, 400, 401, 404} <= statuses
    headers = {**AUTH, "content-type": "application/json"}
    for what in SCRIPTS:
        script(engine, what)
        for path in (CHAT, "/v1/messages", "/v1/responses", "/v1/completions"):
            for stream in (False, True):
                said = {"input": MARK} if path.endswith("responses") else {"prompt": MARK}
                if path in (CHAT, "/v1/messages"):
                    said = {"messages": [{"role": "user", "content": MARK}]}  # type: ignore[dict-item]
                body = {"max_tokens": 9, "stream": stream, **said}
                if path.endswith("responses"):
                    body["max_output_tokens"] = body.pop("max_tokens")
                canary.post(gateway, path, json.dumps(body).encode(), headers)
    script(engine, {})
    assert canary.leaks(gateway) == {}
    trace = secrets.token_hex(16)
    own = {**headers, "traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    assert canary.post(gateway, CHAT, json.dumps(canary.REQUESTS[0][1]).encode(), own) == 200
    receiver.tree(trace)  # spans go out in order: all before it have come
    assert len(receiver.spans) > len(canary.REQUESTS)
    assert MARK.encode() not in receiver.raw
