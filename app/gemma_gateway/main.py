"""The composition root: every object is built here, once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from gemma_gateway import __version__
from gemma_gateway.access.keys import KeyRing, first_key
from gemma_gateway.access.names import Names
from gemma_gateway.access.registrar import Registrar
from gemma_gateway.access.runtime import RuntimeKeys
from gemma_gateway.access.table import KeyTable
from gemma_gateway.admin import scraped
from gemma_gateway.admin.export import Export
from gemma_gateway.admin.health import Health
from gemma_gateway.admin.keys import KeyAdmin
from gemma_gateway.admin.overview import Overview
from gemma_gateway.alerts.book import MOST_HISTORY
from gemma_gateway.alerts.service import Alerts
from gemma_gateway.api import errors, schema
from gemma_gateway.api.edge import Edge
from gemma_gateway.api.endpoint import EngineEndpoint
from gemma_gateway.api.intake import Intake
from gemma_gateway.api.peer import Peers
from gemma_gateway.api.routes import alerts as alert_routes
from gemma_gateway.api.routes import console, feedback, monitoring
from gemma_gateway.api.routes import keys as key_routes
from gemma_gateway.api.routes import quality as quality_routes
from gemma_gateway.api.routes import service as routes
from gemma_gateway.api.watch import Watch
from gemma_gateway.console.site import Site
from gemma_gateway.core.dialect import Dialect
from gemma_gateway.core.engine import Engine
from gemma_gateway.core.part import Part
from gemma_gateway.engines.local import weights
from gemma_gateway.engines.local.engine import LocalEngine
from gemma_gateway.engines.upstream.engine import UpstreamEngine
from gemma_gateway.engines.upstream.google import GoogleToken
from gemma_gateway.limits.ledger import Ledger
from gemma_gateway.limits.limiter import Limiter
from gemma_gateway.monitoring.journal import Journal
from gemma_gateway.monitoring.memory import Memory
from gemma_gateway.monitoring.prices import Prices
from gemma_gateway.pipeline.gateway import Gateway
from gemma_gateway.quality.service import Quality
from gemma_gateway.safety.controls import ControlTokens
from gemma_gateway.safety.policy import Policy
from gemma_gateway.settings import Settings
from gemma_gateway.storage import Store, embedded
from gemma_gateway.storage.embedded import EmbeddedStore
from gemma_gateway.telemetry import tracing
from gemma_gateway.telemetry.files import OpenFiles
from gemma_gateway.telemetry.lag import LoopLag
from gemma_gateway.telemetry.log import AccessLog
from gemma_gateway.telemetry.metrics import Metrics
from gemma_gateway.wire.anthropic.count_tokens import CountTokens
from gemma_gateway.wire.anthropic.messages import Messages
from gemma_gateway.wire.openai.chat import Chat
from gemma_gateway.wire.openai.completions import Completions
from gemma_gateway.wire.openai.responses import Responses
from gemma_gateway.wire.vllm.tokenize import Detokenize, Tokenize

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
        lag: how late the event loop is.
        tracer: None: calls are not traced.
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
        self.embedded = None if settings.redis_url else EmbeddedStore(data_dir / "store")
        if self.embedded is None:
            self.store = Store(settings.redis_url, settings.store_timeout)
        else:
            given = "store_timeout" in settings.model_fields_set
            timeout = settings.store_timeout if given else embedded.ANSWER_SECONDS
            self.store = Store(self.embedded.url, timeout)
        table = KeyTable(self.store, settings.redis_prefix)
        self.runtime_keys = RuntimeKeys(table, settings)
        keys = KeyRing.from_settings(settings, further, self.runtime_keys)
        limiter = Limiter(self.store, settings.redis_prefix, settings.store_failure)
        self.ledger = Ledger(self.store, limiter, settings.redis_prefix)
        self.journal = Journal(
            self.store,
            settings.redis_prefix,
            records_max=settings.records_max,
            records_seconds=settings.records_days * 86_400,
        )
        self.memory = Memory(engine.memory) if isinstance(engine, LocalEngine) else Memory()
        self.metrics = Metrics()
        self.log = AccessLog() if settings.access_log else None
        policy = Policy.load(settings.policy_file)
        self.gateway = Gateway(
            settings,
            keys,
            limiter,
            self.ledger,
            self.journal,
            policy,
            ControlTokens(settings.control_tokens, engine.control_tokens),
            engine,
            self.metrics,
            self.memory,
            self.log,
        )
        self.health = Health(
            settings,
            engine,
            lambda: self.store.available,
            lambda: self.store.serves_any,
            self.memory,
        )
        scraped.watch(
            self.metrics, settings, self.store, limiter, self.journal, self.memory, engine
        )
        scraped.watch_keys(self.metrics, self.runtime_keys)
        scraped.watch_refused(self.metrics, self.gateway)
        self.files = OpenFiles()
        scraped.watch_files(self.metrics, self.files)
        self.alerts = Alerts(settings.alerts, self.store, settings.redis_prefix, self.journal)
        self.alerts.watch(self.metrics)
        self.lag = LoopLag(self.metrics.lag.observe)
        self.overview = Overview(
            self.gateway, self.store, lambda: self.lag.seconds, lambda: self.alerts.firing
        )
        names = Names(keys, table)
        prices = Prices(settings.prices, settings.currency)
        self.export = Export(self.journal, self.ledger, names, prices)
        registrar = Registrar(table, self.runtime_keys, settings)
        self.key_admin = KeyAdmin(
            keys, table, self.runtime_keys, registrar, self.ledger, prices, settings
        )
        self.export.sections["alerts"] = self._alert_rows
        self.quality = Quality(
            settings,
            self.store,
            self.journal,
            policy,
            engine,
            self.metrics,
            lambda: self.gateway.in_flight,
        )
        self.export.sections["quality"] = self.quality.rows
        if self.quality.sampler is not None:
            self.gateway.listen = self.quality.sampler.listen
        self.tracer = tracing.from_environment()
        # In the order in which they start. What ends last comes first: the tracer sends what all
        # others did, and whoever writes to the store needs it until then.
        parts: tuple[Part | None, ...] = (
            self.tracer,
            self.lag,
            self.files,
            self.embedded,
            self.store,
            self.runtime_keys,
            self.ledger,
            self.memory,
            self.journal,
            self.alerts,
            engine,
            self.quality,
            self.log,
        )
        self._started = tuple(part for part in parts if part is not None)

    async def _alert_rows(self) -> AsyncIterator[dict[str, Any]]:
        """The alerts' part of the export."""
        for alert in (await self.alerts.report(MOST_HISTORY)).data:
            yield alert.model_dump()

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
            for part in self._started:
                await part.start()
                stack.push_async_callback(part.stop)
            yield


def assemble(settings: Settings) -> Parts:
    """Choose the engine and build the parts.

    Raises:
        OSError: the data folder or a file in it can't be used.
        ValueError: two keys are the same, or the policy can't be used.
        gemma_gateway.engines.local.weights.ModelUnavailable: the model can't be had.
    """
    return Parts(settings, _engine(settings))


def _engine(settings: Settings) -> Engine:
    if settings.upstreams:
        return UpstreamEngine(
            settings.upstreams,
            api_key=settings.upstream_api_key,
            credentials=GoogleToken() if settings.upstream_credentials == "google" else None,
            connect_timeout=settings.connect_timeout,
            idle_timeout=settings.idle_timeout,
            request_timeout=settings.request_timeout,
            health_interval=settings.health_interval,
            eject_after=settings.eject_after,
            eject_seconds=settings.eject_seconds,
            models=settings.upstream_models,
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
        docs_url=None,  # its page loads scripts from elsewhere; ours: api.routes.console
        redoc_url=None,
        redirect_slashes=False,  # it would send the client to what it named as our host
    )
    errors.install(app)
    app.include_router(routes.router(parts.gateway, parts.health))
    app.include_router(monitoring.router(parts.gateway, parts.overview, parts.export))
    app.include_router(quality_routes.router(parts.gateway, parts.quality.view))
    app.include_router(feedback.router(parts.gateway, parts.quality.desk))
    app.include_router(alert_routes.router(parts.gateway, parts.alerts))
    app.include_router(key_routes.router(parts.gateway, parts.key_admin))
    app.include_router(console.router(Site.installed()))
    schema.install(app)
    watch, bodies = Watch(), Intake(parts.settings.max_body_bytes)
    endpoints = {
        d.path: EngineEndpoint(parts.gateway, d, watch, bodies, parts.tracer) for d in DIALECTS
    }
    return Edge(app, endpoints, Peers(parts.settings.trusted_proxies), watch)
