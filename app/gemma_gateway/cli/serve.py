"""Running the gateway as a process: the server, its signals, and the first words to the user."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import uvicorn

from gemma_gateway.api.app import GatewayApp
from gemma_gateway.api.cors import Cors
from gemma_gateway.api.http import BoundedHttp
from gemma_gateway.cli import greeting, listen
from gemma_gateway.cli.doctor import machine
from gemma_gateway.core import openfiles
from gemma_gateway.core.engine import EngineFailed
from gemma_gateway.engines.local.weights import ModelUnavailable
from gemma_gateway.main import Parts, assemble, build
from gemma_gateway.settings import Settings, config
from gemma_gateway.settings.source import Source
from gemma_gateway.telemetry import log
from gemma_gateway.telemetry.engine_output import EngineOutput

ENGINE_LOG = "engine.log"  # in the data folder, where a person watches the start
FAREWELL_SECONDS = 1.0  # that clients get to read how their calls ended
LAST_RESORT_SECONDS = 2  # after that uvicorn cuts what nothing else could end
YOUNG_OBJECTS = 10_000  # as many new ones before the garbage collector looks at them: 1 to 2 MB


class Server(uvicorn.Server):
    """uvicorn, with an orderly end.

    The first signal lets calls finish for a while; then, or at a second signal, those that are left
    are ended by the gateway, each told so in its own dialect. uvicorn alone would cut them, and
    raise the signal again, so that an orderly SIGTERM looks like a death by signal.

    Args:
        app: the application, as ``settings`` has it.
    """

    def __init__(self, settings: uvicorn.Config, parts: Parts, app: GatewayApp | Cors) -> None:
        super().__init__(settings)
        self._parts = parts
        self._app = app
        self._signalled = False

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def leave(self) -> None:
        """As at SIGTERM."""
        self._stop(signal.SIGTERM)

    def _stop(self, number: int) -> None:
        """First the grace for load balancers, if there is one, and the drain; at the second signal
        the end."""
        grace = self._parts.settings.server.drain_grace_seconds
        if self._signalled:
            self._end()
        elif number == signal.SIGTERM and grace:
            self._parts.leave()
            BoundedHttp.leaving = True
            log.logger.info("not ready; new calls are accepted for another %g s", grace)
            asyncio.get_running_loop().call_later(grace, self._drain)
        else:
            self._drain()
        self._signalled = True

    def _drain(self) -> None:
        """Take no new calls; those in flight may take ``drain_seconds``."""
        if not self.should_exit:
            calls = self._parts.drain()
            log.logger.info("stopping; %d calls in flight may finish", calls)
            seconds = self._parts.settings.server.drain_seconds
            asyncio.get_running_loop().call_later(seconds, self._end)
            self.should_exit = True

    def _end(self) -> None:
        """End the calls that are left, while their clients can still be told."""
        calls = self._parts.drain()
        self.should_exit = True
        if calls:
            log.logger.info("ending %d calls in flight", calls)
        self._app.stop()
        asyncio.get_running_loop().call_later(FAREWELL_SECONDS, self._hang_up)

    def _hang_up(self) -> None:
        """Close what is still open: a client that doesn't read its farewell holds nobody up."""
        self._app.stop()  # what came in the last moment
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def serve(source: Source) -> int:
    """Run until a signal.

    Args:
        source: of the settings; a SIGHUP has them read again.

    Returns:
        Exit status: 0 after an orderly end, 1 when the engine or a part can't start.
    """
    settings = source.first.settings
    _at_hangup(lambda: None, sys.exit)
    output = EngineOutput(settings.server.data_dir / ENGINE_LOG)
    with output if settings.engine.in_process is not None else nullcontext():
        log.configure(settings.telemetry.log_level, output.libraries)
        for name in config.unknown_variables():
            log.logger.warning("%s", config.unknown(name))
        for line in config.given_way(source.file):
            log.logger.info("%s", line)
        _open_files(settings.limits.max_in_flight)
        try:
            parts = assemble(settings, source)
            server = _server(settings, parts)
            with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
                greet = _greet(server, parts, output, source.file)
                return runner.run(_run(server, parts, greet))
        except (OSError, ValueError, RuntimeError, ModelUnavailable) as error:
            print(f"gemma-gateway: {error}", file=sys.stderr)
            return 1


def _at_hangup(react: Callable[[], object], leave: Callable[[], object]) -> None:
    """From now on a SIGHUP does this, and doesn't end the process. (Not by the loop, which would
    let it do so again once it is closed; not SIG_IGN, which children would inherit.)

    Args:
        react: to a signal that somebody sent.
        leave: where it says that the terminal was closed; once, however often it comes.
    """
    attached = _at_terminal()

    def handle(number: int, frame: object) -> None:
        nonlocal attached
        before, attached = attached, False  # another one may come while this runs
        if before and not _at_terminal():
            leave()
        else:
            attached = before
            react()

    signal.signal(signal.SIGHUP, handle)


def _at_terminal() -> bool:
    """Whether this process has a terminal that is still there."""
    return any(map(os.isatty, range(3)))


def _sockets(settings: Settings) -> list[socket.socket]:
    """Where the gateway listens.

    Raises:
        OSError: it can't; the text says who is there, and what to do.
    """
    try:
        return listen.sockets(settings.server.hosts, settings.server.port)
    except OSError:
        found = machine.port(settings)
        raise OSError(f"{found.message}: {found.advice}") from None


def _open_files(max_in_flight: int) -> None:
    allowed, needed = openfiles.raise_limit(), openfiles.needed(max_in_flight)
    if allowed < needed:
        log.logger.warning(
            "%d open files are allowed; %d calls in flight need about %d: raise the limit "
            "(ulimit -n; systemd: LimitNOFILE), or lower GATEWAY_MAX_IN_FLIGHT",
            allowed,
            max_in_flight,
            needed,
        )


def _server(settings: Settings, parts: Parts) -> Server:
    app = build(parts)
    BoundedHttp.errors = app.errors
    BoundedHttp.cors = app if isinstance(app, Cors) else None
    drain = math.ceil(settings.server.drain_seconds + FAREWELL_SECONDS)
    return Server(
        uvicorn.Config(
            app,
            interface="asgi3",
            lifespan="off",  # the parts live longer than the server: see _run
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # gemma_gateway.api.peer believes fewer of them
            timeout_graceful_shutdown=drain + LAST_RESORT_SECONDS,
            timeout_keep_alive=settings.server.keep_alive_seconds,
            loop="auto",  # uvloop where there is one
            http=BoundedHttp,
            ws="none",  # or what else is installed decides whether WebSockets are spoken
        ),
        parts,
        app,
    )


async def _run(server: Server, parts: Parts, greet: Coroutine[Any, Any, None] | None = None) -> int:
    sockets = _sockets(parts.settings)  # before an engine is loaded
    async with parts.running():
        keep_for_good()
        loop = asyncio.get_running_loop()
        _at_hangup(
            lambda: loop.call_soon_threadsafe(parts.reload.now),
            lambda: loop.call_soon_threadsafe(server.leave),
        )
        greeter = asyncio.create_task(greet or asyncio.sleep(0))
        try:
            await server.serve(sockets)
        finally:
            _at_hangup(lambda: None, lambda: None)
            greeter.cancel()
            await asyncio.wait([greeter])
    return 0 if server.started and not parts.failed else 1


def keep_for_good() -> None:
    """Tell the garbage collector that what was built until now will stay.

    It would walk through all of it time and again, some 40 ms in one piece, in which nobody is
    served. Calls leave no cycles, so it needn't look each time that some dozens begin at once.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])


async def _greet(server: Server, parts: Parts, output: EngineOutput, file: Path | None) -> None:
    """Say how to use the gateway once it answers, or why it never will."""
    while not server.started:  # noqa: ASYNC110 - uvicorn offers no event
        await asyncio.sleep(0.05)
    engine, kept = parts.engine, output.file if output.libraries else None
    try:
        await greeting.ready(engine, parts.settings)
    except EngineFailed as failed:
        more = f" (all that vLLM said: {kept})" if kept else ""
        print(f"gemma-gateway: {failed.detail}{more}", file=sys.stderr, flush=True)
        parts.failed = True
        server.should_exit = True
        return
    models = engine.models()
    told = greeting.summary(
        parts.settings,
        models,
        context=engine.max_model_len(models[0]) if models else None,
        modalities=engine.modalities(models[0]) if models else None,
        key_file=parts.key_file,
        file=file,
        engine_log=kept,
    )
    print(told, flush=True)
