"""The composition root: every object is built here, once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI

from app import __version__
from app.access.keys import KeyRing, first_key
from app.api import errors, routes, schema
from app.api.edge import Edge
from app.api.endpoint import EngineEndpoint
from app.api.watch import Watch
from app.engines import weights
from app.engines.base import Engine
from app.engines.local import LocalEngine
from app.engines.upstream import UpstreamEngine
from app.gateway import Gateway
from app.health import Health
from app.limits.ledger import Ledger
from app.limits.limiter import Limiter
from app.safety.policy import Policy
from app.settings import Settings
from app.storage.embedded import EmbeddedStore
from app.storage.redis import Store
from app.telemetry.log import AccessLog
from app.telemetry.metrics import Metrics
from app.wire.chat import Chat
from app.wire.completions import Completions
from app.wire.count_tokens import CountTokens
from app.wire.dialect import Dialect
from app.wire.messages import Messages
from app.wire.responses import Responses
from app.wire.tokenize import Detokenize, Tokenize

DIALECTS: tuple[Dialect, ...] = (
    Chat(),
    Completions(),
    Responses(),
    Messages(),
    CountTokens(),
    Tokenize(),
    Detokenize(),
)


class Parts:
    """The parts of one gateway, built but not started.

    Attributes:
        key_file: file of the generated first key; None when the operator gave keys.
        failed: set when the engine's first start has failed.
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings = settings
        self.engine = engine
        self.failed = False
        self.key_file: Path | None = None
        data_dir = settings.data_dir.absolute()
        further: tuple[str, ...] = ()
        if not (
            settings.api_keys or settings.operator_keys or settings.keys or settings.allow_anonymous
        ):
            self.key_file = data_dir / "api_key"
            further = (first_key(self.key_file),)
        keys = KeyRing.from_settings(settings, further)
        self.embedded = None if settings.redis_url else EmbeddedStore(data_dir / "store")
        url = self.embedded.url if self.embedded else settings.redis_url
        self.store = Store(url, settings.store_timeout)
        limiter = Limiter(self.store, settings.redis_prefix, settings.store_failure)
        self.ledger = Ledger(self.store, limiter, settings.redis_prefix)
        self.metrics = Metrics()
        self.log = AccessLog() if settings.access_log else None
        policy = Policy.load(settings.policy_file)
        self.gateway = Gateway(
            settings, keys, limiter, self.ledger, policy, engine, self.metrics, self.log
        )
        self.health = Health(settings, engine, lambda: self.store.available)
        self._watch(limiter)

    def _watch(self, limiter: Limiter) -> None:
        """Metrics that are read when scraped."""
        store, engine, watch = self.store, self.engine, self.metrics.watch
        watch("gateway_store_available", "1 while Redis answers.", lambda: store.available)
        watch("gateway_store_failures_total", "Commands without an answer.", lambda: store.failures)
        watch("gateway_store_outages_total", "Times that Redis went away.", lambda: store.outages)
        watch(
            "gateway_rate_limit_degraded_total",
            "Calls decided without the store.",
            lambda: limiter.degraded_calls,
        )
        watch("gateway_models", "Models served now; 0: none.", lambda: len(engine.models()))
        watch(
            "gateway_requests_in_flight_limit",
            "Calls that this process may hold at once.",
            lambda: self.settings.max_in_flight,
        )
        if isinstance(engine, UpstreamEngine):
            self.metrics.watch_each(
                "gateway_upstream_available",
                "0 while a server is ejected.",
                "upstream",
                lambda: {urlsplit(u.url).netloc: not u.ejected for u in engine.upstreams()},
            )
            self.metrics.watch_each(
                "gateway_upstream_requests_in_flight",
                "Calls that a server is answering.",
                "upstream",
                lambda: {urlsplit(u.url).netloc: u.outstanding for u in engine.upstreams()},
            )

    def leave(self) -> None:
        """Turn not ready, so that load balancers send new calls elsewhere; all are still taken."""
        self.health.draining = True

    def drain(self) -> int:
        """Take no new calls; those in flight, whose number this returns, go on."""
        self.gateway.draining = self.health.draining = True
        return self.gateway.in_flight

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything started, and stopped in reverse order.

        Raises:
            RuntimeError: the embedded store doesn't start; the text says why.
        """
        async with AsyncExitStack() as stack:
            if self.embedded is not None:
                await self.embedded.start()
                stack.push_async_callback(self.embedded.stop)
            await self.store.start()
            stack.push_async_callback(self.store.stop)
            self.ledger.start()
            stack.push_async_callback(self.ledger.stop)
            await self.engine.start()
            stack.push_async_callback(self.engine.stop)
            if self.log is not None:
                stack.callback(self.log.flush)
            yield


def assemble(settings: Settings) -> Parts:
    """Choose the engine and build the parts.

    Raises:
        OSError: the data folder or a file in it can't be used.
        ValueError: two keys are the same, or the policy can't be used.
        app.engines.weights.ModelUnavailable: the model can't be had.
    """
    return Parts(settings, _engine(settings))


def _engine(settings: Settings) -> Engine:
    if settings.upstreams:
        return UpstreamEngine(
            settings.upstreams,
            api_key=settings.upstream_api_key,
            connect_timeout=settings.connect_timeout,
            idle_timeout=settings.idle_timeout,
            request_timeout=settings.request_timeout,
            health_interval=settings.health_interval,
            eject_after=settings.eject_after,
            eject_seconds=settings.eject_seconds,
        )
    folder = weights.prepare(
        settings.model, settings.data_dir.absolute(), lambda line: print(line, flush=True)
    )
    return LocalEngine(
        folder,
        settings.served_model_name or weights.served_name(settings.model),
        max_model_len=settings.max_model_len,
        engine_args=settings.engine_args,
        idle_timeout=settings.idle_timeout,
    )


def build(parts: Parts) -> Edge:
    """The ASGI application. Its parts are started by ``Parts.running``, around the server."""

    app = FastAPI(
        title="Gemma gateway",
        version=__version__,
        description="Policy in front of Gemma: keys, limits, filters, metrics.",
    )
    errors.install(app)
    app.include_router(routes.router(parts.gateway, parts.health))
    schema.install(app)
    watch = Watch(parts.settings.request_timeout)
    endpoints = {d.path: EngineEndpoint(parts.gateway, d, watch) for d in DIALECTS}
    return Edge(app, endpoints)
