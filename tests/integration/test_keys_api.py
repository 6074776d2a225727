"""/v1/keys on several gateway processes: what operators do, and what callers then see."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.calls import MODEL, ask
from tests.documented import CHECKS
from tests.integration.conftest import Server, server_binary
from tests.process import KEY, Engine, Gateway
from tests.waiting import PATIENCE
from tests.waiting import until as so

Json = dict[str, Any]
OPERATOR = "operator-key-0123456789"
CHAT = "/v1/chat/completions"
TIERS = {
    "default": {},
    "gold": {"windows": [{"limit": 500, "seconds": 60}], "max_tokens_cap": 2000},
}
PRICES = {MODEL: {"input_per_million": "500000", "output_per_million": "1000000"}}


class Reply:
    """One answer."""

    def __init__(self, status: int, raw: bytes, headers: Any) -> None:
        self.status, self.raw, self.headers = status, raw, headers

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def error(self) -> tuple[int, str]:
        return self.status, self.json["error"]["gateway_code"]


async def call(
    gateway: Gateway, method: str, path: str, body: Any = None, key: str = OPERATOR
) -> Reply:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    data = body
    if body is not None and not isinstance(body, bytes):
        data = json.dumps(body).encode()
    if data is not None:
        headers["content-type"] = "application/json"
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, gateway.url + path, data=data, headers=headers) as reply,
    ):
        return Reply(reply.status, await reply.read(), reply.headers)


async def chat(gateway: Gateway, key: str, usage: tuple[int, int] = (4, 1)) -> Reply:
    body = ask("chat", "echo: hi", loopback={"usage": list(usage)})
    return await call(gateway, "POST", CHAT, body, key)


async def make(gateway: Gateway, **fields: Any) -> tuple[str, str]:
    """A new key's id and secret."""
    reply = await call(gateway, "POST", "/v1/keys", {"name": "team", **fields})
    assert reply.status == 201, reply.raw
    return reply.json["id"], reply.json["key"]


async def until(gateways: list[Gateway], secret: str, expected: tuple[int, str]) -> None:
    """Wait until a chat with the secret is refused so on every gateway."""
    async with asyncio.timeout(PATIENCE):
        for gateway in gateways:
            while (reply := await chat(gateway, secret)).status == 200 or reply.error != expected:
                assert reply.status < 500
                await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def fleet(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Gateway]]:
    """Three gateways over one store."""
    folder = tmp_path_factory.mktemp("fleet")
    server = Server(server_binary("valkey"), folder)
    settings = {
        "upstreams": engine.url + "/v1",
        "redis_url": server.url,
        "operator_keys": OPERATOR,
        "tiers": json.dumps(TIERS),
        "prices": json.dumps(PRICES),
        "currency": "EUR",
        "log_level": "error",
    }
    with ExitStack() as stack:
        stack.callback(server.stop)
        server.start()
        fleet = [Gateway(folder / str(n), **settings) for n in range(3)]
        yield [stack.enter_context(gateway) for gateway in fleet]


async def test_made_on_one_used_on_another_at_once(fleet: list[Gateway]) -> None:
    wanted = {
        "name": "Team Blau",
        "tier": "gold",
        "models": [MODEL],
        "expires": "2199-01-01T00:00:00Z",
        "windows": [{"limit": 9, "seconds": 60}],
    }
    made = await call(fleet[0], "POST", "/v1/keys", wanted)
    assert made.status == 201
    assert made.headers["cache-control"] == "no-store"
    view = made.json
    secret = view.pop("key")
    for gateway in fleet[1:]:
        reply = await chat(gateway, secret)
        assert reply.status == 200
        assert reply.headers["x-ratelimit-limit-requests"] == "9"
    own = (await call(fleet[2], "GET", "/v1/keys/self", key=secret)).json
    assert own.pop("usage")["today"]["calls"] >= 1
    assert view.pop("usage")["all_time"] == {"calls": 0, "total_tokens": 0, "cost": None}
    assert own == view
    assert own == {
        **wanted,
        "id": view["id"],
        "created": view["created"],
        "scopes": [],
        "source": "store",
        "state": "active",
    }


async def test_revoked_on_one_refused_on_all(fleet: list[Gateway]) -> None:
    key_id, secret = await make(fleet[0])
    for gateway in fleet:
        assert (await chat(gateway, secret)).status == 200
    reply = await call(fleet[1], "DELETE", f"/v1/keys/{key_id}")
    assert (reply.status, reply.json["state"]) == (200, "revoked")
    assert (await chat(fleet[1], secret)).error == (401, "API_KEY_REVOKED")
    await until(fleet, secret, (401, "API_KEY_REVOKED"))
    again = await call(fleet[0], "DELETE", f"/v1/keys/{key_id}")
    assert (again.status, again.json["state"]) == (200, "revoked")


async def test_rotation_keeps_id_limits_and_usage(fleet: list[Gateway]) -> None:
    key_id, first = await make(fleet[0], windows=[{"limit": 3, "seconds": 600}])
    assert (await chat(fleet[0], first)).status == 200
    reply = await call(fleet[1], "POST", f"/v1/keys/{key_id}/rotate", {"grace_seconds": 600})
    assert reply.headers["cache-control"] == "no-store"
    assert reply.json["id"] == key_id
    second = reply.json["key"]
    assert second != first
    for key, remaining in ((second, "1"), (first, "0")):
        answer = await chat(fleet[2], key)
        assert answer.status == 200
        assert answer.headers["x-ratelimit-remaining-requests"] == remaining
    assert (await chat(fleet[1], second)).error == (429, "RATE_LIMIT_EXCEEDED")
    reply = await call(fleet[0], "POST", f"/v1/keys/{key_id}/rotate", {})
    for old in (first, second):
        await until(fleet, old, (401, "API_KEY_EXPIRED"))
    last = reply.json["key"]

    async def calls() -> int:
        own = await call(fleet[2], "GET", "/v1/keys/self", key=last)
        return int(own.json["usage"]["all_time"]["calls"])

    async def written() -> bool:
        return await calls() >= 3

    await so(written, "all gateways have written what they counted")
    assert await calls() == 3


async def test_own_limits_are_exact_across_processes(fleet: list[Gateway]) -> None:
    limit = 20
    key_id, secret = await make(fleet[0], windows=[{"limit": limit, "seconds": 600}])
    answers = await asyncio.gather(*(chat(fleet[n % 3], secret) for n in range(3 * limit)))
    assert Counter(a.status for a in answers) == {200: limit, 429: 2 * limit}
    body = {"windows": [{"limit": limit + 5, "seconds": 600}]}
    assert (await call(fleet[0], "PATCH", f"/v1/keys/{key_id}", body)).status == 200

    async def there() -> bool:
        found = [(await call(g, "GET", "/v1/usage", key=secret)).json["windows"] for g in fleet]
        return {windows[0]["limit"] for windows in found} == {limit + 5}

    await so(there, "every gateway has the new limit")
    answers = await asyncio.gather(*(chat(fleet[n % 3], secret) for n in range(3 * limit)))
    assert Counter(a.status for a in answers) == {200: 5, 429: 3 * limit - 5}


async def test_a_change_sets_what_it_names(fleet: list[Gateway]) -> None:
    key_id, secret = await make(fleet[0], tier="gold", models=["other"], expires=4e9)
    assert (await chat(fleet[1], secret)).error == (403, "MODEL_NOT_ALLOWED")
    before = (await call(fleet[1], "GET", "/v1/keys/self", key=secret)).json
    change = {"name": "renamed", "models": [], "expires": None, "scopes": ["operator"]}
    after = (await call(fleet[0], "PATCH", f"/v1/keys/{key_id}", change)).json
    assert after == {**before, **change}

    async def served() -> bool:
        return (await chat(fleet[1], secret)).status == 200

    await so(served, "the model is allowed")
    listed = await call(fleet[1], "GET", "/v1/keys", key=secret)  # an operator now
    assert listed.status == 200
    assert (await call(fleet[0], "PATCH", f"/v1/keys/{key_id}", {"scopes": []})).status == 200

    async def refused() -> bool:
        reply = await call(fleet[1], "GET", "/v1/keys", key=secret)
        return reply.status != 200 and reply.error == (403, "OPERATOR_REQUIRED")

    await so(refused, "no operator any more")


async def test_expiry(fleet: list[Gateway]) -> None:
    expires = time.time() + 4  # it is made before, whatever the machine is busy with
    key_id, secret = await make(fleet[0], expires=expires)
    sent = time.time()
    while (reply := await chat(fleet[1], secret)).status == 200:
        assert sent < expires
        await asyncio.sleep(0.1)
        sent = time.time()
    assert reply.error == (401, "API_KEY_EXPIRED")
    assert time.time() >= expires
    assert (await chat(fleet[2], secret)).error == (401, "API_KEY_EXPIRED")
    own = next(
        k for k in (await call(fleet[0], "GET", "/v1/keys")).json["data"] if k["id"] == key_id
    )
    same = {"name": "over", "expires": own["expires"]}  # as a form sends it
    assert (await call(fleet[0], "PATCH", f"/v1/keys/{key_id}", same)).json["name"] == "over"
    reply = await call(fleet[0], "GET", "/v1/keys")
    assert {k["id"]: k["state"] for k in reply.json["data"]}[key_id] == "expired"


async def test_usage_and_cost_by_key(fleet: list[Gateway]) -> None:
    key_id, secret = await make(fleet[0])
    for gateway in fleet:
        assert (await chat(gateway, secret, usage=(10, 3))).status == 200

    async def used() -> Json:
        listed = (await call(fleet[1], "GET", "/v1/keys")).json["data"]
        return dict(next(k["usage"] for k in listed if k["id"] == key_id))

    async def written() -> bool:
        return bool((await used())["all_time"]["calls"] >= 3)

    await so(written, "all gateways have written what they counted")
    usage = await used()
    assert usage["today"] == usage["all_time"]
    assert usage["today"] == {"calls": 3, "total_tokens": 39, "cost": 3 * (10 * 0.5 + 3)}
    report = (await call(fleet[2], "GET", "/v1/monitoring/usage?days=1")).json
    row = next(r for r in report["data"] if r["key_id"].startswith(key_id[:8]))
    assert (row["name"], row["cost"]) == ("team", usage["today"]["cost"])


async def test_the_list_page_by_page(fleet: list[Gateway]) -> None:
    made = [(await make(fleet[n % 3], name=f"k{n}"))[0] for n in range(5)]
    found: list[Json] = []
    cursor: str | None = ""
    while cursor is not None:
        reply = await call(fleet[0], "GET", f"/v1/keys?limit=3&after={cursor}")
        page = reply.json
        assert len(page["data"]) <= 3
        found += page["data"]
        cursor = page["cursor"]
    assert [(k["name"], k["source"]) for k in found[:2]] == [
        ("env-1", "settings"),
        ("operator-1", "settings"),
    ]
    assert found[1]["scopes"] == ["operator"]
    assert found[1]["created"] is None
    ids = [k["id"] for k in found]
    assert ids[2:7] == made[::-1]  # newest first
    assert len(set(ids)) == len(ids)
    source = {"sanitise": "strip", "policy": "block"}
    hourly = {"limit": 1_000_000, "seconds": 3600}
    assert page["tiers"] == {
        "default": {"windows": [hourly], "max_tokens_cap": 1024, **source},
        "open": {
            "windows": [{"limit": 100_000, "seconds": 3600}],
            "max_tokens_cap": None,
            "sanitise": "off",
            "policy": "flag",
        },
        "gold": {**TIERS["gold"], **source},
    }
    reply = await call(fleet[0], "GET", "/v1/keys?limit=200")
    assert [k["id"] for k in reply.json["data"]] == ids


async def test_keys_of_the_settings_are_changed_there(fleet: list[Gateway]) -> None:
    own = (await call(fleet[0], "GET", "/v1/keys/self", key=KEY)).json
    assert (own["name"], own["source"], own["scopes"]) == ("env-1", "settings", [])
    for method, path, body in (
        ("PATCH", "", {"name": "x"}),
        ("POST", "/rotate", {}),
        ("DELETE", "", None),
    ):
        reply = await call(fleet[0], method, f"/v1/keys/{own['id']}{path}", body)
        assert reply.error == (409, "KEY_CONFLICT")
        assert "settings" in reply.json["error"]["message"]
    assert (await chat(fleet[0], KEY)).status == 200


# ---- who may, and what is not valid

ROUTES = [
    ("GET", "/v1/keys"),
    ("GET", "/v1/keys?limit=x"),
    ("POST", "/v1/keys"),
    ("PATCH", f"/v1/keys/{'a' * 64}"),
    ("PATCH", "/v1/keys/nonsense"),
    ("POST", f"/v1/keys/{'a' * 64}/rotate"),
    ("DELETE", f"/v1/keys/{'a' * 64}"),
    ("DELETE", "/v1/keys/*%00"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("body", [None, b"{", b"\xff" * 200_000, b'{"name": 1}'])
async def test_only_operators_whatever_else_is_wrong(
    fleet: list[Gateway], method: str, path: str, body: bytes | None
) -> None:
    _, secret = await make(fleet[0], tier="gold")
    for key in (KEY, secret):
        assert (await call(fleet[0], method, path, body, key)).error == (403, "OPERATOR_REQUIRED")
    for key in ("", "wrong", "gg-" + "x" * 43):
        assert (await call(fleet[0], method, path, body, key)).error == (401, "INVALID_API_KEY")


async def test_each_caller_sees_its_own_key_only(fleet: list[Gateway]) -> None:
    key_id, secret = await make(fleet[0], name="mine")
    own = await call(fleet[0], "GET", "/v1/keys/self", key=secret)
    assert (own.status, own.json["id"], own.json["name"]) == (200, key_id, "mine")
    assert "key" not in own.json
    assert (await call(fleet[0], "GET", "/v1/keys/self", key="")).status == 401


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": " a"}, "name"),
        ({"name": "a\u202eb"}, "name"),
        ({"name": None}, "name"),
        ({"name": ["a"]}, "name"),
        ({"tier": "platinum"}, "tier"),
        ({"tier": "x" * 100_00}, "tier"),
        ({"tier": None}, "tier"),
        ({"models": "gemma"}, "models"),
        ({"models": [1]}, "models.0"),
        ({"models": ["x" * 257]}, "models.0"),
        ({"models": ["m"] * 65}, "models"),
        ({"scopes": ["root"]}, "scopes.0"),
        ({"scopes": ["operator"] * 2}, "scopes"),
        ({"expires": "tomorrow"}, "expires"),
        ({"expires": "2001-01-01T00:00:00Z"}, "expires"),
        ({"expires": -1}, "expires"),
        ({"expires": 1e300}, "expires"),
        ({"expires": "9999-12-31T23:59:59-23:59"}, "expires"),
        ({"windows": []}, "windows"),
        ({"windows": [{"limit": 0, "seconds": 60}]}, "windows.0.limit"),
        ({"windows": [{"limit": 1, "seconds": 10**9}]}, "windows.0.seconds"),
        ({"windows": [{"limit": 1}]}, "windows.0.seconds"),
        ({"windows": [{"limit": 1, "seconds": 1, "x": 1}]}, "windows.0.x"),
        ({"windows": [{"limit": 1, "seconds": 1}] * 9}, "windows"),
        ({"windows": [{"limit": 1.5, "seconds": 1}]}, "windows.0.limit"),
        ({"colour": "red"}, "colour"),
        ({"id": "a" * 64}, "id"),
    ],
)
async def test_fields_that_are_not_valid(fleet: list[Gateway], fields: Json, param: str) -> None:
    key_id, _ = await make(fleet[0])
    for method, path, more in (
        ("POST", "/v1/keys", {"name": "a"}),
        ("PATCH", f"/v1/keys/{key_id}", {}),
    ):
        reply = await call(fleet[0], method, path, {**more, **fields})
        assert reply.error == (400, "VALIDATION_ERROR")
        assert reply.json["error"]["param"] == param
        assert reply.json["error"]["message"]


@pytest.mark.parametrize("grace", [-1, 30 * 86_400 + 1, "x", None, [], {"a": 1}, 1e400, 10**30])
async def test_a_grace_that_is_not_valid(fleet: list[Gateway], grace: Any) -> None:
    key_id, _ = await make(fleet[0])
    reply = await call(fleet[0], "POST", f"/v1/keys/{key_id}/rotate", {"grace_seconds": grace})
    assert reply.error == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"null", 400),
        (b"{", 400),
        (b'{"name": "a", "name": "b"}', 400),
        (b'{"name": "\\ud800"}', 400),
        (b'{"name": "a", "expires": NaN}', 400),
        (b"[" * 10_000, 400),
        (b"\xff\xfe", 400),
        (b'{"name": "' + b"x" * 100_000 + b'"}', 413),
    ],
)
async def test_bodies_that_are_none(fleet: list[Gateway], raw: bytes, status: int) -> None:
    key_id, _ = await make(fleet[0])
    for method, path in (
        ("POST", "/v1/keys"),
        ("PATCH", f"/v1/keys/{key_id}"),
        ("POST", f"/v1/keys/{key_id}/rotate"),
    ):
        reply = await call(fleet[0], method, path, raw)
        assert reply.status == status
        assert reply.json["error"]["message"]


async def test_a_body_of_another_kind(fleet: list[Gateway]) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            fleet[0].url + "/v1/keys",
            data={"name": "a"},
            headers={"x-api-key": OPERATOR},
        ) as reply,
    ):
        assert reply.status == 400
        assert "application/json" in (await reply.json())["error"]["message"]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("after=x", "after"),
        (f"after={'A' * 64}", "after"),
        (f"after={'a' * 64}", "after"),
        ("after=%00", "after"),
    ],
)
async def test_pages_that_are_not_valid(fleet: list[Gateway], query: str, param: str) -> None:
    reply = await call(fleet[0], "GET", f"/v1/keys?{query}")
    assert reply.error == (400, "VALIDATION_ERROR")
    assert reply.json["error"]["param"] == param


@pytest.mark.parametrize(
    ("key_id", "expected"),
    [
        ("a" * 64, (404, "KEY_NOT_FOUND")),
        ("self", (400, "VALIDATION_ERROR")),
        ("a" * 63, (400, "VALIDATION_ERROR")),
        ("A" * 64, (400, "VALIDATION_ERROR")),
        ("a" * 64 + "%0a", (400, "VALIDATION_ERROR")),
        ("*", (400, "VALIDATION_ERROR")),
    ],
)
async def test_ids_that_are_nobody_s(
    fleet: list[Gateway], key_id: str, expected: tuple[int, str]
) -> None:
    for method, path, body in (
        ("PATCH", "", {"name": "x"}),
        ("POST", "/rotate", {}),
        ("DELETE", "", None),
    ):
        reply = await call(fleet[0], method, f"/v1/keys/{key_id}{path}", body)
        assert reply.error == expected
        assert reply.json["error"]["param"] == "key_id"


async def test_the_log_tells_who_did_what_and_no_secret(fleet: list[Gateway]) -> None:
    """Even where the log's level is ``error``."""
    key_id, first = await make(fleet[0], scopes=["operator"])
    second = (await call(fleet[0], "POST", f"/v1/keys/{key_id}/rotate", {})).json["key"]
    await call(fleet[0], "DELETE", f"/v1/keys/{key_id}", key=second)  # itself

    def audit() -> list[Json]:
        whole = fleet[0].text().rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.splitlines() if '"gateway.audit"' in line]
        return [line for line in lines if line["key"] == key_id[:8]]

    await so(lambda: len(audit()) >= 3, "the log has it all")
    mine, text = audit(), fleet[0].text()
    assert [line["message"] for line in mine] == ["key created", "key rotated", "key revoked"]
    assert mine[0]["operator"] is True
    assert mine[2]["by"] == key_id[:8]
    operator = (await call(fleet[0], "GET", "/v1/keys/self")).json
    assert mine[0]["by"] == operator["id"][:8]
    for secret in (first, second, OPERATOR):
        assert secret not in text


async def test_the_metrics_of_keys(fleet: list[Gateway]) -> None:
    _, secret = await make(fleet[0])
    for _ in range(5):
        await chat(fleet[1], secret)
    text = (await call(fleet[1], "GET", "/metrics", key="")).raw.decode()
    values = {
        line.split()[0]: float(line.split()[1])
        for line in text.splitlines()
        if line.startswith("gateway_key")
    }
    assert values["gateway_keys_known"] >= 1
    assert values["gateway_key_lookups_total"] >= 1
    assert values["gateway_keys_unconfirmed_seconds"] < 60


def test_the_document_of_these_routes_is_true(fleet: list[Gateway]) -> None:
    """As an operator: what is sent is often valid, and makes and changes keys."""
    command = [str(Path(sys.executable).with_name("schemathesis"))]
    command += ["run", f"{fleet[0].url}/openapi.json", "-H", f"Authorization: Bearer {OPERATOR}"]
    command += ["--include-path-regex", "^/v1/keys", "--max-examples", "30", "--seed", "1"]
    command += ["--phases", "coverage,fuzzing,stateful", "--checks", ",".join(CHECKS)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert found.returncode == 0, found.stdout[-6000:]


# ---- the store goes away


async def test_an_outage_of_the_store(own_server: Server, engine: Engine, tmp_path: Path) -> None:
    """Known keys work on, unknown ones get a 503 that says when to come again, never a 401."""
    settings = {
        "upstreams": engine.url + "/v1",
        "redis_url": own_server.url,
        "operator_keys": OPERATOR,
        "store_timeout": 1.5,  # the machine is busy
    }
    with Gateway(tmp_path, **settings) as gateway:
        key_id, known = await make(gateway)
        _, unknown = await make(gateway)
        made = time.monotonic()

        async def followed() -> bool:
            asked = time.monotonic()
            text = (await call(gateway, "GET", "/metrics", key="")).raw.decode()
            (ago,) = re.findall(r"^gateway_keys_unconfirmed_seconds (\S+)$", text, re.M)
            return asked - float(ago) > made

        await so(followed, "a look at the changes: at the first one, what was known before goes")
        assert (await chat(gateway, known)).status == 200
        own_server.signal(signal.SIGSTOP)
        for _ in range(3):
            assert (await chat(gateway, known)).status == 200
            reply = await chat(gateway, unknown)
            assert reply.error == (503, "KEY_STORE_UNAVAILABLE")
            assert reply.headers["retry-after"] == "1"
        own = await call(gateway, "GET", "/v1/keys/self", key=known)
        assert (own.status, own.json["id"], own.json["usage"]) == (200, key_id, None)
        assert (await call(gateway, "GET", "/v1/keys/self")).json["name"] == "operator-1"
        assert (await chat(gateway, OPERATOR)).status == 200
        for method, path, body in (
            ("GET", "", None),
            ("POST", "", {"name": "x"}),
            ("PATCH", f"/{key_id}", {"name": "x"}),
            ("POST", f"/{key_id}/rotate", {}),
            ("DELETE", f"/{key_id}", None),
        ):
            reply = await call(gateway, method, f"/v1/keys{path}", body)
            assert reply.error == (503, "KEY_STORE_UNAVAILABLE")
        own_server.signal(signal.SIGCONT)
        end = time.monotonic() + PATIENCE
        while (reply := await chat(gateway, unknown)).status != 200:
            assert reply.error == (503, "KEY_STORE_UNAVAILABLE")
            assert time.monotonic() < end
            await asyncio.sleep(0.1)


async def test_keys_outlive_the_gateway(engine: Engine, tmp_path: Path) -> None:
    """In the embedded store, too."""
    settings = {"upstreams": engine.url + "/v1", "operator_keys": OPERATOR}
    with Gateway(tmp_path, **settings) as gateway:
        key_id, secret = await make(gateway, name="stays")
        assert (await chat(gateway, secret)).status == 200
    with Gateway(tmp_path, **settings) as gateway:
        own = await call(gateway, "GET", "/v1/keys/self", key=secret)
        assert own.status == 200, own.raw
        assert (own.json["id"], own.json["name"]) == (key_id, "stays")
        assert own.json["usage"]["all_time"]["calls"] == 1
