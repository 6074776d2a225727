"""Calls to a pool of OpenAI-compatible servers over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from gemma_gateway.core.engine import (
    NONE_TOLD,
    EngineFailed,
    EngineReply,
    EngineRequest,
    EngineState,
    ServerState,
    Watcher,
)
from gemma_gateway.core.trouble import NO_NAME, STATUS
from gemma_gateway.engines.upstream import discovery
from gemma_gateway.engines.upstream.google import GoogleToken
from gemma_gateway.engines.upstream.http1 import Broken
from gemma_gateway.engines.upstream.origin import ConnectFailed
from gemma_gateway.engines.upstream.pool import Pool, Upstream
from gemma_gateway.engines.upstream.reply import NO_CAPACITY, UpstreamReply
from gemma_gateway.engines.upstream.servers import Servers

MAX_TRIES = 3  # servers that a call is offered to
MAX_GIVEN = 2  # times that it may reach one: a call that kills its server mustn't kill them all
NO_ROUTE = 501  # it hasn't what was asked for, and is well
NOT_BEGUN = frozenset({502, 503})  # 504: whoever stands before the server had handed it on


class UpstreamEngine:
    """An ``Engine`` over a pool of servers.

    Args:
        urls: base URLs, ending in /v1; routes beside it, such as /tokenize, are looked for at the
            same server's root. ``dns+http://`` stands for all servers of a DNS name, which is
            looked up again every ``health_interval``.
        api_key: sent as Bearer; empty: none.
        credentials: fresh Authorization headers, instead of ``api_key``.
        connect_timeout: seconds, for TCP and TLS.
        first_token_timeout: longest silence of a stream before its text, seconds; None: as long as
            the whole call may take.
        idle_timeout: longest silence of a stream after that, and of a server that doesn't answer
            its checks, seconds.
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
        first_token_timeout: float | None = None,
        idle_timeout: float = 60.0,
        request_timeout: float = 600.0,
        health_interval: float = 2.0,
        eject_after: int = 3,
        eject_seconds: float = 5.0,
        models: Sequence[str] = (),
    ) -> None:
        fixed, names = discovery.split(tuple(urls))
        self.pool = Pool(
            fixed, eject_after=eject_after, eject_seconds=eject_seconds, models=tuple(models)
        )
        self._credentials = credentials
        self._first_token_timeout = first_token_timeout or request_timeout
        self._request_timeout = request_timeout
        self.servers = Servers(
            self.pool,
            names,
            api_key=api_key,
            credentials=credentials,
            connect_timeout=connect_timeout,
            idle_timeout=idle_timeout,
            request_timeout=request_timeout,
            health_interval=health_interval,
        )

    # ---- life

    async def start(self) -> None:
        """Check every upstream once and begin to watch them; none needs to be up."""
        await self.servers.start()

    async def wait_ready(self, timeout: float) -> None:
        """Wait until an upstream has answered.

        Args:
            timeout: seconds.

        Raises:
            EngineFailed: ``unavailable``: none did. They are still being watched.
        """
        try:
            await asyncio.wait_for(self.servers.seen.wait(), timeout)
        except TimeoutError:
            raise EngineFailed("unavailable", self.state().detail) from None

    async def stop(self) -> None:
        """Abort what is still in flight and close all connections."""
        await self.servers.stop()

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
                was silent for too long.
        """
        pool, given = self.pool, 0
        tried: list[Upstream] = []
        # It was closing the connection, and has most likely seen nothing.
        spare: Upstream | None = None
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
                pool.failed(upstream, str(error), unreachable=True)
                continue
            except Broken as error:
                given += 1
                detail = f"{upstream.url}: {error}"
                if error.stale:
                    spare, fresh = upstream, True
                else:
                    pool.failed(upstream, str(error))
                continue
            if reply.status not in NO_CAPACITY:
                pool.answered(upstream, error=reply.status >= 500 and reply.status != NO_ROUTE)
                if reply.status == 200:
                    pool.learn(upstream, request.model)
                return reply
            pool.failed(upstream, f"{STATUS}{reply.status}")
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
        if request.headers:
            headers.update(request.headers)
        if self._credentials:
            headers["authorization"] = self._credentials.header
        # A whole answer is silent until its end.
        patience = self._first_token_timeout if request.stream else self._request_timeout
        try:
            connection = await self.servers.origins[upstream].request(
                request.method,
                upstream.path(request.path),
                headers,
                request.body,
                started + patience,  # the loop has the same clock
                fresh=fresh,
            )
        except BaseException as error:
            self.pool.release(upstream)
            if isinstance(error, Broken) and error.late:
                self.pool.failed(upstream, f"no answer within {patience:g} s")
                raise EngineFailed("timeout", f"{upstream.url}: no answer") from None
            raise
        return UpstreamReply(self.pool, self.servers.live, upstream, connection, started, patience)

    # ---- what is known

    def state(self) -> EngineState:
        """Ready when any upstream gets calls; the active checks keep it fresh."""
        now = time.monotonic()
        nameless = tuple(
            ServerState(name.url, 0, True, None, 0, 0, 0, 0, False, NO_NAME, now - since)
            for name, since in self.servers.nameless.items()
        )
        states = self.pool.states() + nameless
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

    def max_model_len(self, model: str) -> int | None:
        """The shortest that a server of it lists: a call may come to any."""
        return self.pool.max_model_len(model)

    def modalities(self, model: str) -> None:
        """Not known: servers don't tell; ``modalities`` of a model in the settings may."""

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
