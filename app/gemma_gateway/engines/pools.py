"""Several models, each with an engine of its own: a pool of servers, or the one in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

from gemma_gateway.core.engine import (
    Engine,
    EngineFailed,
    EngineReply,
    EngineRequest,
    EngineState,
    Watcher,
)
from gemma_gateway.settings import Model, Settings

RETIRING_SECONDS = 5.0  # that calls which chose an engine have at least to reach it
TICK = 0.5  # seconds between looks at an engine that is about to stop
# What a pool is made of: entries that agree in these may differ in all else and keep their engine.
POOL = (
    *("name", "adapters", "upstreams", "model", "parser", "api_key", "credentials"),
    *("connect_timeout", "first_token_timeout", "idle_timeout", "request_timeout"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A model's engine.

    Args:
        model: as the settings have it.
        shape: what the engine was made of; equal ones need no new engine.
        engine: started.
    """

    model: Model
    shape: tuple[object, ...]
    engine: Engine


class Pools:
    """An ``Engine`` made of several: each call goes to that of its model.

    Args:
        models: of the settings.
        make: an engine for one of them, not started; raises ValueError or OSError where it can't
            be made.
    """

    def __init__(self, models: Sequence[Model], make: Callable[[Model], Engine]) -> None:
        self._make = make
        self._entries: tuple[Entry, ...] = ()
        self._by_name: dict[str, Engine] = {}
        self._leaving: dict[str, Engine] = {}
        self._tasks: dict[asyncio.Task[None], Engine] = {}  # those that see an engine off
        self._was: set[str] = set()  # names of models that were served until a reload
        self._tokens: tuple[tuple[frozenset[str], ...], frozenset[str]] = ((), frozenset())
        self._figures = _Figures()
        self._apply(tuple(Entry(m, _shape(m), make(m)) for m in models))

    def _apply(self, entries: tuple[Entry, ...]) -> None:
        self._entries = entries
        self._by_name = {name: e.engine for e in entries for name in e.model.names}
        self._figures.follow([entry.engine for entry in entries])

    # ---- life

    async def start(self) -> None:
        """Start all; see ``Engine``."""
        await asyncio.gather(*(entry.engine.start() for entry in self._entries))

    async def wait_ready(self, timeout: float) -> None:
        """Wait until the first of them takes calls.

        Raises:
            EngineFailed: none did within ``timeout`` seconds.
        """
        waiting = {asyncio.create_task(entry.engine.wait_ready(timeout)) for entry in self._entries}
        detail: list[str] = []
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if (error := task.exception()) is None:
                        return
                    if not isinstance(error, EngineFailed):
                        raise error
                    detail.append(error.detail)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        raise EngineFailed("unavailable", "; ".join(detail))

    async def stop(self) -> None:
        """Stop all, those that were about to be stopped, too."""
        leaving = dict(self._tasks)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        engines = [*(entry.engine for entry in self._entries), *leaving.values()]
        await asyncio.gather(*(engine.stop() for engine in engines))

    # ---- other settings

    async def prepare(self, settings: Settings) -> Callable[[], None]:
        """See ``Reloadable``: engines of new and changed models are started, the others stay.

        Raises:
            ValueError: a model in this process is to come, go or change, or the key of another
                can't be read.
        """
        before = {entry.shape: entry.engine for entry in self._entries}
        entries, fresh = [], []
        try:
            for model in settings.engine.models:
                shape = _shape(model)
                engine = before.get(shape)
                if engine is None:
                    if not model.upstreams:
                        raise ValueError(f"{model.name}: a model in this process needs a restart")
                    engine = self._make(model)
                    fresh.append(engine)
                entries.append(Entry(model, shape, engine))
            if not entries:
                raise ValueError("to do without models needs a restart")
            kept = {id(entry.engine) for entry in entries}
            old = [entry for entry in self._entries if id(entry.engine) not in kept]
            if gone := [entry.model.name for entry in old if not entry.model.upstreams]:
                raise ValueError(f"{', '.join(gone)}: a model in this process needs a restart")
            await asyncio.gather(*(engine.start() for engine in fresh))
        except BaseException:
            await asyncio.gather(*(engine.stop() for engine in fresh))
            raise

        def apply() -> None:
            self._apply(tuple(entries))
            for entry in old:
                self._retire(entry)

        return apply

    def _retire(self, entry: Entry) -> None:
        """Stop an engine once nobody needs it. Calls that chose its model before may be just about
        to come, and those that it has go on."""
        self._was.update(entry.model.names)
        self._leaving.update(dict.fromkeys(entry.model.names, entry.engine))
        task = asyncio.create_task(self._see_off(entry))
        self._tasks[task] = entry.engine
        task.add_done_callback(self._tasks.pop)

    async def _see_off(self, entry: Entry) -> None:
        await asyncio.sleep(RETIRING_SECONDS)
        for name in entry.model.names:
            if self._leaving.get(name) is entry.engine:
                del self._leaving[name]
        while _busy(entry.engine):  # noqa: ASYNC110 - engines offer no event
            await asyncio.sleep(TICK)
        await entry.engine.stop()

    # ---- calls

    async def send(self, request: EngineRequest) -> EngineReply:
        """See ``Engine``."""
        engine = self._by_name.get(request.model) or self._leaving.get(request.model)
        if engine is None:
            raise EngineFailed("unavailable", "the model is no longer listed")
        return await engine.send(request)

    # ---- what is known

    def state(self) -> EngineState:
        """Ready when any of them is."""
        states = [(entry.model.name, entry.engine.state()) for entry in self._entries]
        return EngineState(
            "upstream" if any(state.kind == "upstream" for _, state in states) else "local",
            any(state.ready for _, state in states),
            self.models(),
            "; ".join(f"{name}: {state.detail}" for name, state in states if state.detail),
            any(state.multimodal for _, state in states),
            tuple(chain.from_iterable(state.servers for _, state in states)),
            any(state.starting for _, state in states),
        )

    def memory(self) -> tuple[int, int] | None:
        """Of the one in this process; see ``Engine``."""
        for entry in self._entries:
            if (found := entry.engine.memory()) is not None:
                return found
        return None

    def watch(self, metrics: Watcher) -> None:
        """See ``Engine``: one figure for all of them, and for each server one."""
        self._figures.show(metrics)

    def models(self) -> tuple[str, ...]:
        """The listed names, adapters among them, whether or not their servers are well."""
        return tuple(self._by_name)

    def serves(self, model: str) -> bool:
        """Whether it is listed."""
        return model in self._by_name

    def known(self, model: str) -> bool:
        """Whether it is listed, or was until a reload."""
        return model in self._by_name or model in self._was

    def max_model_len(self, model: str) -> int | None:
        """As its engine tells it."""
        engine = self._by_name.get(model)
        return None if engine is None else engine.max_model_len(model)

    def modalities(self, model: str) -> frozenset[str] | None:
        """As the settings say, or else its engine tells it."""
        for entry in self._entries:
            if model in entry.model.names:
                told = entry.model.modalities
                return frozenset(told) if told else entry.engine.modalities(model)
        return None

    def control_tokens(self) -> frozenset[str]:
        """Of all of them together."""
        each = tuple(entry.engine.control_tokens() for entry in self._entries)
        if each != self._tokens[0]:
            self._tokens = each, frozenset().union(*each)
        return self._tokens[1]


class _Figures:
    """What the engines of now would show, added up: they come and go, a metric stays."""

    def __init__(self) -> None:
        self._one: dict[str, tuple[str, list[Callable[[], float]]]] = {}
        self._each: dict[str, tuple[str, str, list[Callable[[], Mapping[str, float]]]]] = {}

    def follow(self, engines: Sequence[Engine]) -> None:
        """These are the engines from now on."""
        for _, reads in self._one.values():
            reads.clear()
        for _, _, readers in self._each.values():
            readers.clear()
        for engine in engines:
            engine.watch(self)

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """See ``Watcher``."""
        self._one.setdefault(name, (text, []))[1].append(read)

    def watch_each(
        self, name: str, text: str, label: str, read: Callable[[], Mapping[str, float]]
    ) -> None:
        """See ``Watcher``."""
        self._each.setdefault(name, (text, label, []))[2].append(read)

    def show(self, metrics: Watcher) -> None:
        """Have all of them shown."""
        for name, (text, reads) in self._one.items():
            metrics.watch(name, text, partial(_sum, name, reads))
        for name, (text, label, readers) in self._each.items():
            metrics.watch_each(name, text, label, partial(_merged, name, readers))


def _sum(name: str, reads: Sequence[Callable[[], float]]) -> float:
    return _together(name)([read() for read in reads])


def _together(name: str) -> Callable[[list[float]], float]:
    """How figures of one name become one: what is counted or held adds up; one that works is
    enough where a figure says whether something works."""
    return max if name.endswith(("_ready", "_available")) else sum


def _merged(name: str, readers: Sequence[Callable[[], Mapping[str, float]]]) -> dict[str, float]:
    """By label; a server that stands behind two models is one."""
    found: dict[str, list[float]] = {}
    for read in readers:
        for label, value in read().items():
            found.setdefault(label, []).append(value)
    put = _together(name)
    return {label: put(values) for label, values in found.items()}


def _busy(engine: Engine) -> bool:
    return any(server.outstanding for server in engine.state().servers)


def _shape(model: Model) -> tuple[object, ...]:
    """What an engine for it is made of: its settings, and the key as its file has it now."""
    return (*(getattr(model, name) for name in POOL), model.key())
