"""The configuration of a running gateway: what is taken up, when, and what the log says."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from gemma_gateway import main
from gemma_gateway.admin.reload import Reload
from gemma_gateway.cli import configuration
from gemma_gateway.core.reload import Reloadable
from gemma_gateway.engines.scripted import ScriptedEngine
from gemma_gateway.main import Parts
from gemma_gateway.presets.library import Library
from gemma_gateway.settings import Settings
from gemma_gateway.settings.source import Source
from tests.waiting import PATIENCE, until

SERVER = "http://127.0.0.1:9/v1"
SECRET = "secret-of-a-server-0123456789"


def yaml(*names: str, more: str = "") -> str:
    """A file with these models."""
    return more + "models:\n" + "".join(f"- {{name: {n}, upstreams: {SERVER}}}\n" for n in names)


class Catalogue:
    """Goes over to whatever it is given; ``why`` says why it can't."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.free.set()
        self.why: Exception | None = None
        self.prepared: list[Settings] = []
        self.running: list[Settings] = []

    @property
    def names(self) -> list[list[str]]:
        """Of the models of each change."""
        return [[model.name for model in settings.models] for settings in self.running]

    async def prepare(self, settings: Settings) -> Callable[[], None]:
        self.prepared.append(settings)
        await self.free.wait()
        if self.why is not None:
            raise self.why
        return lambda: self.running.append(settings)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)
    caplog.set_level(logging.INFO, "gateway")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gateway.yaml"


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue()


@asynccontextmanager
async def watching(
    file: Path, *reloadables: Reloadable, pause: float = 0.005, patience: float = PATIENCE
) -> AsyncIterator[Reload]:
    """A running Reload of a file; a long pause leaves only what is asked for."""
    source = Source(partial(configuration.load, file), file)
    reload = Reload(source, reloadables, pause=pause, patience=patience)
    await reload.start()
    try:
        yield reload
    finally:
        await reload.stop()


async def ended(reload: Reload, outcome: str, times: int = 1) -> None:
    await until(lambda: reload.outcomes[outcome] == times, f"{times} times {outcome}")


def said(caplog: pytest.LogCaptureFixture, level: str) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelname == level]


def renamed(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


# ---- what is taken up


async def test_a_changed_file(
    file: Path, catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(yaml("a", "b", "c"))
    async with watching(file, catalogue) as reload:
        before = reload.models_digest
        changed = yaml("a", "d") + f"- {{name: c, aliases: [large], upstreams: {SERVER}}}\n"
        renamed(file, changed)
        await ended(reload, "success")
        assert catalogue.names == [["a", "d", "c"]]
        assert said(caplog, "INFO") == ["models reloaded: added d; removed b; changed c"]
        assert reload.models_digest != before
        file.write_text(yaml("a", "b", "c"))  # over the same file
        await ended(reload, "success", 2)
        assert reload.models_digest == before
        assert reload.outcomes == {"success": 2, "unchanged": 0, "failure": 0}


async def test_a_symbolic_link_that_is_swapped(tmp_path: Path, catalogue: Catalogue) -> None:
    """As Kubernetes mounts a ConfigMap."""
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "gateway.yaml").write_text(yaml(f"model-{name}"))
        os.utime(tmp_path / name / "gateway.yaml", (0, 0))
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "gateway.yaml").symlink_to("..data/gateway.yaml")
    async with watching(tmp_path / "gateway.yaml", catalogue) as reload:
        (tmp_path / "..data_tmp").symlink_to("2")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        await ended(reload, "success")
        assert catalogue.names == [["model-2"]]


async def test_a_rotated_key(
    file: Path, tmp_path: Path, catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    key = tmp_path / "key"
    key.write_text("first")
    file.write_text(f"models: [{{name: a, upstreams: {SERVER}, api_key_file: {key}}}]\n")
    async with watching(file, catalogue) as reload:
        digest = reload.models_digest
        renamed(key, SECRET)
        await ended(reload, "success")
        assert said(caplog, "INFO") == ["models reloaded: changed a"]
        assert reload.models_digest == digest  # anybody may see it
        key.unlink()
        await ended(reload, "failure")
        (line,) = said(caplog, "ERROR")
        assert line.startswith(f"configuration not reloaded: {file}:1: models.0.api_key_file: ")
        assert SECRET not in caplog.text
        key.write_text("third")
        await ended(reload, "success", 2)


async def test_another_order(
    file: Path, catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(yaml("a", "b"))
    async with watching(file, catalogue) as reload:
        renamed(file, yaml("b", "a"))
        await ended(reload, "success")
        assert said(caplog, "INFO") == ["models reloaded: in another order"]


async def test_the_environment_still_wins(
    file: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_CONNECT_TIMEOUT", "7")
    file.write_text(yaml("a", more="connect_timeout: 1\n"))
    async with watching(file, catalogue) as reload:
        renamed(file, yaml("b", more="connect_timeout: 2\n"))
        await ended(reload, "success")
        assert catalogue.running[0].engine.connect_timeout == 7


async def test_it_is_all_or_nobody(file: Path) -> None:
    first, second = Catalogue(), Catalogue()
    file.write_text(yaml("a"))
    async with watching(file, first, second) as reload:
        second.free.clear()
        renamed(file, yaml("b"))
        await until(lambda: second.prepared, "it reached the second")
        assert not first.running
        second.why = ValueError("no room")
        second.free.set()
        await ended(reload, "failure")
        assert (first.running, second.running) == ([], [])
        second.why = None
        reload.now()
        await ended(reload, "success")
        assert first.names == second.names == [["b"]]


def presets(name: str) -> str:
    return f"prompts: [{{id: {name}, messages: [{{role: user, content: a}}]}}]\n"


async def test_changed_prompt_presets(
    file: Path, tmp_path: Path, catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "a.yaml").write_text(presets("a"))
    file.write_text(f"prompts_file: {folder}\n")
    library = Library.load(folder)

    def ids() -> set[str]:
        return {shelf.default.id for shelf in library.shelves()} & {"a", "b", "c"}

    async with watching(file, catalogue, library) as reload:
        (folder / "b.yaml").write_text(presets("b"))
        await ended(reload, "success")
        assert ids() == {"a", "b"}
        (folder / "a.yaml").unlink()
        await ended(reload, "success", 2)
        assert ids() == {"b"}
        assert said(caplog, "INFO") == ["prompt presets reloaded"] * 2
        (folder / "b.yaml").write_text(presets("B"))
        await ended(reload, "failure")
        assert ids() == {"b"}
        (line,) = said(caplog, "ERROR")
        assert line.startswith(f"configuration not reloaded: {folder / 'b.yaml'}:1: prompts.0.id: ")
        (folder / "b.yaml").write_text(presets("b"))
        await ended(reload, "unchanged")
        other = tmp_path / "other.yaml"
        other.write_text(presets("c"))
        renamed(file, f"prompts_file: {other}\n")
        await ended(reload, "success", 3)
        assert ids() == {"c"}
        renamed(file, "{}\n")
        await ended(reload, "success", 4)
        assert ids() == set()
        assert said(caplog, "WARNING") == []


async def test_models_and_presets_together(
    file: Path, tmp_path: Path, catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    own = tmp_path / "prompts.yaml"
    own.write_text(presets("a"))
    key = tmp_path / "key"
    key.write_text(SECRET)
    more = f"prompts_file: {own}\n"
    with_key = f"- {{name: k, upstreams: {SERVER}, api_key_file: {key}}}\n"
    file.write_text(yaml("a", more=more) + with_key)
    library = Library.load(own)
    async with watching(file, catalogue, library, pause=3600) as reload:
        file.write_text(yaml("b", more=more) + with_key)
        own.write_text(presets("b"))
        reload.now()
        await ended(reload, "success")
        assert catalogue.names == [["b", "k"]]
        assert library.shelf("b").default.origin == "operator"
        assert said(caplog, "INFO") == [
            "models reloaded: added b; removed a",
            "prompt presets reloaded",
        ]
        file.write_text(more)  # to do without models needs a restart
        own.write_text(presets("c"))
        reload.now()
        await ended(reload, "success", 2)
        assert library.shelf("c").default.origin == "operator"
        assert catalogue.names[-1] == ["b", "k"]
        assert said(caplog, "WARNING") == ["changed, needs a restart: models"]
        file.write_text(yaml("d", more=more))
        reload.now()
        await ended(reload, "success", 3)
        assert catalogue.names[-1] == ["d"]


# ---- what isn't


BROKEN = {
    "no YAML": ("models: [\n", ":2: "),
    "a wrong field": (yaml("a") + "- {name: b, upstream: x}\n", ":3: models.1.upstream: "),
    "no model": (
        f"models: [{{name: a, fallbacks: [b], upstreams: {SERVER}}}]\n",
        ":1: models.0.fallbacks.0: no model 'b' in models",
    ),
    "no hub name": ("models: [{name: a, model: 'no such thing'}]\n", ":1: models.0.model: "),
    "another part": (yaml("a", more="redis_url: http://h\n"), ":1: redis_url: "),
    "beside what runs": (
        yaml("a", more="request_timeout: 900\n")
        + f"- {{name: b, upstreams: {SERVER}, request_timeout: 800}}\n",
        ":4: models.1.request_timeout: is above GATEWAY_REQUEST_TIMEOUT (600 seconds)",
    ),
}


@pytest.mark.parametrize(("text", "why"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_file_changes_nothing_and_says_so(
    text: str, why: str, file: Path, catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(yaml("z"))
    async with watching(file, catalogue) as reload:
        digest, since = reload.models_digest, reload.succeeded
        renamed(file, text)
        await ended(reload, "failure")
        (line,) = said(caplog, "ERROR")
        assert line.startswith(f"configuration not reloaded: {file}{why}")
        assert (reload.successful, reload.succeeded) == (False, since)
        assert (catalogue.prepared, reload.models_digest) == ([], digest)
        renamed(file, yaml("y"))
        await ended(reload, "success")
        assert reload.outcomes["failure"] == 1  # the same file isn't tried again and again
        assert (reload.successful, reload.succeeded > since) == (True, True)


async def test_every_fault_has_a_line(
    file: Path, catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(yaml("a"))
    async with watching(file, catalogue) as reload:
        renamed(file, yaml("a", "a", more=f"port: x\nupstream_api_key: [{SECRET}]\n"))
        await ended(reload, "failure")
        assert len(said(caplog, "ERROR")) == 2
        assert SECRET not in caplog.text


async def test_a_file_that_has_gone(
    file: Path, catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(yaml("a"))
    async with watching(file, catalogue) as reload:
        file.unlink()
        await ended(reload, "failure")
        why = "No such file or directory"
        assert said(caplog, "ERROR") == [f"configuration not reloaded: {file}: {why}"]
        file.write_text(yaml("a"))
        await ended(reload, "unchanged")
        assert reload.successful


async def test_what_it_takes_up_must_be_ready_in_time(
    file: Path, catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(yaml("a"))
    catalogue.free.clear()
    async with watching(file, catalogue, patience=0.01) as reload:
        renamed(file, yaml("b"))
        await ended(reload, "failure")
        (line,) = said(caplog, "ERROR")
        assert line.endswith(f"{file}:1: models: not ready within 0.01 seconds")
        assert not catalogue.running


async def test_an_error_of_its_own_is_no_end(
    file: Path, catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(yaml("a"))
    async with watching(file, catalogue) as reload:
        catalogue.why = RuntimeError(SECRET)
        renamed(file, yaml("b"))
        await ended(reload, "failure")
        await until(lambda: said(caplog, "ERROR"), "it is logged")
        catalogue.why = None
        renamed(file, yaml("c"))
        await ended(reload, "success")


async def test_other_settings_need_a_restart(
    file: Path, catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(yaml("a"))
    async with watching(file, catalogue) as reload:
        renamed(file, yaml("b", more=f"store: {{redis_prefix: p}}\napi_keys: {SECRET}\n"))
        await ended(reload, "success")
        warning = "changed, needs a restart: api_keys, redis_prefix"
        assert said(caplog, "WARNING") == [warning]
        assert SECRET not in caplog.text
        (running,) = catalogue.running
        assert (running.store.redis_prefix, running.access.api_keys) == ("gemma", ())
        renamed(file, yaml("b", more="redis_prefix: q\n"))
        await ended(reload, "unchanged")
        assert said(caplog, "WARNING")[1:] == ["changed, needs a restart: redis_prefix"]


async def test_models_need_a_restart_where_nobody_goes_over(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(yaml("a"))
    async with watching(file) as reload:
        digest = reload.models_digest
        renamed(file, yaml("b"))
        await ended(reload, "unchanged")
        assert said(caplog, "WARNING") == ["changed, needs a restart: models"]
        assert reload.models_digest == digest


@pytest.mark.parametrize("turned", [False, True])
async def test_models_need_a_restart_where_there_are_none(
    turned: bool, file: Path, catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as a file that is empty for a moment."""
    before, after = [yaml("a"), f"upstreams: {SERVER}\n"][:: -1 if turned else 1]
    file.write_text(before)
    async with watching(file, catalogue) as reload:
        renamed(file, after)
        await ended(reload, "unchanged")
        assert said(caplog, "WARNING") == ["changed, needs a restart: models, upstreams"]
        assert not catalogue.prepared


# ---- when


async def test_asked_for_without_a_change(
    file: Path, catalogue: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(yaml("a"))
    async with watching(file, catalogue, pause=3600) as reload:
        since = reload.succeeded
        reload.now()
        await ended(reload, "unchanged")
        assert said(caplog, "INFO") == ["configuration read again: models unchanged"]
        assert (reload.successful, reload.succeeded > since) == (True, True)
        renamed(file, yaml("b"))
        reload.now()
        await ended(reload, "success")


async def test_asked_for_during_a_reload(file: Path, catalogue: Catalogue) -> None:
    file.write_text(yaml("a"))
    async with watching(file, catalogue, pause=3600) as reload:
        catalogue.free.clear()
        renamed(file, yaml("b"))
        reload.now()
        await until(lambda: catalogue.prepared, "it has begun")
        renamed(file, yaml("c"))
        reload.now()
        reload.now()
        catalogue.free.set()
        await ended(reload, "success", 2)
        assert catalogue.names == [["b"], ["c"]]


async def test_it_stops_in_the_middle(file: Path, catalogue: Catalogue) -> None:
    file.write_text(yaml("a"))
    async with watching(file, catalogue) as reload:
        catalogue.free.clear()
        renamed(file, yaml("b"))
        await until(lambda: catalogue.prepared, "it has begun")
        await reload.stop()
        await reload.stop()
        assert not catalogue.running


async def test_without_a_file(catalogue: Catalogue) -> None:
    source = Source(Settings)
    reload = Reload(source, [catalogue], pause=3600)
    await reload.start()
    reload.now()
    await ended(reload, "unchanged")
    await reload.stop()


# ---- among the parts


async def test_the_parts_have_it(
    file: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "RELOADS", (lambda p: catalogue,))
    file.write_text(yaml("a", more="api_keys: k\nredis_url: redis://127.0.0.1:1\n"))
    source = Source(partial(configuration.load, file), file)
    parts = Parts(source.first.settings, ScriptedEngine(lambda request: NotImplemented), source)
    before = parts.metrics.render().decode()
    assert "gateway_config_last_reload_successful 1.0" in before
    renamed(file, file.read_text().replace("name: a", "name: b"))
    assert parts.reload in main.made(main.PARTS, parts)
    await parts.reload.start()
    parts.reload.now()
    await ended(parts.reload, "success")
    await parts.reload.stop()
    after = parts.metrics.render().decode()
    assert 'gateway_config_reloads_total{outcome="success"} 1.0' in after
    assert f'gateway_config_models_info{{sha256="{parts.reload.models_digest}"}} 1.0' in after
    assert parts.reload.models_digest not in before
