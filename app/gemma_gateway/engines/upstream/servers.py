"""The servers of a pool: connections to them, and whether they are there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from gemma_gateway.core.trouble import KEY_REFUSED, NO_MODEL, NOT_COMPATIBLE, STATUS
from gemma_gateway.engines.upstream import discovery
from gemma_gateway.engines.upstream.google import GoogleToken
from gemma_gateway.engines.upstream.http1 import Broken
from gemma_gateway.engines.upstream.origin import Origin
from gemma_gateway.engines.upstream.pool import NOT_TOLD, Pool, Upstream
from gemma_gateway.engines.upstream.reply import UpstreamReply

NO_MODEL_LIST = frozenset({404, 405, 501})
REFUSED = frozenset({401, 403})
# What servers call a model's context length in their lists: vLLM and SGLang; OpenRouter and others;
# Groq; LM Studio.
LENGTHS = ("max_model_len", "context_length", "context_window", "max_context_length")


class Servers:
    """Keeps a pool informed: checks each server, looks their names up again, and ends replies whose
    time is up.

    Args:
        pool: of the servers with a fixed address; those of ``names`` are added.
        names: DNS names, each of whose addresses is a server.
        api_key: see ``UpstreamEngine``, as all others.

    Attributes:
        origins: connections to each server.
        live: replies that are being read.
        seen: set once a server has answered.
        nameless: names that have had no address yet, and since when (monotonic seconds).
    """

    def __init__(
        self,
        pool: Pool,
        names: Sequence[discovery.Name],
        *,
        api_key: str,
        credentials: GoogleToken | None,
        connect_timeout: float,
        idle_timeout: float,
        request_timeout: float,
        health_interval: float,
    ) -> None:
        self._pool = pool
        self._names = names
        self._headers = {"accept-encoding": "identity"}
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._credentials = credentials
        self._connect_timeout = connect_timeout
        self._idle_timeout = idle_timeout
        self._request_timeout = request_timeout
        self._health_interval = health_interval
        self._check_timeout = min(connect_timeout, max(0.5, health_interval))
        self._tasks: set[asyncio.Task[None]] = set()
        self._found: dict[tuple[discovery.Name, str], Upstream] = {}
        self.origins = {u: Origin(u.root, self._headers, connect_timeout) for u in pool.upstreams}
        self.live: set[UpstreamReply] = set()
        self.seen = asyncio.Event()
        self.nameless: dict[discovery.Name, float] = {}

    async def start(self) -> None:
        """Check each once and begin to watch them."""
        if self._credentials:
            await self._credentials.start()
        await asyncio.gather(*(self._check(u, first=True) for u in self._pool.upstreams))
        for upstream in self._pool.upstreams:
            self._spawn(self._watch(upstream))
        await asyncio.gather(*map(self._look_up, self._names))
        for name in self._names:
            self._spawn(self._follow(name))
        self._spawn(self._sweep())

    async def stop(self) -> None:
        """Watch no longer, and close all connections, whoever still reads from them."""
        if self._credentials:
            await self._credentials.stop()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for reply in tuple(self.live):
            reply.close()
        for origin in self.origins.values():
            origin.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, name: discovery.Name) -> None:
        while True:
            await asyncio.sleep(self._health_interval)
            await self._look_up(name)

    async def _look_up(self, name: discovery.Name) -> None:
        """Take new addresses in and let go of those that are no longer there. An empty answer
        changes nothing: rather try the servers known before than none."""
        addresses = await name.addresses()
        known = {address for owner, address in self._found if owner is name}
        if not addresses:
            if not known:
                self.nameless.setdefault(name, time.monotonic())
            return
        self.nameless.pop(name, None)
        for address in known - addresses:
            self._pool.remove(self._found.pop((name, address)))
        fresh = []
        for address in sorted(addresses - known):
            upstream = self._pool.add(name.at(address))
            root = name.url.removesuffix("/v1")
            self.origins[upstream] = Origin(root, self._headers, self._connect_timeout, address)
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
            if not any(r.since > began and r.comes_from(upstream) for r in self.live):
                why = f"no answer within {self._check_timeout:g} s"
                self._pool.check_failed(upstream, why, at_once=first)
            return
        except ConnectionError as error:
            self._pool.check_failed(upstream, str(error), at_once=first)
            return
        if status >= 500 and status not in NO_MODEL_LIST:
            self._pool.check_failed(upstream, f"{STATUS}{status}", at_once=first)
            return
        # 401, 429, ...: it lives, whatever it thinks of us
        models, lengths, trouble = upstream.models, upstream.lengths, ""
        if status == 200:
            models, lengths = _listed(body)
            if models is None:
                trouble = NOT_COMPATIBLE
            elif not models:
                trouble = NO_MODEL
        elif status in NO_MODEL_LIST:
            models, lengths = None, NOT_TOLD
        elif status in REFUSED:
            trouble = f"{KEY_REFUSED} ({status})"
        if upstream.learned:  # it has answered calls, whatever it says of its models
            trouble = ""
        self._pool.check_passed(upstream, models, lengths, trouble)
        self.seen.set()

    async def _fetch(self, upstream: Upstream, path: str) -> tuple[int, bytes]:
        headers = {"authorization": self._credentials.header} if self._credentials else {}
        get = partial(self.origins[upstream].request, "GET", upstream.path(path), headers)
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
            for upstream, origin in tuple(self.origins.items()):
                if upstream.gone and not upstream.outstanding:
                    origin.close()
                    del self.origins[upstream]
                    continue
                # A whole answer is silent until its end, but a living server answers the checks.
                silent = upstream.silent_since
                origin.prune(frozen=bool(silent) and now - silent > self._idle_timeout)
            for reply in tuple(self.live):
                limit = reply.limit(self._idle_timeout)
                if reply.waiting and now - reply.since > limit:
                    reply.expire(f"silent for {limit:g} s", silent=True)
                elif now - reply.started > self._request_timeout:
                    reply.expire(f"longer than {self._request_timeout} s")


def _listed(body: bytes) -> tuple[tuple[str, ...] | None, Mapping[str, int]]:
    """Names in an OpenAI model list, None when it isn't one; and the lengths that it tells."""
    try:
        document: Any = orjson.loads(body)
        cards = {str(card["id"]): card for card in document["data"]}
    except (ValueError, KeyError, TypeError):
        return None, NOT_TOLD
    lengths = {name: length for name, card in cards.items() if (length := _length(card))}
    return tuple(cards), lengths


def _length(card: dict[str, Any]) -> int:
    """Tokens; 0 where it isn't told."""
    told = next((card[name] for name in LENGTHS if card.get(name)), 0)
    return told if isinstance(told, int) and told > 0 else 0
