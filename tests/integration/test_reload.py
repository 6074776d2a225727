"""Three gateways on one configuration that changes under load, in every way that files change."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.calls import ask, ending, events, metrics, post, streamed, whole
from tests.loopback import Loopback
from tests.process import AUTH, Gateway
from tests.waiting import until

TEXT = "one two three four five six seven eight nine ten"
SMALL, LARGE = "gemma-small", "gemma-large"
KEY = "key-of-a-server-0123456789"


class Fleet:
    """Gateways on one file.

    Attributes:
        outcomes: of the calls of ``load``: ``ok``, or what was wrong.
    """

    def __init__(self, file: Path, gateways: list[Gateway]) -> None:
        self.file = file
        self.gateways = gateways
        self.outcomes: Counter[str] = Counter()

    async def figures(self, name: str) -> list[str]:
        """A metric of each gateway, with its labels."""
        texts = await asyncio.gather(*map(metrics, self.gateways))
        return [match for text in texts for match in re.findall(rf"^{name}\S* \S+$", text, re.M)]

    async def reloads(self, outcome: str, times: int) -> None:
        """Wait until each has reloaded so often, and let calls pass on what runs then."""
        name = "gateway_config_reloads_total"
        wanted = [f'{name}{{outcome="{outcome}"}} {times}.0'] * len(self.gateways)

        async def reached() -> bool:
            found = [line for line in await self.figures(name) if outcome in line]
            return found == wanted

        await until(reached, f"{times} reloads with {outcome}")
        done = self.outcomes.total()
        await until(lambda: self.outcomes.total() > done + 30, "calls went on")

    async def models(self) -> str:
        """The hash of the models, which is the same in all."""
        (found,) = {*await self.figures("gateway_config_models_info")}
        return found

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Calls without a pause, whole and streamed ones, at each gateway."""
        stopped = asyncio.Event()
        workers = [
            asyncio.create_task(self._call(gateway, stream, stopped))
            for gateway in self.gateways
            for stream in (False, True, True)
        ]
        try:
            yield
        finally:
            stopped.set()
            await asyncio.gather(*workers)

    async def _call(self, gateway: Gateway, stream: bool, stopped: asyncio.Event) -> None:
        script = {"delay": 0.02}
        body = ask("chat", f"echo: {TEXT}", model=SMALL, stream=stream, loopback=script)
        while not stopped.is_set():
            try:
                status, raw, _ = await post(gateway, "chat", body)
                self.outcomes[judged(status, raw, stream)] += 1
            except aiohttp.ClientError as error:
                self.outcomes[repr(error)] += 1


def judged(status: int, raw: bytes, stream: bool) -> str:
    """``ok``: the whole answer came, and its end."""
    if status != 200:
        return f"{status} {raw.decode()}"
    if not stream:
        return "ok" if whole("chat", json.loads(raw)) == TEXT else f"not whole: {raw!r}"
    found = events(raw)
    well = streamed("chat", found) == TEXT and ending("chat", found) == ("stop", True)
    return "ok" if well else f"not whole: {raw!r}"


def models(*entries: dict[str, Any]) -> str:
    """A file; JSON is YAML."""
    return json.dumps({"models": entries}) + "\n"


def renamed(file: Path, text: str) -> None:
    new = file.with_name(".new")
    new.write_text(text)
    new.replace(file)


def linked(link: Path, target: str) -> None:
    new = link.with_name(".link")
    new.symlink_to(target)
    new.replace(link)


@pytest.fixture
async def servers() -> AsyncIterator[tuple[Loopback, Loopback, Loopback]]:
    """Two with a small model, and one with the large one, which wants a key."""
    async with (
        Loopback(models=(SMALL,)) as first,
        Loopback(models=(SMALL,)) as second,
        Loopback(models=(LARGE,), api_key=KEY) as third,
    ):
        yield first, second, third


@pytest.fixture
async def fleet(
    tmp_path: Path, servers: tuple[Loopback, Loopback, Loopback]
) -> AsyncIterator[Fleet]:
    """Three gateways with the small model of the first server, which answers meanwhile."""
    file = tmp_path / "etc" / "gateway.yaml"
    file.parent.mkdir()
    file.write_text(models({"name": SMALL, "upstreams": servers[0].url}))
    environ = {"GATEWAY_CONFIG": str(file)}
    stack = ExitStack()
    try:
        gateways = [Gateway(tmp_path / f"data-{n}", environ=environ) for n in range(3)]
        for gateway in gateways:
            await asyncio.to_thread(stack.enter_context, gateway)
        yield Fleet(file, gateways)
    finally:
        await asyncio.to_thread(stack.close)


async def served(gateway: Gateway) -> list[str]:
    async with (
        aiohttp.ClientSession(headers=AUTH) as session,
        session.get(gateway.url + "/v1/models") as reply,
    ):
        return [card["id"] for card in (await reply.json())["data"]]


async def test_changes_under_load(
    fleet: Fleet, servers: tuple[Loopback, Loopback, Loopback], tmp_path: Path
) -> None:
    first, second, third = servers
    file, key = fleet.file, tmp_path / "key"
    key.write_text("not the right one")
    small = {"name": SMALL, "upstreams": second.url}
    large = {"name": LARGE, "upstreams": third.url, "api_key_file": str(key)}

    async def answers() -> set[int]:
        """Of the large model, at each gateway."""
        calls = [post(g, "chat", ask("chat", "Hello", model=LARGE)) for g in fleet.gateways]
        return {status for status, _, _ in await asyncio.gather(*calls)}

    async with fleet.load():
        # A file renamed over it: another server for the model that is being called.
        before = await fleet.models()
        await until(lambda: first.state.running, "streams are under way")
        renamed(file, models(small))
        await fleet.reloads("success", 1)
        assert (after := await fleet.models()) != before
        moved = first.state.calls
        await until(lambda: not first.state.running, "its last calls have ended")
        assert (first.state.calls, first.state.aborted) == (moved, 0)

        # A broken one: it changes nothing, and says so once.
        renamed(file, models(small, {**large, "fallbacks": ["gemma-none"]}))
        await fleet.reloads("failure", 1)
        assert await fleet.models() == after
        why = f"configuration not reloaded: {file}:1: models.1.fallbacks.0: no model 'gemma-none'"
        for gateway in fleet.gateways:
            assert gateway.text().count(why) == 1
            assert await served(gateway) == [SMALL]
        name = "gateway_config_last_reload_successful"
        assert await fleet.figures(name) == [f"{name} 0.0"] * 3

        # As Kubernetes changes a ConfigMap: the folder is a link, and another takes its place.
        for n, entries in enumerate([(small,), (small, large)]):
            (file.parent / f"..{n}").mkdir()
            (file.parent / f"..{n}" / file.name).write_text(models(*entries))
        linked(file.parent / "..data", "..0")
        linked(file, f"..data/{file.name}")
        await fleet.reloads("unchanged", 1)
        assert await fleet.figures(name) == [f"{name} 1.0"] * 3
        linked(file.parent / "..data", "..1")
        await fleet.reloads("success", 2)
        assert await fleet.models() != after
        for gateway in fleet.gateways:
            assert await served(gateway) == [SMALL, LARGE]
        assert 200 not in await answers()

        # A rotated key.
        renamed(key, KEY)
        await fleet.reloads("success", 3)
        assert await answers() == {200}

        # A signal, with a change and without one.
        for gateway in fleet.gateways:
            os.kill(gateway.pid, signal.SIGHUP)
        await fleet.reloads("unchanged", 2)
        (file.parent / "..1" / file.name).write_text(models({**small, "upstreams": first.url}))
        for gateway in fleet.gateways:
            os.kill(gateway.pid, signal.SIGHUP)
        await fleet.reloads("success", 4)
        assert await fleet.models() == before
        assert await answers() == {404}
    assert set(fleet.outcomes) == {"ok"}, fleet.outcomes
    assert first.state.aborted == second.state.aborted == 0
    for gateway in fleet.gateways:
        assert gateway.text().startswith("Waiting for an upstream ...")
        assert KEY not in gateway.text()
        assert await asyncio.to_thread(gateway.stop) == 0


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = re.findall(r"^SigCgt:\t(\w+)$", status, re.M)
    return bool(int(caught, 16) >> (number - 1) & 1)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_a_hangup_never_ends_it(tmp_path: Path) -> None:
    """Neither while it starts nor while it serves."""
    async with Loopback(models=(SMALL,)) as server:
        gateway = Gateway(tmp_path, upstreams=server.url)
        ended, sent = asyncio.Event(), set[bool]()

        async def hang_up() -> None:
            while not ended.is_set():
                if gateway.child is not None and catches(gateway.pid, signal.SIGHUP):
                    os.kill(gateway.pid, signal.SIGHUP)
                    sent.add("Waiting" in gateway.text())
                await asyncio.sleep(0.01)

        signals = asyncio.create_task(hang_up())
        await asyncio.to_thread(gateway.__enter__)
        body = ask("chat", f"echo: {TEXT}", model=SMALL, stream=True, loopback={"delay": 0.05})
        status, raw, _ = await post(gateway, "chat", body)
        assert judged(status, raw, True) == "ok"
        ended.set()
        await signals
        assert sent == {False, True}
        assert await asyncio.to_thread(gateway.stop) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_a_closed_terminal_ends_it(tmp_path: Path) -> None:
    """As it ends whatever was started there; calls in flight are finished, as at SIGTERM."""
    async with Loopback(models=(SMALL,)) as server:
        terminal = Gateway(tmp_path, upstreams=server.url)
        script = "import pty, sys; pty.spawn([sys.executable, *sys.argv[1:]])"
        terminal._command = ["-c", script, *terminal._command]
        await asyncio.to_thread(terminal.__enter__)
        (inside,) = Path(f"/proc/{terminal.pid}/task/{terminal.pid}/children").read_text().split()
        body = ask("chat", f"echo: {TEXT}", model=SMALL, stream=True, loopback={"delay": 0.05})
        call = asyncio.create_task(post(terminal, "chat", body))
        await until(lambda: server.state.running == 1, "the call is with the engine")
        terminal.kill()
        status, raw, _ = await call
        assert judged(status, raw, True) == "ok"
        await until(lambda: not Path(f"/proc/{inside}").exists(), "it has ended")
