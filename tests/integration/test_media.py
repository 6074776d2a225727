"""Images on their whole way: from a client's body, or another server, to an engine."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from gemma_gateway.engines import factory
from gemma_gateway.engines.upstream.engine import UpstreamEngine
from gemma_gateway.media import fetch
from gemma_gateway.media.fetch import Fetcher
from gemma_gateway.settings import Settings
from tests import calls, images
from tests.calls import MODEL, Json
from tests.images import MARK, coded, file, parts, photo, url
from tests.loopback import Loopback
from tests.process import KEY, Engine, Gateway
from tests.road import Reply, Road
from tests.waiting import until

DIALECTS = pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
OTHER_KEY = "another-caller-of-this-gateway-0123456789"
OTHER = {"authorization": f"Bearer {OTHER_KEY}"}
PLAIN = file()


def body(dialect: str, *content: Json | str) -> Json:
    """A call whose user says this: texts, and parts as they are."""
    kind = "input_text" if dialect == "responses" else "text"
    said = [{"type": kind, "text": each} if isinstance(each, str) else each for each in content]
    turn = [{"role": "user", "content": said}]
    if dialect == "responses":
        return {"input": turn, "max_output_tokens": 5}
    return {"messages": turn, "max_tokens": 5}


def content(dialect: str, sent: Json) -> list[Json]:
    """What the user said, as the engine was given it."""
    return sent["input" if dialect == "responses" else "messages"][0]["content"]


@contextlib.asynccontextmanager
async def road(engine: Any = None, **settings: Any) -> AsyncIterator[Road]:
    found = Road(engine=engine, api_keys=(KEY, OTHER_KEY), **settings)
    try:
        yield found
    finally:
        await found.parts.media.stop()


@contextlib.asynccontextmanager
async def upstream(**settings: Any) -> AsyncIterator[tuple[Road, Loopback]]:
    """A gateway before a server that keeps what it was sent."""
    async with Loopback(models=(MODEL,)) as server:
        engine = UpstreamEngine([server.url])
        await engine.start()
        try:
            async with road(engine, **settings) as found:
                yield found, server
        finally:
            await engine.stop()


def refusal(reply: Reply) -> tuple[str, str]:
    """Message and place; Anthropic's errors have the place in the message."""
    assert reply.status == 400, reply.body
    error = reply.json()["error"]
    return error["message"], error.get("param") or ""


# ---- images in the request


@DIALECTS
async def test_images_and_texts_reach_the_engine_in_their_order(dialect: str) -> None:
    png, gif = parts(coded(PLAIN))[dialect], parts(coded(file("GIF")), "image/gif")[dialect]
    sent = body(dialect, "First", png, "then", gif, "which?")
    async with upstream() as (gateway, server):
        assert (await gateway.post(dialect, sent)).status == 200
        assert content(dialect, server.state.body) == content(dialect, sent)  # byte for byte


@DIALECTS
async def test_an_image_goes_on_as_what_it_is_and_without_its_metadata(dialect: str) -> None:
    declared_wrongly = parts(coded(photo()), "image/png")[dialect]
    async with upstream() as (gateway, server):
        reply = await gateway.post(dialect, body(dialect, "Which?", declared_wrongly))
        assert reply.status == 200
        _, given = content(dialect, server.state.body)
        link = given.get("image_url", given)
        link = link["url"] if dialect == "chat" else link
        if dialect == "messages":
            assert given["source"]["media_type"] == "image/jpeg"
            link = url(b"", "image/jpeg") + given["source"]["data"]
        head, data = link.split(",")
        assert head == "data:image/jpeg;base64"
        found = base64.b64decode(data, validate=True)
        assert MARK.encode() not in found
        assert images.opened(found).size == (8, 16)
        assert "stripped" in reply.headers["x-gateway-changed"]


async def test_images_in_the_results_of_tools_reach_the_engine() -> None:
    async with upstream() as (gateway, server):
        image = parts(coded(photo()))
        block = {"type": "tool_result", "tool_use_id": "t", "content": [image["messages"]]}
        assert (await gateway.post("messages", body("messages", block))).status == 200
        (given,) = content("messages", server.state.body)
        assert given["content"][0]["source"]["media_type"] == "image/jpeg"
        item = {"type": "function_call_output", "call_id": "c", "output": [image["responses"]]}
        assert (await gateway.post("responses", {"input": [item]})).status == 200
        (given,) = server.state.body["input"]
        assert given["output"][0]["image_url"].startswith("data:image/jpeg;base64,")


BAD = {
    "html": (b"<html><script>alert(1)</script>", "this is HTML"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "this is SVG"),
    "cut short": (file("JPEG", (64, 64))[:400], "broken or cut short"),
    "bomb": (images.png(50_000, 50_000), "pixels"),
    "animated": (images.animated(), "Animated images are not taken"),
    "empty": (b"", "empty"),
}


@DIALECTS
@pytest.mark.parametrize("name", BAD)
async def test_what_is_no_image_is_refused_in_the_clients_protocol(dialect: str, name: str) -> None:
    data, says = BAD[name]
    async with road() as gateway:
        reply = await gateway.post(
            dialect, body(dialect, "a", parts(coded(PLAIN))[dialect], parts(coded(data))[dialect])
        )
        message, where = refusal(reply)
        assert says in message
        assert "content.2" in where
        assert not gateway.engine.requests


@pytest.mark.parametrize(
    "link",
    [
        *("data:image/png;base64,@@@@", "data:image/png;base64,AAA", "data:image/png;base64,AA=A"),
        *("data:image/png;base64,iVBO Rw0K", "data:image/png;base64,iVBO\nRw0K", "data:,hello"),
        *("data:image/png,%89PNG", "data:image/png;base64", "data:" + "x" * 300 + ";base64,AAAA"),
        *("data:image/png;base64,AAAA%3D", "data:image/png;base64,\u00e9AAA", "data:"),
    ],
)
async def test_base64_is_taken_strictly(link: str) -> None:
    async with road() as gateway:
        part = {"type": "image_url", "image_url": {"url": link}}
        message, where = refusal(await gateway.post("chat", body("chat", part)))
        assert "base64" in message
        assert where == "messages.0.content.0.image_url.url"


async def test_a_media_type_says_nothing_else_to_an_engine() -> None:
    """Engines put it into a URL of their own."""
    block = parts(coded(PLAIN))["messages"]
    block["source"]["media_type"] = "image/png;base64,AAAA#"
    async with road() as gateway:
        assert (await gateway.post("messages", body("messages", block))).status == 200
        (request,) = gateway.engine.requests
        given = json.loads(request.body)["messages"][0]["content"][0]["source"]
        assert given == {"type": "base64", "media_type": "image/png", "data": coded(PLAIN)}


async def test_a_tier_bounds_the_images_of_a_call() -> None:
    part = parts(coded(PLAIN))["chat"]
    async with road(tiers={"default": {"max_images": 2}}) as gateway:
        assert (await gateway.post("chat", body("chat", part, part))).status == 200
        message, where = refusal(await gateway.post("chat", body("chat", part, part, part)))
        assert message == "A call has at most 2 images, not 3 (max_images of tier default)."
        assert where == "messages.0.content.2.image_url.url"


@DIALECTS
async def test_a_model_that_reads_text_alone_is_given_no_image(dialect: str) -> None:
    async with road(modalities=frozenset({"text"})) as gateway:
        broken = parts("not even base64")[dialect]
        message, where = refusal(await gateway.post(dialect, body(dialect, broken)))
        assert f'The model "{MODEL}" takes text only.' in message
        assert "content.0" in where
        assert not gateway.parts.media.workers.pids  # nobody looked at it
        (card,) = (await gateway.get("/v1/models")).json()["data"]
        assert card["input_modalities"] == ["text"]
    async with road(modalities=frozenset({"image", "text"})) as gateway:
        image = parts(coded(PLAIN))[dialect]
        assert (await gateway.post(dialect, body(dialect, image))).status == 200
        (card,) = (await gateway.get("/v1/models")).json()["data"]
        assert card["input_modalities"] == ["text", "image"]


async def test_the_settings_say_what_a_models_servers_read() -> None:
    server = ["http://127.0.0.1:9/v1"]
    models = [
        {"name": "reads", "upstreams": server, "modalities": ["text"], "aliases": ["r"],
         "fallbacks": ["looks"]},
        {"name": "looks", "upstreams": server, "modalities": ["text", "image"]},
        {"name": "unknown", "upstreams": server},
    ]  # fmt: skip
    engine = factory.engine(Settings(models=models).engine, Path("/nonexistent"))
    assert engine.modalities("reads") == {"text"}
    assert engine.modalities("looks") == {"text", "image"}
    assert engine.modalities("unknown") is engine.modalities("nobody") is None
    async with road(engine, models=models) as gateway:
        part = parts(coded(PLAIN))["chat"]
        message, _ = refusal(await gateway.post("chat", {**body("chat", part), "model": "r"}))
        assert message == 'The model "reads" takes text only.'


async def test_a_call_with_images_goes_on_to_no_model_that_reads_text_alone() -> None:
    server = ["http://127.0.0.1:9/v1"]
    names = ("first", "reads", "looks")
    models = [{"name": name, "upstreams": server} for name in names]
    models[0]["fallbacks"] = ["reads", "looks"]
    async with road(models=models) as gateway:
        reading = {"reads": frozenset({"text"})}
        gateway.engine.modalities = reading.get
        part = parts(coded(PLAIN))["chat"]
        sent = {**body("chat", part), "model": "first"}
        await gateway.post("chat", sent)
        (request,) = gateway.engine.requests
        assert await request.route.further("unavailable") == "looks"
        assert await request.route.further("unavailable") is None


async def test_images_are_counted_in_metrics_and_records() -> None:
    async with road() as gateway:
        records: list[Any] = []
        gateway.parts.request_log.add = records.append
        part, bad = parts(coded(PLAIN))["chat"], parts(coded(b"?"))["chat"]
        await gateway.post("chat", body("chat", part, part))
        await gateway.post("chat", body("chat", bad))
        await gateway.post("chat", body("chat", "text"))
        assert [record.images for record in records] == [2, 1, 0]
        figures = gateway.figures()
        counted = 'gateway_media_checked_total{kind="image",outcome="%s"}'
        assert figures[counted % "ok"] == 2
        assert figures[counted % "type"] == 1
        assert figures['gateway_media_check_duration_seconds_count{kind="image"}'] == 3


async def test_an_image_counts_as_an_image_and_not_as_its_base64() -> None:
    """Where the engine tells no count: the client of a long answer has left."""
    data = file("PNG", (400, 400), compress_level=0)
    async with upstream() as (gateway, server):
        records: list[Any] = []
        gateway.parts.request_log.add = records.append
        server.script = {"die": 2}
        sent = body("chat", "a" * 400, parts(coded(data))["chat"])
        await gateway.post("chat", {**sent, "stream": True})
        (record,) = records
        assert record.usage_estimated
        assert 256 + 100 <= record.input_tokens < 256 + 200


# ---- workers


async def started(gateway: Road) -> int:
    """The one worker, which waits."""
    assert (await gateway.post("chat", body("chat", parts(coded(PLAIN))["chat"]))).status == 200
    (pid,) = gateway.parts.media.workers.pids
    return pid


async def stopped(gateway: Road, pid: int) -> asyncio.Task[Reply]:
    """A call whose image the worker has, and doesn't get on with."""
    os.kill(pid, signal.SIGSTOP)
    part = parts(coded(PLAIN))["chat"]
    call = asyncio.create_task(gateway.post("chat", body("chat", part)))
    await until(lambda: gateway.parts.media.workers.busy, "the worker has the image")
    return call


async def test_a_worker_that_dies_takes_one_call_with_it_and_no_more() -> None:
    async with road(media_workers=1) as gateway:
        pid, workers = await started(gateway), gateway.parts.media.workers
        call = await stopped(gateway, pid)
        os.kill(pid, signal.SIGKILL)
        message, where = refusal(await call)
        assert message == "The image can't be decoded."
        assert where == "messages.0.content.0.image_url.url"
        assert (await gateway.post("chat", body("chat", parts(coded(PLAIN))["chat"]))).status == 200
        (other,) = workers.pids
        assert other != pid


async def test_a_worker_that_takes_too_long_is_replaced() -> None:
    async with road(media_workers=1) as gateway:
        pid, workers = await started(gateway), gateway.parts.media.workers
        workers._seconds = 0.1
        os.kill(pid, signal.SIGSTOP)
        part = parts(coded(PLAIN))["chat"]
        message, _ = refusal(await gateway.post("chat", body("chat", part)))
        assert message == "The image takes too long to be decoded."
        workers._seconds = 60
        assert (await gateway.post("chat", body("chat", part))).status == 200
        assert pid not in workers.pids


async def test_a_client_that_leaves_keeps_no_worker() -> None:
    async with road(media_workers=1) as gateway:
        pid, workers = await started(gateway), gateway.parts.media.workers
        call = await stopped(gateway, pid)
        call.cancel()
        await asyncio.wait([call])
        assert not workers.busy
        assert (await gateway.post("chat", body("chat", parts(coded(PLAIN))["chat"]))).status == 200


async def test_a_worker_knows_no_secrets_and_has_a_bound_on_its_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GATEWAY_UPSTREAM_API_KEY", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    async with road() as gateway:
        pid = await started(gateway)
        with open(f"/proc/{pid}/environ", "rb") as environment:
            assert b"secret" not in environment.read()
        with open(f"/proc/{pid}/limits") as limits:
            (line,) = (line for line in limits if line.startswith("Max address space"))
        assert "unlimited" not in line


async def test_one_callers_images_hold_nobody_else_up() -> None:
    async with road(media_workers=1) as gateway:
        pid, workers = await started(gateway), gateway.parts.media.workers
        gateway.engine.requests.clear()
        os.kill(pid, signal.SIGSTOP)
        heavy = parts(coded(images.heavy()))["chat"]
        crowd = [
            asyncio.create_task(gateway.post("chat", body("chat", f"crowd {n}", heavy)))
            for n in range(30)
        ]
        await until(lambda: workers.busy, "the worker has the first of them")
        # A text waits for none of them.
        assert (await gateway.post("chat", body("chat", "text"), OTHER)).status == 200
        gateway.engine.requests.clear()
        one = asyncio.create_task(
            gateway.post("chat", body("chat", "one", parts(coded(PLAIN))["chat"]), OTHER)
        )
        await asyncio.sleep(0)
        while workers._turns.callers < 2:
            await asyncio.sleep(0)
        os.kill(pid, signal.SIGCONT)
        assert (await one).status == 200
        came = [request.body for request in gateway.engine.requests]
        assert [b'"one"' in each for each in came].index(True) <= 1  # after the first of them
        for call in crowd:
            call.cancel()
        await asyncio.wait(crowd)


async def test_a_gateways_own_workers_outlive_a_kill_but_not_the_gateway(tmp_path: Path) -> None:
    """The whole process, with large images: more than a pipe takes at once, there and back."""
    large = file("PNG", (1000, 1000), compress_level=0) + MARK.encode()
    assert len(large) > 2**21

    def workers() -> list[psutil.Process]:
        children = psutil.Process(gateway.pid).children(recursive=True)
        return [each for each in children if "gemma_gateway.media.worker" in each.cmdline()]

    with (
        Engine(tmp_path) as server,
        Gateway(tmp_path, upstreams=f"{server.url}/v1", max_body_bytes=2**23) as gateway,
    ):
        assert not workers()
        sent = body("chat", "Which?", parts(coded(large))["chat"])
        assert (await calls.post(gateway, "chat", sent))[0] == 200
        given = (await calls.state(server))["body"]
        link = content("chat", given)[1]["image_url"]["url"]
        assert link == url(large.removesuffix(MARK.encode()))
        (first,) = workers()
        first.kill()
        await until(lambda: not first.is_running() or first.status() == "zombie", "it is dead")
        assert (await calls.post(gateway, "chat", sent))[0] == 200
        (second,) = workers()
        assert second.pid != first.pid
    await until(lambda: not second.is_running(), "it ends with the gateway")


# ---- images of other servers


class Host:
    """A server of images, on an address of its own."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self.address, self.port = address, port
        self.asked: list[web.BaseRequest] = []
        self.data = photo()
        self.headers = {"content-type": "image/png"}
        self.redirect = ""
        self.left = asyncio.Event()
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Host:
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.05)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.address, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def at(self, path: str) -> str:
        return f"http://{self.address}:{self.port}{path}"

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request)
        if request.path.startswith("/to/"):
            count = int(request.path.removeprefix("/to/"))
            to = f"/to/{count - 1}" if count else self.redirect or "/a.png"
            return web.Response(status=302, headers={"location": to})
        if request.path in ("/endless", "/slow"):
            response = web.StreamResponse(headers=self.headers)
            await response.prepare(request)
            with contextlib.suppress(OSError):
                while request.path == "/endless":
                    await response.write(bytes(2**16))
                await response.write(self.data[:100])
                await asyncio.Event().wait()
            return response
        if request.path == "/missing":
            raise web.HTTPNotFound
        return web.Response(body=self.data, headers=self.headers)


@contextlib.asynccontextmanager
async def remote(**settings: Any) -> AsyncIterator[tuple[Road, Host]]:
    """A gateway that may fetch from a host inside."""
    async with Host() as host:
        given = {"media_urls": (host.at("/*"),), "media_allow_private_urls": True, **settings}
        async with road(**given) as gateway:
            yield gateway, host


async def sent_to(gateway: Road, link: str, dialect: str = "chat") -> Reply:
    return await gateway.post(dialect, body(dialect, "Which?", parts(link)[dialect]))


@DIALECTS
async def test_an_image_of_a_listed_host_is_sent_on_in_the_request_itself(dialect: str) -> None:
    async with (
        Host() as host,
        upstream(media_urls=(host.at("/*"),), media_allow_private_urls=True) as (gateway, server),
    ):
        part = parts(host.at("/a.png"))[dialect]
        same = parts(coded(file("GIF")), "image/gif")[dialect]
        reply = await gateway.post(dialect, body(dialect, "a", part, "b", same))
        assert reply.status == 200
        given = content(dialect, server.state.body)
        text = json.dumps(given)
        assert host.at("") not in text
        assert [sorted(each)[0] for each in given] == [
            sorted(each)[0] for each in content(dialect, body(dialect, "a", part, "b", same))
        ]
        if dialect == "messages":
            assert given[1]["source"]["type"] == "base64"
            assert given[1]["source"]["media_type"] == "image/jpeg"
            assert set(given[1]["source"]) == {"type", "media_type", "data"}
            data = given[1]["source"]["data"]
        else:
            link = given[1]["image_url"]["url"] if dialect == "chat" else given[1]["image_url"]
            head, data = link.split(",")
            assert head == "data:image/jpeg;base64"
        assert MARK.encode() not in base64.b64decode(data, validate=True)
        (asked,) = host.asked
        assert asked.headers["accept-encoding"] == "identity"
        sent = {name.lower() for name in asked.headers}
        assert sent == {"host", "connection", "accept", "accept-encoding", "user-agent"}
        assert not gateway.parts.media.holdings.total  # nothing is counted once the call is over


async def test_redirects_are_followed_within_the_list() -> None:
    async with remote() as (gateway, host):
        assert (await sent_to(gateway, host.at("/to/2"))).status == 200
        assert [each.path for each in host.asked] == ["/to/2", "/to/1", "/to/0", "/a.png"]
        message, where = refusal(await sent_to(gateway, host.at("/to/3")))
        assert message == "The image was sent on more than 3 times."
        assert where == "messages.0.content.1.image_url.url"


@pytest.mark.parametrize(
    "to",
    [
        *("http://127.0.0.1:1/a.png", "https://elsewhere.example/a.png", "file:///etc/passwd"),
        *("//elsewhere.example/a.png", "http://user@127.0.0.1/a.png", "data:image/png;base64,AAAA"),
        *("http://169.254.169.254/latest", "http://[fd00:ec2::254]/latest"),
    ],
)
async def test_a_redirect_leads_nowhere_else(to: str) -> None:
    metadata = ("http://169.254.169.254/*", "http://[fd00:ec2::254]/*")
    async with Host() as host:
        listed = (host.at("/*"), *metadata)
        async with road(media_urls=listed, media_allow_private_urls=True) as gateway:
            host.redirect = to
            message, _ = refusal(await sent_to(gateway, host.at("/to/0")))
            assert "media_" in message or "plain URL" in message
            assert len(host.asked) == 1
            assert not gateway.engine.requests


SAYS = {
    "/missing": "its server answered 404",
    "/endless": "at most 100,000 bytes",
    "/slow": "took longer than 0.3 seconds",
}


@pytest.mark.parametrize("path", SAYS)
async def test_a_fetch_that_fails_says_why(path: str) -> None:
    async with remote(image_max_bytes=100_000, media_fetch_timeout=0.3) as (gateway, host):
        gateway.parts.media.fetcher._seconds = 0.3 if path == "/slow" else 60
        message, where = refusal(await sent_to(gateway, host.at(path)))
        assert SAYS[path] in message
        assert "127.0.0.1" not in message
        assert where == "messages.0.content.1.image_url.url"


async def test_nobody_there_is_a_refusal_too() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and doesn't listen
        there = f"http://127.0.0.1:{taken.getsockname()[1]}/a.png"
        async with road(media_urls=(there,), media_allow_private_urls=True) as gateway:
            message, _ = refusal(await sent_to(gateway, there))
            assert message == (
                "The image could not be fetched: its server can't be reached, or breaks off."
            )


async def test_what_a_server_calls_it_counts_for_nothing() -> None:
    async with remote() as (gateway, host):
        host.headers = {"content-type": "text/html"}
        assert (await sent_to(gateway, host.at("/a"))).status == 200
        host.headers, host.data = {"content-type": "image/png"}, b"<html>"
        assert "this is HTML" in refusal(await sent_to(gateway, host.at("/a")))[0]


async def test_a_compressed_body_is_refused() -> None:
    async with remote() as (gateway, host):
        host.headers["content-encoding"] = "gzip"
        host.data = gzip.compress(PLAIN)
        message, _ = refusal(await sent_to(gateway, host.at("/a")))
        assert message == "The image came compressed, and was asked for as it is."


async def test_private_addresses_are_refused_unless_the_operator_says_so() -> None:
    async with remote(media_allow_private_urls=False) as (gateway, host):
        message, _ = refusal(await sent_to(gateway, host.at("/a.png")))
        assert "media_allow_private_urls" in message
        assert "127.0.0.1" not in message
        assert not host.asked


class Names(AbstractResolver):
    """A name server that answers otherwise each time."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        self.answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> Any:
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            {"hostname": host, "host": address, "port": port, "family": socket.AF_INET,
             "proto": 0, "flags": flags}
            for address in self.answers.pop(0)
        ]  # fmt: skip

    async def close(self) -> None:
        pass


async def test_only_an_address_that_was_checked_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """127.0.0.2 stands for a public address here, 127.0.0.1 is what it is."""
    real = fetch.may_be_asked
    monkeypatch.setattr(
        fetch,
        "may_be_asked",
        lambda address, private: str(address) == "127.0.0.2" or real(address, private=private),
    )
    async with Host("127.0.0.2") as public, Host("127.0.0.1", public.port) as inside:
        there = f"http://images.example:{public.port}/*"
        async with road(media_urls=(there, inside.at("/*"))) as gateway:
            names = Names(("127.0.0.2",), ("127.0.0.1",), ("127.0.0.1", "127.0.0.2"), ())
            gateway.parts.media.fetcher = Fetcher(gateway.parts.settings.media, names)
            link = there.replace("*", "a.png")
            assert (await sent_to(gateway, link)).status == 200
            for asked in (1, 2, 2):
                reply = await sent_to(gateway, link)
                assert len(public.asked) == asked
                if reply.status != 200:
                    assert "no address that images may be fetched from" in refusal(reply)[0]
            assert [each.headers["host"] for each in public.asked] == [
                f"images.example:{public.port}"
            ] * 2
            # and by a redirect
            names.answers.append(("127.0.0.2",))
            public.redirect = inside.at("/a.png")
            assert (
                "media_allow_private_urls"
                in refusal(await sent_to(gateway, there.replace("*", "to/0")))[0]
            )
            assert not inside.asked


async def test_fetched_images_have_a_bound_on_their_memory() -> None:
    async with remote(media_held_bytes=2048) as (gateway, host):
        host.data = bytes(2000)
        reply = await sent_to(gateway, host.at("/a.png"))
        code = reply.json()["error"]["gateway_code"]
        assert (reply.status, code) == (429, "RATE_LIMIT_EXCEEDED")  # half of all, for one key
        assert gateway.parts.media.holdings.total == 0
        host.data = PLAIN
        assert (await sent_to(gateway, host.at("/a.png"))).status == 200


@pytest.mark.parametrize("kind", ["audio_url", "video_url"])
async def test_other_media_are_fetched_from_nowhere(kind: str) -> None:
    async with remote() as (gateway, host):
        part = {"type": kind, kind: {"url": host.at("/a")}}
        message, _ = refusal(await gateway.post("chat", body("chat", part)))
        assert message.startswith("Remote media is off: ")
        assert not host.asked
