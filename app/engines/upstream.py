"""Calls to a pool of OpenAI-compatible servers over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import aiohttp
import orjson
from yarl import URL

from app.engines.base import EngineFailed, EngineHealth, EngineReply, EngineRequest
from app.engines.pool import Pool, Upstream, UpstreamState
from app.engines.reply import CONNECTION_ERRORS, NO_CAPACITY, UpstreamReply

MAX_TRIES = 3
# Below the 5 s after which uvicorn (vLLM) closes an idle connection, so that ours is closed first
# and a call seldom meets a connection that is just being closed by the other side.
KEEP_ALIVE_SECONDS = 4.0
NO_MODEL_LIST = frozenset({404, 405, 501})
_CONNECT_ERRORS = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


@lru_cache(maxsize=1024)
def _address(root: str, path: str) -> URL:
    return URL(root + path, encoded=True)


class UpstreamEngine:
    """An ``Engine`` over a pool of servers.

    Args:
        urls: base URLs, ending in /v1; routes beside it, such as /tokenize, are looked for at the
            same server's root.
        api_key: sent as Bearer; empty: none.
        connect_timeout: seconds, for TCP and TLS.
        idle_timeout: longest silence before or between bytes, seconds.
        request_timeout: longest whole call, seconds.
        health_interval: seconds between active checks (GET /v1/models) of each server.
        eject_after: failures in a row that eject a server.
        eject_seconds: from ejection to a trial call, seconds.
        max_connections: open at once over all servers.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        api_key: str = "",
        connect_timeout: float = 2.0,
        idle_timeout: float = 60.0,
        request_timeout: float = 600.0,
        health_interval: float = 2.0,
        eject_after: int = 3,
        eject_seconds: float = 5.0,
        max_connections: int = 8192,
    ) -> None:
        self.pool = Pool(urls, eject_after=eject_after, eject_seconds=eject_seconds)
        self._live: set[UpstreamReply] = set()
        self._authorization = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._connect_timeout = connect_timeout
        self._idle_timeout = idle_timeout
        self._request_timeout = request_timeout
        self._health_interval = health_interval
        self._check_timeout = min(connect_timeout, max(0.5, health_interval))
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._seen = asyncio.Event()  # an upstream has answered, ever

    # ---- life

    async def start(self) -> None:
        """Check every upstream once and begin to watch them; none needs to be up."""
        self._session = self._client(force_close=False)
        self._fresh = self._client(force_close=True)
        await asyncio.gather(*(self._check(u, first=True) for u in self.pool.upstreams))
        self._tasks = [asyncio.create_task(self._watch(u)) for u in self.pool.upstreams]
        self._tasks.append(asyncio.create_task(self._sweep()))

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
            raise EngineFailed("unavailable", (await self.health()).detail) from None

    async def stop(self) -> None:
        """Abort what is still in flight and close all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for reply in tuple(self._live):
            reply.close()
        for session in (self._session, self._fresh):
            if session:
                await session.close()
        self._session = self._fresh = None

    def _client(self, *, force_close: bool) -> aiohttp.ClientSession:
        # aiohttp sets TCP_NODELAY itself. Bytes pass as they are: no cookies, no decompression,
        # no proxy from the environment; redirects are refused per call.
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._max_connections,
                limit_per_host=0,
                force_close=force_close,
                keepalive_timeout=None if force_close else KEEP_ALIVE_SECONDS,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"accept-encoding": "identity", **self._authorization},
            skip_auto_headers=("user-agent",),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout),
        )

    # ---- calls

    async def send(self, request: EngineRequest) -> EngineReply:
        """Hand a call to the best upstream and return once its status is known.

        Before any byte of an answer, a call goes on to another upstream when one refuses the
        connection, resets it, or answers 502, 503 or 504: to ``MAX_TRIES`` upstreams at most. If
        there is no other, that answer is returned as it is.

        Raises:
            EngineFailed: ``unavailable`` when no upstream could be reached, ``timeout`` when one
                was silent for ``idle_timeout``.
        """
        pool, tried = self.pool, list[Upstream]()
        refused: UpstreamReply | None = None
        detail = "every upstream is ejected, or none serves the model"
        while len(tried) < MAX_TRIES:
            upstream = pool.take(request.model, request.affinity, tried)
            if upstream is None:
                break
            if refused:
                refused.close()
                refused = None
            tried.append(upstream)
            try:
                reply = await self._attempt(request, upstream)
            except CONNECTION_ERRORS as error:
                detail = f"{upstream.url}: {error!r}"
                pool.failed(upstream, unreachable=isinstance(error, _CONNECT_ERRORS))
                continue
            if reply.status not in NO_CAPACITY:
                pool.answered(upstream)
                return reply
            pool.failed(upstream)
            refused = reply
        if refused:
            return refused
        raise EngineFailed("unavailable", detail)

    async def _attempt(self, request: EngineRequest, upstream: Upstream) -> UpstreamReply:
        """One try; the reply holds the upstream until it ends, a failed try no longer does."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(min(self._idle_timeout, self._request_timeout)):
                try:
                    response = await self._post(self._session, request, upstream)
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                    if isinstance(error, _CONNECT_ERRORS):
                        raise
                    # Most likely a kept-alive connection that the server was just closing: not
                    # its fault, so the same server gets the call on a connection of its own.
                    response = await self._post(self._fresh, request, upstream)
        except BaseException as error:
            self.pool.release(upstream)
            if isinstance(error, TimeoutError) and not isinstance(error, _CONNECT_ERRORS):
                self.pool.failed(upstream)
                raise EngineFailed("timeout", f"{upstream.url}: no answer") from None
            raise
        return UpstreamReply(self.pool, self._live, upstream, response, started)

    async def _post(
        self, session: aiohttp.ClientSession | None, request: EngineRequest, upstream: Upstream
    ) -> aiohttp.ClientResponse:
        if session is None:
            raise EngineFailed("unavailable", "not started")
        headers = {"content-type": "application/json", "x-request-id": request.id}
        headers.update(request.headers)
        return await session.request(
            request.method,
            _address(upstream.root, request.path),
            data=request.body or None,
            headers=headers,
            allow_redirects=False,
        )

    # ---- watching

    async def _watch(self, upstream: Upstream) -> None:
        while True:
            pace = 4 if upstream.check_failures else 1  # a doubt is settled sooner
            await asyncio.sleep(self._health_interval / pace)
            await self._check(upstream)

    async def _check(self, upstream: Upstream, *, first: bool = False) -> None:
        """GET /v1/models: the one route that vLLM, Ollama, TGI and the rest all have."""
        assert self._session is not None
        began = time.monotonic()
        try:
            async with self._session.get(
                _address(upstream.root, "/v1/models"),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=self._check_timeout),
            ) as response:
                body = await response.read()
        except TimeoutError:
            # A frozen server, unless a call has heard from it meanwhile: then it is only busy.
            if not any(r.since > began and r.comes_from(upstream) for r in self._live):
                self.pool.check_failed(upstream, at_once=first)
            return
        except CONNECTION_ERRORS:
            self.pool.check_failed(upstream, at_once=first)
            return
        if response.status >= 500 and response.status not in NO_MODEL_LIST:
            self.pool.check_failed(upstream, at_once=first)
            return
        models = upstream.models  # 401, 429, ...: it lives, whatever it thinks of us
        if response.status == 200:
            models = _names(body)
        elif response.status in NO_MODEL_LIST:
            models = None
        self.pool.check_passed(upstream, models)
        self._seen.set()

    async def _sweep(self) -> None:
        """Close the replies whose time is up: one timer for all of them."""
        tick = min(1.0, self._idle_timeout / 4, self._request_timeout / 4)
        while True:
            await asyncio.sleep(tick)
            now = time.monotonic()
            for reply in tuple(self._live):
                if reply.waiting and now - reply.since > self._idle_timeout:
                    reply.expire(f"silent for {self._idle_timeout} s")
                elif now - reply.started > self._request_timeout:
                    reply.expire(f"longer than {self._request_timeout} s")

    # ---- what is known

    async def health(self) -> EngineHealth:
        """Ready when any upstream gets calls. No I/O: the active checks keep it fresh."""
        states = self.pool.states()
        up = [s for s in states if not s.ejected]
        away = ", ".join(s.url for s in states if s.ejected)
        detail = f"{len(up)} of {len(states)} upstreams ready" + (f"; away: {away}" if away else "")
        return EngineHealth(ready=bool(up), models=self.models(), detail=detail)

    def models(self) -> tuple[str, ...]:
        """Names that the upstreams list; empty while none tells."""
        return self.pool.models()

    def serves(self, model: str) -> bool:
        """Whether a call for this model has anywhere to go, were all upstreams well."""
        return any(u.serves(model) for u in self.pool.upstreams)

    def upstreams(self) -> tuple[UpstreamState, ...]:
        """Each upstream's state, in the order of ``urls``."""
        return self.pool.states()


def _names(body: bytes) -> tuple[str, ...] | None:
    """Names in an OpenAI model list; None when it isn't one."""
    try:
        document: Any = orjson.loads(body)
        return tuple(str(card["id"]) for card in document["data"])
    except (ValueError, KeyError, TypeError):
        return None
