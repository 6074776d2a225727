"""Calls to a pool of OpenAI-compatible servers over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import orjson

from gemma_gateway.core.engine import (
    NONE_TOLD,
    EngineFailed,
    EngineReply,
    EngineRequest,
    EngineState,
    ServerState,
    Watcher,
)
from gemma_gateway.engines.upstream import discovery
from gemma_gateway.engines.upstream.google import GoogleToken
from gemma_gateway.engines.upstream.http1 import Broken, ConnectFailed, Origin
from gemma_gateway.engines.upstream.pool import Pool, Upstream
from gemma_gateway.engines.upstream.reply import NO_CAPACITY, UpstreamReply

MAX_TRIES = 3  # servers that a call is offered to
MAX_GIVEN = 2  # times that it may reach one: a call that kills its server mustn't kill them all
NOT_BEGUN = frozenset({502, 503})  # 504: whoever stands before the server had handed it on
NO_MODEL_LIST = frozenset({404, 405, 501})


class UpstreamEngine:
    """An ``Engine`` over a pool of servers.

    Args:
        urls: base URLs, ending in /v1; routes beside it, such as /tokenize, are looked for at the
            same server's root. ``dns+http://`` stands for all servers of a DNS name, which is
            looked up again every ``health_interval``.
        api_key: sent as Bearer; empty: none.
        credentials: fresh Authorization headers, instead of ``api_key``.
        connect_timeout: seconds, for TCP and TLS.
        idle_timeout: longest silence of a stream before or between bytes, seconds.
        request_timeout: longest whole call, seconds.
        health_interval: seconds between active checks (GET /v1/models) of each server.
        eject_after: failures in a row that eject a server.
        eject_seconds: from ejection to a trial call, seconds.
        models: names of the models of servers that don't list theirs; empty: whatever is asked for.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        api_key: str = "",
        credentials: GoogleToken | None = None,
        connect_timeout: float = 2.0,
        idle_timeout: float = 60.0,
        request_timeout: float = 600.0,
        health_interval: float = 2.0,
        eject_after: int = 3,
        eject_seconds: float = 5.0,
        models: Sequence[str] = (),
    ) -> None:
        fixed, self._names = discovery.split(tuple(urls))
        self.pool = Pool(
            fixed, eject_after=eject_after, eject_seconds=eject_seconds, models=tuple(models)
        )
        self._live: set[UpstreamReply] = set()
        self._headers = {"accept-encoding": "identity"}
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._credentials = credentials
        self._connect_timeout = connect_timeout
        self._origins = {
            u: Origin(u.root, self._headers, connect_timeout) for u in self.pool.upstreams
        }
        self._found: dict[tuple[discovery.Name, str], Upstream] = {}
        self._idle_timeout = idle_timeout
        self._request_timeout = request_timeout
        self._health_interval = health_interval
        self._check_timeout = min(connect_timeout, max(0.5, health_interval))
        self._tasks: set[asyncio.Task[None]] = set()
        self._seen = asyncio.Event()  # an upstream has answered, ever

    # ---- life

    async def start(self) -> None:
        """Check every upstream once and begin to watch them; none needs to be up."""
        if self._credentials:
            await self._credentials.start()
        await asyncio.gather(*(self._check(u, first=True) for u in self.pool.upstreams))
        for upstream in self.pool.upstreams:
            self._spawn(self._watch(upstream))
        await asyncio.gather(*map(self._look_up, self._names))
        for name in self._names:
            self._spawn(self._follow(name))
        self._spawn(self._sweep())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait_ready(self, timeout: float) -> None:
        """Wait until an upstream has answered.

        Args:
            timeout: seconds.

        Raises:
            EngineFailed: ``unavailable``: none did. They are still being watched.
        """
        try:
            await asyncio.wait_for(self._seen.wait(), timeout)
        except TimeoutError:
            raise EngineFailed("unavailable", self.state().detail) from None

    async def stop(self) -> None:
        """Abort what is still in flight and close all connections."""
        if self._credentials:
            await self._credentials.stop()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for reply in tuple(self._live):
            reply.close()
        for origin in self._origins.values():
            origin.close()

    # ---- calls

    async def send(self, request: EngineRequest) -> EngineReply:
        """Hand a call to the best upstream and return once its status is known.

        A call reaches ``MAX_GIVEN`` servers at most: it goes on to another one where the first
        can't have begun it (502, 503), or after one reset before any byte of an answer; where
        there is no other, one that was just closing a kept-alive connection is asked again. Servers
        that refuse the connection never had the call: ``MAX_TRIES`` are tried at most. If there is
        no other, the answer that refused it is returned as it is.

        Raises:
            EngineFailed: ``unavailable`` when no upstream could be reached, ``timeout`` when one
                was silent for ``idle_timeout``.
        """
        pool, tried, given = self.pool, list[Upstream](), 0
        spare: Upstream | None = (
            None  # it was closing the connection, and has most likely seen nothing
        )
        fresh = False
        refused: UpstreamReply | None = None
        detail = "every upstream is ejected, or none serves the model"
        while len(tried) < MAX_TRIES and given < MAX_GIVEN:
            upstream = pool.take(request.model, request.affinity, tried)
            if upstream is None and spare is not None:
                tried.remove(spare)
                spare, upstream = None, pool.take(request.model, request.affinity, tried)
            if upstream is None:
                break
            if refused:
                refused.close()
                refused = None
            tried.append(upstream)
            try:
                reply = await self._attempt(request, upstream, fresh=fresh)
            except ConnectFailed as error:
                detail = f"{upstream.url}: {error}"
                pool.failed(upstream, unreachable=True)
                continue
            except Broken as error:
                given += 1
                detail = f"{upstream.url}: {error}"
                if error.stale:
                    spare, fresh = upstream, True
                else:
                    pool.failed(upstream)
                continue
            if reply.status not in NO_CAPACITY:
                pool.answered(upstream, error=reply.status >= 500)
                if reply.status == 200:
                    pool.learn(upstream, request.model)
                return reply
            pool.failed(upstream)
            if reply.status not in NOT_BEGUN:
                return reply
            given += 1
            refused = reply
        if refused:
            return refused
        raise EngineFailed("unavailable", detail, begun=given > 0)

    async def _attempt(
        self, request: EngineRequest, upstream: Upstream, *, fresh: bool
    ) -> UpstreamReply:
        """One try; the reply holds the upstream until it ends, a failed try no longer does."""
        started = time.monotonic()
        request.tally.server = upstream.name
        headers = {"content-type": "application/json", "x-request-id": request.id}
        headers.update(request.headers)
        if self._credentials:
            headers["authorization"] = self._credentials.header
        # A whole answer is silent until its end; a stream has to say something.
        patience = self._idle_timeout if request.stream else self._request_timeout
        try:
            connection = await self._origins[upstream].request(
                request.method,
                upstream.path(request.path),
                headers,
                request.body,
                asyncio.get_running_loop().time() + patience,
                fresh=fresh,
            )
        except BaseException as error:
            self.pool.release(upstream)
            if isinstance(error, Broken) and error.late:
                self.pool.failed(upstream)
                raise EngineFailed("timeout", f"{upstream.url}: no answer") from None
            raise
        return UpstreamReply(self.pool, self._live, upstream, connection, started)

    # ---- watching

    async def _follow(self, name: discovery.Name) -> None:
        while True:
            await asyncio.sleep(self._health_interval)
            await self._look_up(name)

    async def _look_up(self, name: discovery.Name) -> None:
        """Take new addresses in and let go of those that are no longer there. An empty answer
        changes nothing: rather try the servers known before than none."""
        addresses = await name.addresses()
        if not addresses:
            return
        known = {address for owner, address in self._found if owner is name}
        for address in known - addresses:
            self.pool.remove(self._found.pop((name, address)))
        fresh = []
        for address in sorted(addresses - known):
            upstream = self.pool.add(name.at(address))
            root = name.url.removesuffix("/v1")
            self._origins[upstream] = Origin(root, self._headers, self._connect_timeout, address)
            self._found[name, address] = upstream
            fresh.append(upstream)
        await asyncio.gather(*(self._check(upstream, first=True) for upstream in fresh))
        for upstream in fresh:
            self._spawn(self._watch(upstream))

    async def _watch(self, upstream: Upstream) -> None:
        while not upstream.gone:
            pace = 4 if upstream.check_failures else 1  # a doubt is settled sooner
            await asyncio.sleep(self._health_interval / pace)
            if not upstream.gone:
                await self._check(upstream)

    async def _check(self, upstream: Upstream, *, first: bool = False) -> None:
        """GET /v1/models: the one route that vLLM, Ollama, TGI and the rest all have."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._check_timeout):
                status, body = await self._fetch(upstream, "/v1/models")
        except TimeoutError:
            # A frozen server, unless a call has heard from it meanwhile: then it is only busy.
            if not any(r.since > began and r.comes_from(upstream) for r in self._live):
                self.pool.check_failed(upstream, at_once=first)
            return
        except ConnectionError:
            self.pool.check_failed(upstream, at_once=first)
            return
        if status >= 500 and status not in NO_MODEL_LIST:
            self.pool.check_failed(upstream, at_once=first)
            return
        models = upstream.models  # 401, 429, ...: it lives, whatever it thinks of us
        if status == 200:
            models = _names(body)
        elif status in NO_MODEL_LIST:
            models = None
        self.pool.check_passed(upstream, models)
        self._seen.set()

    async def _fetch(self, upstream: Upstream, path: str) -> tuple[int, bytes]:
        headers = {"authorization": self._credentials.header} if self._credentials else {}
        get = partial(self._origins[upstream].request, "GET", upstream.path(path), headers)
        try:
            connection = await get()
        except Broken as broken:
            if not broken.stale:
                raise
            connection = await get(fresh=True)
        try:
            parts = []
            while data := await connection.read():
                parts.append(data)
        except BaseException:
            connection.abort()
            raise
        return connection.status, b"".join(parts)

    async def _sweep(self) -> None:
        """Close the replies whose time is up: one timer for all of them."""
        tick = min(1.0, self._idle_timeout / 4, self._request_timeout / 4)
        while True:
            await asyncio.sleep(tick)
            now = time.monotonic()
            for upstream, origin in tuple(self._origins.items()):
                if upstream.gone and not upstream.outstanding:
                    origin.close()
                    del self._origins[upstream]
                    continue
                # A whole answer is silent until its end, but a living server answers the checks.
                silent = upstream.silent_since
                origin.prune(frozen=bool(silent) and now - silent > self._idle_timeout)
            for reply in tuple(self._live):
                if reply.waiting and now - reply.since > self._idle_timeout:
                    reply.expire(f"silent for {self._idle_timeout} s", silent=True)
                elif now - reply.started > self._request_timeout:
                    reply.expire(f"longer than {self._request_timeout} s")

    # ---- what is known

    def state(self) -> EngineState:
        """Ready when any upstream gets calls; the active checks keep it fresh."""
        states = self.pool.states()
        up = [s for s in states if not s.ejected]
        detail = f"{len(up)} of {len(states)} upstreams ready"
        for what, which in (
            ("calls fail", [s.url for s in states if s.ejected and s.reachable]),
            ("unreachable", [s.url for s in states if not s.reachable]),
        ):
            detail += f"; {what}: {', '.join(which)}" if which else ""
        ready = any(s.reachable for s in states)
        return EngineState("upstream", ready, self.models(), detail, servers=states)

    def memory(self) -> None:
        """None: servers run elsewhere."""

    def watch(self, metrics: Watcher) -> None:
        """Whether there is a server for calls, and the state of each."""

        def each(name: str, text: str, read: Callable[[ServerState], float]) -> None:
            metrics.watch_each(
                name,
                text,
                "upstream",
                lambda: {state.name: read(state) for state in self.pool.states()},
            )

        metrics.watch(
            "gateway_engine_ready",
            "1 while an engine accepts calls.",
            lambda: any(not state.ejected for state in self.pool.states()),
        )
        each("gateway_upstream_available", "0 while a server is ejected.", lambda s: not s.ejected)
        each(
            "gateway_upstream_requests_in_flight",
            "Calls that a server is answering.",
            lambda s: s.outstanding,
        )
        each(
            "gateway_upstream_ejections_total",
            "Times that a server was ejected.",
            lambda s: s.ejections,
        )
        each(
            "gateway_upstream_tries_total",
            "Calls that a server was given; one that goes on to another server counts at both.",
            lambda s: s.tries,
        )
        each(
            "gateway_upstream_errors_total", "Those of them that failed there.", lambda s: s.errors
        )

    def models(self) -> tuple[str, ...]:
        """Names that the upstreams list; empty while none tells."""
        return self.pool.models()

    def control_tokens(self) -> frozenset[str]:
        """None: servers don't tell."""
        return NONE_TOLD

    def serves(self, model: str) -> bool:
        """Whether a call for this model has anywhere to go, were all upstreams well."""
        for upstream in self.pool.upstreams:
            if upstream.serves(model):
                return True
        return not self.pool.upstreams

    def known(self, model: str) -> bool:
        """Whether an upstream lists this name or has answered for it."""
        return self.pool.known(model)


def _names(body: bytes) -> tuple[str, ...] | None:
    """Names in an OpenAI model list; None when it isn't one."""
    try:
        document: Any = orjson.loads(body)
        return tuple(str(card["id"]) for card in document["data"])
    except (ValueError, KeyError, TypeError):
        return None
